"""OpenTelemetry: a span for each batch and one for each record, by the semantic conventions for messaging.

::

    from fanfold.otel import BatchSpans

    @fanfold.consumer(observers=[BatchSpans()])
    async def handler(order: dict) -> None: ...

Needs ``fanfold[otel]``, which brings the API alone: without an SDK nothing is recorded. Spans are handed to whatever
the SDK was set up with; that it exports them before Lambda freezes the execution environment is for the set-up to see
to.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, Final

from fanfold._base.outcome import Done, Failed, Outcome
from fanfold._base.record import Record
from fanfold.errors import MissingExtraError
from fanfold.observers import BatchCallbacks, BatchEnded, CallEnded

try:
    from opentelemetry import context as contexts
    from opentelemetry import propagate, trace
    from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TracerProvider
except ModuleNotFoundError as missing:
    raise MissingExtraError("otel", "fanfold.otel") from missing

__all__ = ["BatchSpans"]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.30.0"
_XRAY_HEADER: Final = re.compile(
    r"(?=.*\bRoot=1-(?P<time>[0-9a-f]{8})-(?P<unique>[0-9a-f]{24})\b)(?=.*\bParent=(?P<span>[0-9a-f]{16})\b)"
)
"""A message's ``AWSTraceHeader``: ``Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1``."""


class BatchSpans:
    """An observer that opens a consumer span for each batch, under the current one, and below it one for each record.

    A record's span is the current one in its handler, also when records run at once. It is linked to the spans its
    message came from: by what the global propagator finds in the message attributes (``traceparent``, unless set up
    otherwise), and by ``AWSTraceHeader``. A record that is not done has the status ERROR, with its exception if it
    failed; so has a batch of which nothing was acknowledged. What still runs when the answer is given ends then.

    Attributes: ``messaging.system``, ``messaging.operation.name`` and ``.type``, ``messaging.destination.name``,
    ``messaging.message.id`` or ``messaging.batch.message_count``, ``error.type``, and ``fanfold.outcome`` of a record,
    ``fanfold.batch.failure_count`` of a batch: how many of its messages come back.

    Args:
        tracer_provider: Where spans come from; None for the global one.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("fanfold", tracer_provider=tracer_provider, schema_url=_SCHEMA)

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks | None:  # noqa: ARG002 - as for all
        """Open the batch's span, and ask to be told of each call and of the end; nothing for a batch of nothing."""
        if not records:
            return None
        queue = records[0].queue_arn.rpartition(":")[2]
        shared = {
            "messaging.system": "aws_sqs",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": queue,
        }
        name = f"process {queue}"
        span = self._tracer.start_span(
            name, kind=SpanKind.CONSUMER, attributes={**shared, "messaging.batch.message_count": len(records)}
        )
        if not span.get_span_context().is_valid:
            return None  # there is no SDK, nor a trace to hand on
        parent = trace.set_span_in_context(span)

        def call_started(several: Sequence[Record]) -> CallEnded:
            which = (
                {"messaging.message.id": several[0].message_id}
                if len(several) == 1
                else {"messaging.batch.message_count": len(several)}
            )
            below = self._tracer.start_span(
                name,
                context=parent,
                kind=SpanKind.CONSUMER,
                attributes={**shared, **which},
                links=[link for record in several for link in _links(record)],
            )
            token = contexts.attach(trace.set_span_in_context(below))
            return functools.partial(_call_ended, below, token)

        return BatchCallbacks(call_started, functools.partial(_batch_ended, span))


def _call_ended(span: Span, token: Any, outcomes: Sequence[Outcome]) -> None:
    if trace.get_current_span() is span:  # else told on the thread that answers: the handler runs on in its own context
        contexts.detach(token)
    not_done = [outcome for outcome in outcomes if not isinstance(outcome, Done)]
    span.set_attribute("fanfold.outcome", type((not_done or outcomes)[0]).__name__)
    for outcome in not_done:
        if isinstance(outcome, Failed):
            span.record_exception(outcome.error)
    if not_done:
        kind = _kind(not_done[0])
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, getattr(not_done[0], "reason", "") or kind))
    span.end()


def _kind(outcome: Outcome) -> str:
    return type(outcome.error if isinstance(outcome, Failed) else outcome).__qualname__


def _batch_ended(span: Span, ended: BatchEnded) -> None:
    failures = len(ended.response["batchItemFailures"])
    span.set_attribute("fanfold.batch.failure_count", failures)
    if failures == len(ended.records):
        span.set_status(Status(StatusCode.ERROR, "nothing was acknowledged"))
    span.end()


def _links(record: Record) -> list[Link]:
    """Return links to the spans that a message says it came from; none twice."""
    sent = {name: value["stringValue"] for name, value in record.message_attributes.items() if "stringValue" in value}
    came_from = [_of_xray(record.attributes.get("AWSTraceHeader", ""))]
    if sent:
        came_from.insert(0, trace.get_current_span(propagate.extract(sent, contexts.Context())).get_span_context())
    valid = [one for one in came_from if one is not None and one.is_valid]
    return [Link(one) for one in {(one.trace_id, one.span_id): one for one in valid}.values()]


def _of_xray(header: str) -> SpanContext | None:
    if (match := _XRAY_HEADER.match(header)) is None:
        return None
    return SpanContext(
        trace_id=int(match["time"] + match["unique"], 16),
        span_id=int(match["span"], 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if "Sampled=1" in header else TraceFlags.DEFAULT),
    )
