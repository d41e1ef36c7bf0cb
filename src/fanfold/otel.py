"""OpenTelemetry: a span for each batch and each record, following the semantic conventions for messaging.

::

    from fanfold.otel import BatchSpans

    @fanfold.consumer(observers=[BatchSpans()])
    async def handler(order: dict) -> None: ...

Needs ``fanfold[otel]``, which installs only the API: without an SDK, no spans are recorded. The SDK exports the spans.
Configure it to do so before Lambda freezes the execution environment.
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
"""Matches the attribute ``AWSTraceHeader``: ``Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;…``."""


class BatchSpans:
    """An observer that opens a consumer span for each batch, as a child of the current span, and one for each record.

    The span of a record is a child of the span of its batch, and the current span in its handler, even when records run
    concurrently. It is linked to the spans that sent the message: the one that the global propagator reads from the
    message attributes (``traceparent`` by default), and the one in ``AWSTraceHeader``. A record that is not done has
    the status ERROR, and its exception if it failed; so has a batch in which every record failed. The span of an
    abandoned handler ends with the batch response.

    Attributes: ``messaging.system``, ``messaging.operation.name`` and ``.type``, ``messaging.destination.name``,
    ``messaging.message.id`` or ``messaging.batch.message_count``, ``error.type``; for a record ``fanfold.outcome``; for
    a batch ``fanfold.batch.failure_count``, the number of messages that are redelivered.

    Args:
        tracer_provider: The provider of the tracer; None for the global one.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("fanfold", tracer_provider=tracer_provider, schema_url=_SCHEMA)

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks | None:  # noqa: ARG002 - as for all
        """Open the span of a batch, and return the callbacks for its calls and its end; None for an empty batch."""
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
            return None  # no SDK is set up, and no trace needs to be propagated
        parent = trace.set_span_in_context(span)

        def call_started(records: Sequence[Record]) -> CallEnded:
            message = (
                {"messaging.message.id": records[0].message_id}
                if len(records) == 1
                else {"messaging.batch.message_count": len(records)}
            )
            child = self._tracer.start_span(
                name,
                context=parent,
                kind=SpanKind.CONSUMER,
                attributes={**shared, **message},
                links=[link for record in records for link in _links(record)],
            )
            token = contexts.attach(trace.set_span_in_context(child))
            return functools.partial(_call_ended, child, token)

        return BatchCallbacks(call_started, functools.partial(_batch_ended, span))


def _call_ended(span: Span, token: Any, outcomes: Sequence[Outcome]) -> None:
    if trace.get_current_span() is span:  # an abandoned handler is still running, in another context
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
        span.set_status(Status(StatusCode.ERROR, "every record of the batch failed"))
    span.end()


def _links(record: Record) -> list[Link]:
    """Return links to the distinct spans that sent a message."""
    carrier = {
        name: value["stringValue"] for name, value in record.message_attributes.items() if "stringValue" in value
    }
    senders = [_xray_context(record.attributes.get("AWSTraceHeader", ""))]
    if carrier:
        senders.insert(0, trace.get_current_span(propagate.extract(carrier, contexts.Context())).get_span_context())
    valid = [sender for sender in senders if sender is not None and sender.is_valid]
    return [Link(sender) for sender in {(sender.trace_id, sender.span_id): sender for sender in valid}.values()]


def _xray_context(header: str) -> SpanContext | None:
    if (match := _XRAY_HEADER.match(header)) is None:
        return None
    return SpanContext(
        trace_id=int(match["time"] + match["unique"], 16),
        span_id=int(match["span"], 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if "Sampled=1" in header else TraceFlags.DEFAULT),
    )
