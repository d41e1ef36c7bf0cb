"""The EventBridge pipes of a template that read an SQS queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from fanfold._base import aws_limits
from fanfold.check.functions import Functions
from fanfold.check.mappings import may_be_queue, reads_queue
from fanfold.check.queues import Queues
from fanfold.check.resources import Properties, Resources
from fanfold.check.values import EventMapping, Function, Setting

_PIPE: Final = "AWS::Pipes::Pipe"
REPORT: Final = "ReportBatchItemFailures"


def pipes(
    resources: Resources, queues: Queues, functions: Functions, by_key: Mapping[str, Function]
) -> Iterator[EventMapping]:
    """Yield the pipes that read an SQS queue, and those with settings for one.

    Args:
        resources: The resources of the template.
        queues: Its queues; one that is not in the template is added.
        functions: Finds functions and permissions.
        by_key: The functions by logical id.
    """
    for name in resources.of(_PIPE):
        properties = resources.properties(name)
        source = properties.text("Source").value
        if source is None:
            continue
        has_settings = "SqsQueueParameters" in properties.inside("SourceParameters").content
        if reads_queue(source, queues) or (has_settings and may_be_queue(source, resources)):
            yield _pipe(name, resources, queues, functions, by_key)


def _pipe(
    name: str, resources: Resources, queues: Queues, functions: Functions, by_key: Mapping[str, Function]
) -> EventMapping:
    properties = resources.properties(name)
    source = properties.inside("SourceParameters")
    batching = source.inside("SqsQueueParameters")
    target = properties.text("Target")
    key = functions.key_of(target.value or "")
    unset: Setting[Any] = Setting("", None, resources.place(name), stated=False)
    return EventMapping(
        key=resources.label(name),
        place=resources.place(name),
        queue=queues.resolve(properties.text("Source")),
        function=key if key in by_key else None,
        function_name=key or str(target.value or "a target without a name"),
        batch_size=batching.number("BatchSize", aws_limits.MAPPING_DEFAULT_BATCH_SIZE),
        window=batching.number("MaximumBatchingWindowInSeconds", 0),
        response_types=replace(unset, value=(REPORT,)),  # pipes always read which messages failed
        maximum_concurrency=unset,
        provisioned=replace(unset, value=False),
        minimum_pollers=unset,
        maximum_pollers=unset,
        enabled=_running(properties),
        filtered=source.presence("FilterCriteria"),
        filters=source.inside("FilterCriteria").items("Filters"),
        exists=resources.exists[name],
        pipe=True,
        asynchronous=_asynchronous(properties),
        permissions=functions.permissions(properties.text("RoleArn").value or ""),
        poller=name,
    )


def _running(properties: Properties) -> Setting[bool]:
    state = properties.choice("DesiredState", "RUNNING")
    return replace(state, value=state.value != "STOPPED" if state.known else None)  # type: ignore[return-value,arg-type]


def _asynchronous(properties: Properties) -> Setting[bool]:
    """Return whether the pipe passes a batch on without waiting for the result of its target."""
    parameters = properties.inside("TargetParameters").inside("LambdaFunctionParameters")
    kind = parameters.choice("InvocationType", "REQUEST_RESPONSE")
    return replace(kind, value=kind.value == "FIRE_AND_FORGET" if kind.known else None)  # type: ignore[return-value,arg-type]
