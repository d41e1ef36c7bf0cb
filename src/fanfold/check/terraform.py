"""The plan of Terraform as a CloudFormation template: ``terraform show -json plan``.

Only queues, functions, and event source mappings are translated, with the settings that the rules need. A value that
Terraform knows only after applying the plan becomes a reference to the resource it comes from, or is not known. A plan
has no line numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_QUEUE, _FUNCTION, _MAPPING = "aws_sqs_queue", "aws_lambda_function", "aws_lambda_event_source_mapping"
_REDRIVE: Final = "aws_sqs_queue_redrive_policy"
_REFERENCE: Final = re.compile(r"(?P<address>aws_\w+\.[\w-]+)(?:\[[^\]]*\])?\.(?P<attribute>\w+)")
_INDEX: Final = re.compile(r"\[[^\]]*\]")
_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    _QUEUE: {
        "QueueName": "name",
        "FifoQueue": "fifo_queue",
        "VisibilityTimeout": "visibility_timeout_seconds",
        "MessageRetentionPeriod": "message_retention_seconds",
        "MaximumMessageSize": "max_message_size",
    },
    _FUNCTION: {
        "FunctionName": "function_name",
        "Role": "role",
        "Timeout": "timeout",
        "MemorySize": "memory_size",
        "ReservedConcurrentExecutions": "reserved_concurrent_executions",
    },
    _MAPPING: {
        "EventSourceArn": "event_source_arn",
        "FunctionName": "function_name",
        "BatchSize": "batch_size",
        "MaximumBatchingWindowInSeconds": "maximum_batching_window_in_seconds",
        "FunctionResponseTypes": "function_response_types",
        "Enabled": "enabled",
        "StartingPosition": "starting_position",
    },
}
"""Properties of CloudFormation, and the arguments of Terraform with the same meaning."""
_UNSET: Final[Mapping[str, tuple[int, ...]]] = {
    "ReservedConcurrentExecutions": (-1,),
    "MaximumMessageSize": (262_144, 1_048_576),
}
"""Values that a plan contains if the configuration does not set them: the defaults of the AWS provider."""
_TYPES: Final = {
    _QUEUE: "AWS::SQS::Queue",
    _FUNCTION: "AWS::Lambda::Function",
    _MAPPING: "AWS::Lambda::EventSourceMapping",
}


def is_plan(document: Any) -> bool:
    """Return whether a document is the JSON form of a plan."""
    return isinstance(document, Mapping) and isinstance(document.get("planned_values"), Mapping)


def template_of_plan(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template that corresponds to a plan. Its logical ids are the addresses with underscores."""
    planned = list(_planned(plan["planned_values"].get("root_module")))
    expressions = dict(_expressions(_object(plan.get("configuration")).get("root_module"), ""))
    resources = _Resources(planned, expressions)
    template: dict[str, dict[str, Any]] = {
        _logical_id(resource): {"Type": _TYPES[resource["type"]], "Properties": resources.properties(resource)}
        for resource in planned
        if resource["type"] in _TYPES
    }
    for resource in planned:
        if resource["type"] == _REDRIVE:
            queue = _object(resources.value(resource, "queue_url")).get("Ref")
            if isinstance(queue, str) and queue in template:
                template[queue]["Properties"]["RedrivePolicy"] = resources.redrive_policy(resource)
    return {"Resources": template}


