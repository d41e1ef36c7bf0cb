"""The settings of a replay from a template: the values it sets, and those it does not determine."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fanfold._base import aws_limits
from fanfold._replay.filters import Pattern, parse_patterns
from fanfold._replay.options import QueueRole, QueueValue
from fanfold._replay.scaling import Pollers
from fanfold.check.deployment import Deployment, deployment_of, undetermined
from fanfold.check.unresolved import Reference
from fanfold.check.values import Queue, Setting
from fanfold.errors import ConfigurationError

_UNBOUNDED: Final = 1_000_000
"""An upper limit where AWS's limit depends on the kind of function."""
_ALLOWED: Final[Mapping[str, tuple[int, int]]] = {
    "function_timeout": (1, _UNBOUNDED),
    "memory_mb": (aws_limits.LAMBDA_MIN_MEMORY_MB, _UNBOUNDED),
    "batch_size": (1, aws_limits.MAPPING_MAX_BATCH_SIZE),
    "window_seconds": (0, aws_limits.MAPPING_MAX_WINDOW_SECONDS),
    "maximum_concurrency": (aws_limits.MAPPING_MIN_CONCURRENCY, aws_limits.MAPPING_MAX_CONCURRENCY),
    "reserved_concurrency": (0, _UNBOUNDED),
    "visibility_timeout": (0, aws_limits.SQS_MAX_VISIBILITY_SECONDS),
    "max_receive_count": (1, aws_limits.SQS_MAX_RECEIVES),
}
_MACHINES: Final = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "x86_64", "amd64": "x86_64"}
"""Lambda's name of an architecture, by the operating system's name in lower case."""
_QUEUE_FORMS: Final = {"": "url", "QueueUrl": "url", "Arn": "arn", "QueueName": "name"}
"""The form of a queue's value in a reference to it, by the attribute of the reference."""


@dataclass(frozen=True, slots=True)
class DeployedSettings:
    """Settings of a function, its mapping, and its queue in a template, by the names of ``ReplayOptions``."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """Known values, including the defaults of AWS."""
    undetermined: Mapping[str, str] = field(default_factory=dict)
    """For each unknown setting one line: the template's text, and why the value is not known."""
    remarks: tuple[str, ...] = ()
    """One line for each other feature of the template that a replay does not follow."""
    patterns: Sequence[Pattern] = ()
    """The filters of the mapping."""
    variables: Mapping[str, str | QueueValue] = field(default_factory=dict)
    """The known environment variables of the function."""
    unknown_variables: Mapping[str, str] = field(default_factory=dict)
    """For each unknown environment variable one line, as in ``undetermined``."""


