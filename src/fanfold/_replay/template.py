"""What a SAM template says of a function, its queue and the mapping between them, as far as it can be known here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fanfold.errors import ConfigurationError, MissingExtraError

__all__ = ["present_of", "settings_of"]

_VISIBILITY_SECONDS = 30
_TIMEOUT_SECONDS = 3
_MEMORY_MB = 128


@contextmanager
def _told(template: Path) -> Iterator[None]:
    """Turn what a part of another shape than expected raises into one line."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"template {template} is malformed: {error}") from error


def settings_of(template: Path, function: str) -> dict[str, Any]:
    """Return the settings of a function, its SQS event and that event's queue, by the names of ``ReplayOptions``.

    Parameters count with their defaults, and mappings and conditions as those choose. What the template does not say
    has AWS's own default; what cannot be resolved (a queue of another stack) is left out.

    Raises:
        ConfigurationError: If the template cannot be read, or has no such function with an SQS event.
        MissingExtraError: If the SAM translator is not installed.
    """
    document = _read(template)
    with _told(template):
        return _settings_in(document, function, template)


def _settings_in(document: Mapping[str, Any], function: str, template: Path) -> dict[str, Any]:
    resources: Mapping[str, Any] = document.get("Resources") or {}
    common = (document.get("Globals") or {}).get("Function") or {}
    properties = {**common, **_function(resources, function, template)}
    event = _sqs_event(properties, function)
    found: dict[str, Any] = {
        "function_timeout": properties.get("Timeout", _TIMEOUT_SECONDS),
        "memory_mb": properties.get("MemorySize", _MEMORY_MB),
        "batch_size": event.get("BatchSize", 10),
        "window_seconds": event.get("MaximumBatchingWindowInSeconds", 0),
        "report_batch_item_failures": "ReportBatchItemFailures" in (event.get("FunctionResponseTypes") or []),
        "maximum_concurrency": (event.get("ScalingConfig") or {}).get("MaximumConcurrency"),
    }
    queue = resources.get(_logical_id(event.get("Queue")), {}).get("Properties")
    if queue is not None:
        found["visibility_timeout"] = queue.get("VisibilityTimeout", _VISIBILITY_SECONDS)
        fifo = queue.get("FifoQueue", False)
        found["fifo"] = str(_looked_up(fifo, document) if isinstance(fifo, Mapping) else fifo).lower() == "true"
        found["max_receive_count"] = (queue.get("RedrivePolicy") or {}).get("maxReceiveCount")
    resolved = {name: _resolved(value, document) for name, value in found.items()}
    return {name: value for name, value in resolved.items() if value is not None}


def present_of(template: Path, function: str) -> tuple[int | None, int]:
    """Return the concurrency that a function's environment sets, None for its handler's own, and its memory, MB.

    Raises:
        ConfigurationError: If the template cannot be read, has no such function, or its memory cannot be resolved.
        MissingExtraError: If the SAM translator is not installed.
    """
    document = _read(template)
    with _told(template):
        return _present_in(document, function, template)


def _present_in(document: Mapping[str, Any], function: str, template: Path) -> tuple[int | None, int]:
    common = (document.get("Globals") or {}).get("Function") or {}
    own = _function(document.get("Resources") or {}, function, template)
    variables = {**_variables(common), **_variables(own)}
    given = {**common, **own}.get("MemorySize", _MEMORY_MB)
    memory_mb = _resolved(given, document)
    if not isinstance(memory_mb, int | float):
        raise ConfigurationError(f"template {template}: the MemorySize of {function} is not known here: {given}")
    concurrency = _resolved(variables.get("FANFOLD_CONCURRENCY"), document)
    return None if concurrency is None else int(concurrency), int(memory_mb)


def _variables(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return (properties.get("Environment") or {}).get("Variables") or {}


def _read(template: Path) -> Mapping[str, Any]:
    try:
        from samtranslator.yaml_helper import yaml_parse
    except ModuleNotFoundError as error:
        raise MissingExtraError("local", "--template") from error
    try:
        document = yaml_parse(template.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"template {template} cannot be read: {error.strerror}") from error
    except Exception as error:
        raise ConfigurationError(f"template {template} is neither YAML nor JSON: {error}") from error
    if not isinstance(document, dict) or "Resources" not in document:
        raise ConfigurationError(f"template {template} has no Resources: is it a SAM template?")
    return document


def _function(resources: Mapping[str, Any], name: str, template: Path) -> Mapping[str, Any]:
    functions = sorted(
        each for each, resource in resources.items() if resource.get("Type") == "AWS::Serverless::Function"
    )
    if name not in functions:
        raise ConfigurationError(
            f"template {template} has no function {name!r}; it has {', '.join(functions) or 'none'}"
        )
    properties: Mapping[str, Any] = resources[name].get("Properties") or {}
    return properties


def _sqs_event(properties: Mapping[str, Any], function: str) -> Mapping[str, Any]:
    for event in (properties.get("Events") or {}).values():
        if event.get("Type") == "SQS":
            found: Mapping[str, Any] = event.get("Properties") or {}
            return found
    raise ConfigurationError(f"function {function} has no event of type SQS")


def _logical_id(reference: object) -> str:
    """Return the resource that a queue's ARN is taken from: ``!GetAtt Queue.Arn`` in either form."""
    target = reference.get("Fn::GetAtt") if isinstance(reference, Mapping) else None
    return str(target[0] if isinstance(target, list) and target else target or "").partition(".")[0]


def _resolved(value: Any, document: Mapping[str, Any]) -> Any:
    """Return what a value comes to with the parameters' defaults: a number where it is one, None if it is not known."""
    if isinstance(value, Mapping):
        value = _looked_up(value, document)
    if isinstance(value, str):
        return float(value) if value.replace(".", "", 1).isdecimal() else None
    return value


def _looked_up(value: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """Return what ``Ref``, ``Fn::FindInMap`` and ``Fn::If`` stand for; None for anything else."""
    if "Ref" in value:
        return ((document.get("Parameters") or {}).get(value["Ref"]) or {}).get("Default")
    if "Fn::FindInMap" in value:
        found: Any = document.get("Mappings") or {}
        for key in value["Fn::FindInMap"][:3]:
            text = str(_looked_up(key, document) if isinstance(key, Mapping) else key)
            names = {str(name): each for name, each in found.items()} if isinstance(found, Mapping) else {}
            found = names.get(text)
        return found
    if "Fn::If" in value:
        condition, then, otherwise = value["Fn::If"]
        holds = _holds((document.get("Conditions") or {}).get(condition), document)
        chosen = None if holds is None else then if holds else otherwise
        return _looked_up(chosen, document) if isinstance(chosen, Mapping) else chosen
    return None


def _holds(condition: Any, document: Mapping[str, Any]) -> bool | None:
    """Return whether a condition of the form ``Fn::Equals`` holds, or its opposite; None for any other."""
    if not isinstance(condition, Mapping):
        return None
    if "Fn::Equals" in condition:
        sides = [_looked_up(side, document) if isinstance(side, Mapping) else side for side in condition["Fn::Equals"]]
        return None if None in sides else str(sides[0]) == str(sides[1])
    if "Fn::Not" in condition:
        holds = _holds(condition["Fn::Not"][0], document)
        return None if holds is None else not holds
    return None