class _Resources:
    """The planned resources, which refer to each other."""

    def __init__(self, planned: list[Mapping[str, Any]], expressions: Mapping[str, Mapping[str, Any]]) -> None:
        self._expressions = expressions
        self._ids: dict[str, list[str]] = {}
        self._known: dict[str, Any] = {}
        for resource in planned:
            logical_id = _logical_id(resource)
            self._ids.setdefault(_INDEX.sub("", resource["address"]), []).append(logical_id)
            values = _object(resource.get("values"))
            for name in ("arn", "url", "id"):
                if values.get(name) and resource["type"] in _TYPES:
                    self._known.setdefault(str(values[name]), _attribute(logical_id, name))

    def properties(self, resource: Mapping[str, Any]) -> dict[str, Any]:
        """Return the properties of a resource; those that are not set are left out."""
        kind = resource["type"]
        content = {name: self.value(resource, argument) for name, argument in _NAMES[kind].items()}
        for name, unset in _UNSET.items():
            if content.get(name) in unset:
                del content[name]
        read: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            _QUEUE: lambda queue: {"RedrivePolicy": self.redrive_policy(queue)},
            _FUNCTION: self._of_function,
            _MAPPING: self._of_mapping,
        }
        content.update(read[kind](resource))
        return {name: value for name, value in content.items() if value not in (None, [], {})}

    def value(self, resource: Mapping[str, Any], argument: str) -> Any:
        """Return an argument: a known value, a reference, or a value that is not known; {} if it is not set."""
        value = _object(resource.get("values")).get(argument)
        if value is not None:
            return self._known.get(value, value) if isinstance(value, str) else value
        expression = _object(self._expressions.get(_INDEX.sub("", resource["address"]))).get(argument)
        names = _object(expression).get("references")
        return self._reference(resource["address"], names) if isinstance(names, list) and names else {}

    def redrive_policy(self, resource: Mapping[str, Any]) -> Any:
        """Return the redrive policy: of an unknown one, only its dead-letter queue may be known."""
        policy = self.value(resource, "redrive_policy")
        if not isinstance(policy, str):
            return {"deadLetterTargetArn": policy, "maxReceiveCount": _UNKNOWN} if policy else {}
        try:
            content = dict(_object(json.loads(policy)))
        except (ValueError, RecursionError):
            return policy
        target = content.get("deadLetterTargetArn")
        return {**content, "deadLetterTargetArn": self._known.get(str(target), target)}

    def _of_function(self, function: Mapping[str, Any]) -> dict[str, Any]:
        variables = _first(function, "environment").get("variables")
        return {"Environment": {"Variables": variables}} if isinstance(variables, Mapping) else {}

    def _of_mapping(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        pollers = _first(mapping, "provisioned_poller_config")
        filters = _first(mapping, "filter_criteria").get("filter")
        patterns = [{"Pattern": _object(item).get("pattern")} for item in _list(filters)]
        fewest, most = pollers.get("minimum_pollers"), pollers.get("maximum_pollers")
        return {
            "ScalingConfig": _set(MaximumConcurrency=_first(mapping, "scaling_config").get("maximum_concurrency")),
            "ProvisionedPollerConfig": _set(MinimumPollers=fewest, MaximumPollers=most),
            "FilterCriteria": {"Filters": patterns} if patterns else None,
        }

    def _reference(self, address: str, names: list[Any]) -> Any:
        module = _INDEX.sub("", address).split(".")[:-2]  # without the type and the name
        prefix = "".join(f"{part}." for part in module)
        for name in map(str, names):
            match = _REFERENCE.fullmatch(name)
            ids = self._ids.get(prefix + match["address"], []) if match else []
            if match and len(ids) == 1:
                return _attribute(ids[0], match["attribute"])
        return _UNKNOWN


_UNKNOWN: Final = "{{resolve:terraform:known after apply}}"


def _attribute(logical_id: str, name: str) -> dict[str, Any]:
    if name in {"arn", "qualified_arn"}:
        return {"Fn::GetAtt": [logical_id, "Arn"]}
    return {"Fn::GetAtt": [logical_id, "QueueName"]} if name == "name" else {"Ref": logical_id}


def _logical_id(resource: Mapping[str, Any]) -> str:
    return re.sub(r"\W+", "_", resource["address"]).strip("_")


def _planned(module: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the managed resources of a module and of the modules in it."""
    for resource in map(_object, _list(_object(module).get("resources"))):
        texts = resource.get("address"), resource.get("type")
        if resource.get("mode") == "managed" and all(isinstance(text, str) for text in texts):
            yield resource
    for child in _list(_object(module).get("child_modules")):
        yield from _planned(child)


def _expressions(module: Any, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the address of each configured resource, without its index, and its expressions."""
    for resource in _list(_object(module).get("resources")):
        yield f"{prefix}{_object(resource).get('address')}", _object(_object(resource).get("expressions"))
    for name, call in _object(_object(module).get("module_calls")).items():
        yield from _expressions(_object(call).get("module"), f"{prefix}module.{name}.")


def _first(resource: Mapping[str, Any], block: str) -> Mapping[str, Any]:
    """Return the content of a block that occurs at most once; empty if it is not set."""
    blocks = _object(resource.get("values")).get(block)
    return _object(blocks[0]) if isinstance(blocks, list) and blocks else {}


def _set(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
