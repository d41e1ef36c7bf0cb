"""The deployment of one function in a template: the function, its SQS event source mapping, and the queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fanfold.check.model import read_model
from fanfold.check.values import EventMapping, Function, Model, NotKnown, Queue, Setting
from fanfold.check.wording import function_of, not_known
from fanfold.errors import ConfigurationError

TICK_QUEUE: Final = "FANFOLD_BREAKER_QUEUE_URL"
"""The environment variable that names the queue through which a breaker invokes its function in an outage."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One function of a template, with the mappings that invoke it."""

    template: Path
    name: str
    """The function or mapping that the caller asked for."""
    function: Function | None
    """None if only its mapping is in the template."""
    mappings: tuple[EventMapping, ...]
    """The SQS mappings that invoke it; disabled ones, and that of a breaker's tick, only if there are no others."""
    model: Model
    """The whole template."""

    def mapping(self) -> EventMapping:
        """Return the mapping that invokes the function.

        Raises:
            ConfigurationError: If there is none, or more than one.
        """
        if not self.mappings:
            remarks = "".join(f"; {remark.subject}: {remark.why}" for remark in self.model.remarks)
            raise ConfigurationError(
                f"template {self.template}: no SQS event or event source mapping invokes {self.name}{remarks}"
            )
        if len(self.mappings) > 1:
            options = " or ".join(f"--function {mapping.key}" for mapping in self.mappings)
            raise ConfigurationError(f"template {self.template}: {self.name} reads several queues; use {options}")
        return self.mappings[0]

    def queue(self) -> Queue:
        """Return the queue that the mapping reads."""
        return self.model.queues[self.mapping().queue]

    def remarks(self) -> Iterator[NotKnown]:
        """Yield what may change the function or its mapping, but cannot be read from the template."""
        keys = {self.name, *(mapping.key for mapping in self.mappings), *([self.function.key] if self.function else ())}
        for remark in self.model.remarks:
            if remark.place.path[:1] == ("Transform",) or set(remark.place.path[1:2]) & keys:
                yield remark
        if len(self.mappings) == 1:
            yield from not_known(self.mappings[0].exists)


def deployment_of(template: Path, name: str, parameters: Mapping[str, str] | None = None) -> Deployment:
    """Return the deployment of a function in a template.

    Args:
        template: A SAM or CloudFormation file, YAML or JSON.
        name: The logical id of the function, or of one of its mappings: ``Function.Event`` for a SAM event.
        parameters: Values of parameters; the others have their defaults.

    Raises:
        ConfigurationError: If the template cannot be read, or has no function or mapping of that name.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    model = read_model(template, parameters)[1]
    if name in model.functions:
        mappings = [mapping for mapping in model.mappings if mapping.function == name]
        enabled = [mapping for mapping in mappings if mapping.enabled.value is not False]
        chosen = _without_tick(enabled or mappings, model.functions[name])
        return Deployment(template, name, model.functions[name], chosen, model)
    named = [mapping for mapping in model.mappings if mapping.key == name]
    if not named:
        functions = ", ".join(sorted(model.functions)) or "none"
        raise ConfigurationError(f"template {template} has no function {name!r}; its functions: {functions}")
    return Deployment(template, name, function_of(model, named[0]), tuple(named), model)


def _without_tick(mappings: Sequence[EventMapping], function: Function) -> tuple[EventMapping, ...]:
    """Return the mappings except that of the queue through which a breaker invokes the function, if it has others."""
    tick = function.queues.get(TICK_QUEUE)
    return tuple([mapping for mapping in mappings if mapping.queue != tick] or mappings)


def undetermined(template: Path, setting: Setting[Any]) -> str:
    """Return one line about an unknown setting: its place, its name, its text in the template, and the reason."""
    written = f": {setting.written}" if setting.written else ""
    return f"{template}:{setting.place.line} {setting.subject} is not known{written} ({setting.unknown})"