def deployed_settings(template: Path, function: str, parameters: Mapping[str, str] | None = None) -> DeployedSettings:
    """Return the settings that a function is deployed with.

    Args:
        template: A SAM or CloudFormation file, YAML or JSON.
        function: The logical id of the function, or of its mapping (``Function.Event``) if it reads several queues.
        parameters: Values of parameters; the others have their defaults.

    Raises:
        ConfigurationError: If the template cannot be read or has no such function, if no queue or several queues
            invoke it, or if AWS would reject a setting.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    deployment = deployment_of(template, function, parameters)
    values: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    for option, setting in _settings(deployment):
        if not setting.known:
            unknown[option] = undetermined(template, setting)
        elif setting.value is not None:
            values[option] = _allowed(template, option, setting) if option in _ALLOWED else setting.value
    queue = deployment.queue()
    if queue.receives.known and queue.receives.value is None:
        where = f"{template}:{queue.receives.place.line} maxReceiveCount of {queue.key} is not set"
        unknown["max_receive_count"] = f"{where}: a message that always fails is redelivered until it expires"
    patterns, remarks = _patterns(template, deployment)
    pollers, notes = _pollers(template, deployment)
    if pollers is not None:
        values["pollers"] = pollers
    elif deployment.mapping().maximum_concurrency.known:
        values["scales"] = True
    variables, unknown_variables = _variables(template, deployment)
    return DeployedSettings(
        values, unknown, (*remarks, *notes, *_remarks(template, deployment)), patterns, variables, unknown_variables
    )


def _settings(deployment: Deployment) -> Iterator[tuple[str, Setting[Any]]]:
    """Yield each setting with the name of its option."""
    function, mapping, queue = deployment.function, deployment.mapping(), deployment.queue()
    yield "function_timeout", function.timeout if function else _elsewhere(deployment, "Timeout")
    yield "memory_mb", function.memory if function else _elsewhere(deployment, "MemorySize")
    yield "batch_size", mapping.batch_size
    yield "window_seconds", mapping.window
    yield "report_batch_item_failures", _reports(mapping.response_types)
    yield "maximum_concurrency", mapping.maximum_concurrency
    if function is not None:
        yield "reserved_concurrency", function.reserved
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


def _patterns(template: Path, deployment: Deployment) -> tuple[Sequence[Pattern], list[str]]:
    """Return the filters of the mapping, and a remark if they cannot be applied."""
    mapping = deployment.mapping()
    where = f"{template}:{mapping.filters.place.line} FilterCriteria of {mapping.key}"
    everything = "every message is delivered"
    if not mapping.filters.known:
        return (), [f"{where} are not known ({mapping.filters.unknown}): {everything}"]
    try:
        patterns = parse_patterns(mapping.filters.value)
    except ConfigurationError as error:
        return (), [f"{where} cannot be applied, so {everything}: {error}"]
    ignored = [key for pattern in patterns for key in pattern if key not in {"body", "$or"}]
    if ignored:
        return patterns, [f"{where} filter on {ignored[0]!r}: SQS filters match on body only, and match no message"]
    return patterns, []


def _pollers(template: Path, deployment: Deployment) -> tuple[Pollers | None, list[str]]:
    """Return the pollers of a mapping in provisioned mode, and a remark if they are not known.

    Raises:
        ConfigurationError: If AWS would reject them.
    """
    mapping = deployment.mapping()
    settings = (mapping.provisioned, mapping.minimum_pollers, mapping.maximum_pollers)
    where = f"{template}:{mapping.provisioned.place.line} ProvisionedPollerConfig of {mapping.key}"
    if unknown := next((setting.unknown for setting in settings if setting.unknown), ""):
        return None, [f"{where} is not known ({unknown}): the replay runs in standard mode"]
    if not mapping.provisioned.value:
        return None, []
    try:
        return Pollers(*(int(setting.value or 0) for setting in settings[1:])), []
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _variables(template: Path, deployment: Deployment) -> tuple[dict[str, str | QueueValue], dict[str, str]]:
    """Return the known environment variables, and one line for each of the others."""
    known: dict[str, str | QueueValue] = {}
    unknown: dict[str, str] = {}
    for variable in deployment.function.variables if deployment.function else ():
        setting = variable.setting
        value = setting.value if setting.known else _referenced(variable.reference, deployment.queue())
        if value is None:
            unknown[setting.name] = undetermined(template, setting)
        else:
            known[setting.name] = value
    return known, unknown


def _referenced(reference: Reference | None, queue: Queue) -> str | QueueValue | None:
    """Return the value that a reference has in a replay: a queue of the replay, or the Region; None if it has none."""
    if reference is None:
        return None
    if reference.name == "AWS::Region":
        return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "eu-west-1"
    roles = {queue.key: QueueRole.SOURCE, queue.dead_letter_queue.value: QueueRole.DEAD_LETTERS}
    role, form = roles.get(reference.resource), _QUEUE_FORMS.get(reference.attribute)
    return QueueValue(role, form) if role is not None and form is not None else None


def _remarks(template: Path, deployment: Deployment) -> Iterator[str]:
    for remark in deployment.remarks():
        yield f"{template}:{remark.place.line} {remark.subject} is not known ({remark.why})"
    mapping, function = deployment.mapping(), deployment.function
    if mapping.enabled.value is False:
        line = mapping.enabled.place.line
        yield f"{template}:{line} Enabled of {mapping.key} is false: a replay delivers messages anyway"
    if function is None:
        return
    if function.reserved.value == 0:
        where = f"{template}:{function.reserved.place.line} {function.reserved.subject}"
        yield f"{where} is 0: Lambda does not invoke it, so every message is dead-lettered without having run"
    if function.managed_instances.value:
        where = f"{template}:{function.managed_instances.place.line} {function.key} runs on Lambda Managed Instances"
        count = "" if function.processes.value is None else f", with {function.processes.value:g} processes"
        yield f"{where}{count}: --concurrent-invocations N lets invocations overlap in a replay"
    yield from _differences(template, function.architectures, function.runtime)


def _differences(
    template: Path, architectures: Setting[tuple[str, ...]] | None, runtime: Setting[Any] | None
) -> Iterator[str]:
    """Yield how this machine and this Python differ from those of the function."""
    machine = _MACHINES.get(platform.machine().lower(), platform.machine())
    if architectures is not None and architectures.known:
        architecture = (*(architectures.value or ()), "x86_64")[0]
        if architecture != machine:
            yield (
                f"{template}:{architectures.place.line} {architectures.subject} is {architecture}, this machine is "
                f"{machine}: packages with compiled code may behave differently"
            )
    version = re.fullmatch(r"python(\d+\.\d+)", str(runtime.value)) if runtime is not None else None
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if runtime is not None and version is not None and version[1] != here:
        yield f"{template}:{runtime.place.line} {runtime.subject} is {runtime.value}, this replay runs Python {here}"
