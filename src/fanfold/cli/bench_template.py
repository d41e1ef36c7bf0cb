"""The settings of ``fanfold bench`` that a template determines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanfold._base.aws_limits import LAMBDA_MAX_MEMORY_MB, LAMBDA_MIN_MEMORY_MB
from fanfold.bench.cells import Setting
from fanfold.check.deployment import Deployment, deployment_of, undetermined
from fanfold.check.values import Function
from fanfold.check.values import Setting as TemplateSetting
from fanfold.cli.bench_axis import MAX_CONCURRENCY, axis

_ARCHITECTURES = {"x86_64": "x86", "arm64": "arm"}


@dataclass(frozen=True, slots=True)
class Deployed:
    """A function as its template deploys it."""

    present: Setting | None = None
    """The present setting; None if it is not known."""
    memory_mb: int | None = None
    """Its memory, if its concurrency is set in the handler's decorator."""
    architecture: str | None = None
    """``x86`` or ``arm``; None if it is not known."""
    batch_size: int | None = None
    """The batch size of its mapping; None if it is not known."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Its environment variables whose values are known."""
    queue_variables: tuple[str, ...] = ()
    """Its environment variables that are the URL of a queue of the template."""
    notes: tuple[str, ...] = ()
    """One line for each setting that is not known."""


def deployed(template: Path, name: str) -> Deployed:
    """Return the settings of a function.

    Args:
        template: A SAM or CloudFormation file, YAML or JSON; parameters have their default values.
        name: The logical id of the function, or of its mapping (``Function.Event``) if it reads several queues.

    Raises:
        ConfigurationError: If the template cannot be read or has no such function, or if AWS would reject a setting.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    deployment = deployment_of(template, name)
    function = deployment.function
    if function is None:
        return Deployed(
            batch_size=_batch_size(deployment, []),
            notes=(f"{template} does not declare the function of {name}: specify the present setting with --present.",),
        )
    notes: list[str] = []
    present, memory_mb = _present(template, function, notes)
    variables, queue_variables = _variables(deployment, function, notes)
    return Deployed(
        present,
        memory_mb,
        _architecture(template, function, notes),
        _batch_size(deployment, notes),
        variables,
        queue_variables,
        tuple(notes),
    )


def _present(template: Path, function: Function, notes: list[str]) -> tuple[Setting | None, int | None]:
    """Return the present setting; only the memory if the handler's decorator sets the concurrency."""
    unknown = [undetermined(template, value) for value in (function.memory, function.concurrency) if not value.known]
    if unknown:
        notes += [f"{reason}: specify the present setting with --present." for reason in unknown]
        return None, None
    memory, concurrency = function.memory.value or 0, function.concurrency.value
    axis(f"{memory:g}", function.memory.subject, LAMBDA_MIN_MEMORY_MB, LAMBDA_MAX_MEMORY_MB)
    if concurrency is None:
        return None, int(memory)
    axis(f"{concurrency:g}", function.concurrency.subject, 1, MAX_CONCURRENCY)
    return Setting(int(concurrency), int(memory)), None


def _architecture(template: Path, function: Function, notes: list[str]) -> str | None:
    setting = function.architectures
    if setting is None:
        return None
    if not setting.known:
        notes.append(f"{undetermined(template, setting)}: specify it with --arch.")
        return None
    return _ARCHITECTURES.get((*(setting.value or ()), "x86_64")[0])


def _batch_size(deployment: Deployment, notes: list[str]) -> int | None:
    """Return the batch size of the only mapping of the function."""
    sizes: list[TemplateSetting[Any]] = [mapping.batch_size for mapping in deployment.mappings]
    known = {int(size.value) for size in sizes if size.known and size.value is not None}
    notes += [
        f"{undetermined(deployment.template, size)}: specify it with --batch-size." for size in sizes if not size.known
    ]
    if len(known) > 1:
        keys = " or ".join(f"--function {mapping.key}" for mapping in deployment.mappings)
        notes.append(f"{deployment.name} reads several queues: for the batch size, use {keys}.")
    return known.pop() if len(known) == 1 else None


def _variables(deployment: Deployment, function: Function, notes: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the known environment variables, and the names of those that are URLs of queues."""
    known: dict[str, str] = {}
    queues: list[str] = []
    for variable in function.variables:
        name, reference = variable.setting.name, variable.reference
        if variable.setting.known:
            known[name] = str(variable.setting.value)
        elif reference is not None and reference.resource in deployment.model.queues:
            queues.append(name)
        elif name != "FANFOLD_CONCURRENCY":
            notes.append(f"{undetermined(deployment.template, variable.setting)}: set it in this shell.")
    return known, tuple(queues)
