"""The event source mappings of a template that read an SQS queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from fanfold._base import aws_limits
from fanfold.check.functions import MAPPING, Functions
from fanfold.check.queues import Queues
from fanfold.check.resources import Resources
from fanfold.check.unresolved import Text, references
from fanfold.check.values import EventMapping, Function, Permissions, Setting

NESTED: Final = ("AWS::CloudFormation::Stack", "AWS::Serverless::Application")
_OTHER_SOURCES: Final = ("StartingPosition", "Topics", "Queues", "SelfManagedEventSource")
_STREAM_SETTINGS: Final = (
    *_OTHER_SOURCES,
    "StartingPositionTimestamp",
    "ParallelizationFactor",
    "BisectBatchOnFunctionError",
    "MaximumRetryAttempts",
    "MaximumRecordAgeInSeconds",
    "TumblingWindowInSeconds",
    "DestinationConfig",
)


def sqs_mappings(resources: Resources, queues: Queues) -> Iterator[str]:
    """Yield the mappings that read an SQS queue, and those that may read one."""
    for name in resources.of(MAPPING):
        properties = resources.properties(name)
        source = properties.text("EventSourceArn").value
        if source is None:
            continue
        others = any(name in properties.content for name in _OTHER_SOURCES)
        if reads_queue(source, queues) or (may_be_queue(source, resources) and not others):
            yield name


def reads_queue(source: Text, queues: Queues) -> bool:
    """Return whether the source of a mapping is an SQS queue, of the template or another one."""
    return queues.key_of(source) in queues.by_key or ":sqs:" in str(source)


def may_be_queue(source: Text, resources: Resources) -> bool:
    """Return whether the source of a mapping is known only at deployment."""
    referenced = [reference.resource for reference in references(source)]
    outside = bool(referenced) and resources.kind(referenced[0]) in {"", *NESTED}
    return outside and not str(source).startswith("arn:")


def mapping_of_name(
    name: str, resources: Resources, queues: Queues, functions: Functions, by_key: Mapping[str, Function]
) -> EventMapping:
    """Return an event source mapping as a value.

    Args:
        name: Its logical id.
        resources: The resources of the template.
        queues: Its queues; one that is not in the template is added.
        functions: Finds functions.
        by_key: The functions by logical id.
    """
    properties = resources.properties(name)
    source, target = properties.text("EventSourceArn"), properties.text("FunctionName")
    if name in resources.translated.origins:  # the property has another name in a SAM event
        source = replace(source, place=resources.template.place((*properties.path, "Queue")))
    key = functions.key_of(target.value or "")
    function = by_key.get(key) if key is not None else None
    pollers = properties.inside("ProvisionedPollerConfig")
    return EventMapping(
        key=resources.label(name),
        place=resources.place(name),
        queue=queues.resolve(source),
        function=key if function else None,
        function_name=key or str(target.value or "a function without a name"),
        batch_size=properties.number("BatchSize", aws_limits.MAPPING_DEFAULT_BATCH_SIZE),
        window=properties.number("MaximumBatchingWindowInSeconds", 0),
        response_types=properties.texts("FunctionResponseTypes"),
        maximum_concurrency=properties.inside("ScalingConfig").number("MaximumConcurrency"),
        provisioned=properties.presence("ProvisionedPollerConfig"),
        minimum_pollers=pollers.number("MinimumPollers", aws_limits.MAPPING_MIN_POLLERS),
        maximum_pollers=pollers.number("MaximumPollers", aws_limits.MAPPING_MAX_MINIMUM_POLLERS),
        enabled=properties.flag("Enabled", default=True),
        filtered=properties.presence("FilterCriteria"),
        filters=properties.inside("FilterCriteria").items("Filters"),
        exists=resources.exists[name],
        asynchronous=Setting("InvocationType", value=False, place=resources.place(name), stated=False),
        stream_settings=tuple(properties.presence(name) for name in _STREAM_SETTINGS if name in properties.content),
        permissions=function.permissions if function else Permissions(),
        poller=function.key if function else "",
    )
