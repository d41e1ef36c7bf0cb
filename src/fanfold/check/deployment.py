"""How a template deploys one function: the function, the mapping of a queue that calls it, and the queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanfold.check.model import read_model
from fanfold.check.values import EventMapping, Function, Model, NotKnown, Queue, Setting
from fanfold.check.wording import function_of, not_known
from fanfold.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a template says of one function."""

    template: Path
    name: str
    """The function or mapping, as the caller calls it."""
    function: Function | None
    """None if only its mapping is in the template."""
    mappings: tuple[EventMapping, ...]
    """The mappings of queues that call it; those that are off only if there is no other."""
    model: Model
    """All of the template."""

    def mapping(self) -> EventMapping:
        """Return the mapping that calls the function.

        Raises:
            ConfigurationError: If there is none, or more than one.
        """
        if not self.mappings:
            faults = "".join(f"; {each.subject}: {each.why}" for each in self.model.remarks)
            raise ConfigurationError(
                f"template {self.template}: no event or mapping of an SQS queue calls {self.name}{faults}"
            )
        if len(self.mappings) > 1:
            names = " or ".join(f"--function {each.key}" for each in self.mappings)
            raise ConfigurationError(f"template {self.template}: {self.name} reads several queues: say {names}")
        return self.mappings[0]

    def queue(self) -> Queue:
        """Return the queue that the mapping reads."""
        return self.model.queues[self.mapping().queue]

    def remarks(self) -> Iterator[NotKnown]:
        """Yield what may change the function or its mapping in a way that cannot be seen."""
        keys = {self.name, *(each.key for each in self.mappings), *([self.function.key] if self.function else ())}
        for each in self.model.remarks:
            if each.place.path[:1] == ("Transform",) or set(each.place.path[1:2]) & keys:
                yield each
        if len(self.mappings) == 1:
            yield from not_known(self.mappings[0].exists)


def deployment_of(template: Path, name: str) -> Deployment:
    """Return what a template says of a function.

    Args:
        template: SAM or CloudFormation, YAML or JSON; parameters count with their defaults.
        name: Logical id of the function; or a mapping of it, ``Function.Event`` if SAM makes it of an event.

    Raises:
        ConfigurationError: If the template cannot be read, or there is nothing of that name.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    model = read_model(template)[1]
    named = [each for each in model.mappings if each.key == name]
    if name in model.functions:
        own = [each for each in model.mappings if each.function == name]
        on = [each for each in own if each.enabled.value is not False]
        return Deployment(template, name, model.functions[name], tuple(on or own), model)
    if not named:
        functions = ", ".join(sorted(model.functions)) or "none"
        raise ConfigurationError(f"template {template} has no function {name!r}; it has {functions}")
    return Deployment(template, name, function_of(model, named[0]), tuple(named), model)


def undetermined(template: Path, setting: Setting[Any]) -> str:
    """Return one clause on a setting that is not known: where it stands, what it is, what stands there, and why."""
    written = f": {setting.written}" if setting.written else ""
    return f"{template}:{setting.place.line} {setting.subject} is not known{written} ({setting.unknown})"
