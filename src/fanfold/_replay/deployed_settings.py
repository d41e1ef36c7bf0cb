"""The settings of a replay from a template: the values it sets, and those it does not determine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fanfold._base import aws_limits
from fanfold.check.deployment import Deployment, deployment_of, undetermined
from fanfold.check.values import Queue, Setting
from fanfold.errors import ConfigurationError

_UNBOUNDED: Final = 1_000_000
"""An upper limit where AWS's limit depends on the kind of function."""
_ALLOWED: Final[Mapping[str, tuple[int, int]]] = {
    "function_timeout": (1, _UNBOUNDED),
    "memory_mb": (aws_limits.LAMBDA_MIN_MEMORY_MB, _UNBOUNDED),
    "batch_size": (1, aws_limits.MAPPING_MAX_BATCH_SIZE),
    "window_seconds": (0, aws_limits.MAPPING_MAX_WINDOW_SECONDS),
    "maximum_concurrency": (1, _UNBOUNDED),
    "visibility_timeout": (0, aws_limits.SQS_MAX_VISIBILITY_SECONDS),
    "max_receive_count": (1, aws_limits.SQS_MAX_RECEIVES),
}


@dataclass(frozen=True, slots=True)
class DeployedSettings:
    """Settings of a function, its mapping, and its queue in a template, by the names of ``ReplayOptions``."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """Known values, including the defaults of AWS."""
    undetermined: Mapping[str, str] = field(default_factory=dict)
    """For each unknown setting one line: the template's text, and why the value is not known."""
    remarks: tuple[str, ...] = ()
    """One line for each other feature of the template that a replay does not follow."""


def deployed_settings(template: Path, function: str) -> DeployedSettings:
    """Return the settings that a function is deployed with.

    Args:
        template: A SAM or CloudFormation file, YAML or JSON; parameters have their default values.
        function: The logical id of the function, or of its mapping (``Function.Event``) if it reads several queues.

    Raises:
        ConfigurationError: If the template cannot be read or has no such function, if no queue or several queues
            invoke it, or if AWS would reject a setting.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    deployment = deployment_of(template, function)
    values: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    for option, setting in _settings(deployment):
        if not setting.known:
            lines = [unknown[option]] if option in unknown else []
            unknown[option] = "; ".join([*lines, undetermined(template, setting)])
        elif setting.value is not None:
            value = _allowed(template, option, setting) if option in _ALLOWED else setting.value
            values[option] = min(value, values.get(option, value))
    queue = deployment.queue()
    if queue.receives.known and queue.receives.value is None:
        where = f"{template}:{queue.receives.place.line} maxReceiveCount of {queue.key} is not set"
        unknown["max_receive_count"] = f"{where}: a message that always fails is redelivered until it expires"
    return DeployedSettings(values, unknown, tuple(_remarks(template, deployment)))


def _settings(deployment: Deployment) -> Iterator[tuple[str, Setting[Any]]]:
    """Yield each setting with the name of its option; of two concurrency limits, the lower one applies."""
    function, mapping, queue = deployment.function, deployment.mapping(), deployment.queue()
    yield "function_timeout", function.timeout if function else _elsewhere(deployment, "Timeout")
    yield "memory_mb", function.memory if function else _elsewhere(deployment, "MemorySize")
    yield "batch_size", mapping.batch_size
    yield "window_seconds", mapping.window
    yield "report_batch_item_failures", _reports(mapping.response_types)
    yield "maximum_concurrency", mapping.maximum_concurrency
    if function is not None and function.reserved.value != 0:
        yield "maximum_concurrency", function.reserved
    yield "visibility_timeout", _of_queue("VisibilityTimeout", queue.visibility, queue)
    yield "fifo", _of_queue("FifoQueue", queue.fifo, queue)
    yield "max_receive_count", _of_queue("maxReceiveCount", queue.receives, queue)


def _elsewhere(deployment: Deployment, name: str) -> Setting[Any]:
    mapping = deployment.mapping()
    why = f"{mapping.function_name} is not in this template"
    return Setting(name, None, mapping.place, unknown=why, subject=f"{name} of {mapping.function_name}")


def _reports(types: Setting[Any]) -> Setting[Any]:
    return replace(types, value="ReportBatchItemFailures" in (types.value or ()))


def _of_queue(name: str, setting: Setting[Any], queue: Queue) -> Setting[Any]:
    """Return a setting of a queue under its own name, even if the queue is not in the template."""
    if setting.name == name:
        return setting
    return replace(setting, name=name, subject=f"{name} of {setting.subject}", written=queue.key)


def _allowed(template: Path, option: str, setting: Setting[Any]) -> int:
    """Return the value of a numeric setting.

    Raises:
        ConfigurationError: If AWS would reject it.
    """
    (minimum, maximum), value = _ALLOWED[option], float(setting.value or 0)
    if not minimum <= value <= maximum or value != int(value):
        raise ConfigurationError(
            f"{template}:{setting.place.line} {setting.subject} must be an integer from {minimum:,} to {maximum:,}, "
            f"not {value:g}"
        )
    return int(value)


def _remarks(template: Path, deployment: Deployment) -> Iterator[str]:
    for remark in deployment.remarks():
        yield f"{template}:{remark.place.line} {remark.subject} is not known ({remark.why})"
    mapping, function = deployment.mapping(), deployment.function
    if mapping.enabled.value is False:
        line = mapping.enabled.place.line
        yield f"{template}:{line} Enabled of {mapping.key} is false: a replay delivers messages anyway"
    if mapping.filtered.value:
        yield f"{template}:{mapping.place.line} FilterCriteria of {mapping.key} are not applied in a replay"
    if function is not None and function.reserved.value == 0:
        where = f"{template}:{function.reserved.place.line} {function.reserved.subject}"
        yield f"{where} is 0: Lambda does not invoke it, but a replay does"
