"""OpenTelemetry: spans and metrics of each batch and each record.

::

    from fanfold.otel import BatchMetrics, BatchSpans

    @fanfold.consumer(observers=[BatchSpans(), BatchMetrics()])
    async def handler(order: dict) -> None: ...

They follow version 1.44.0 of the semantic conventions: those for messaging, for SQS, and for SQS events of AWS Lambda.
All three have the status *development*.

Needs ``fanfold[otel]``, which installs only the API: without an SDK, nothing is recorded. The SDK exports spans and
metrics. Configure it to do so before Lambda freezes the execution environment.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fanfold._base.outcome import Done, Failed, Outcome
from fanfold._base.record import Record
from fanfold.errors import MissingExtraError
from fanfold.observers import BatchCallbacks, BatchEnded, CallEnded

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as missing:
    raise MissingExtraError("otel", "fanfold.otel") from missing

__all__ = ["BatchMetrics", "BatchSpans"]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
_MAX_BATCH_LINKS: Final = 128
"""Links of a batch's span; the default limit of the SDK. Each record's span has its own links."""
_DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bucket boundaries that the conventions recommend for durations, seconds."""
_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()
_XRAY_HEADER: Final = re.compile(
    r"(?=.*\bRoot=1-(?P<time>[0-9a-f]{8})-(?P<unique>[0-9a-f]{24})\b)(?=.*\bParent=(?P<span>[0-9a-f]{16})\b)"
)
"""Matches the attribute ``AWSTraceHeader``: ``Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;…``."""


class BatchSpans:
    """An observer that opens a consumer span for each batch, as a child of the current span, and one for each record.

    The span of a record is a child of the span of its batch, and the current span in its handler, even when records run
    concurrently. Both are linked to the spans that sent the messages, a batch to at most 128: the span in the system
    attribute ``AWSTraceHeader``, and, from the message attributes, those in W3C's ``traceparent`` and those that the
    global propagator reads. A record that is not done has the status ERROR, and its exception if it failed; so has a
    batch in which every record failed. The span of an abandoned handler ends with the batch response.

    Attributes: ``messaging.system``, ``messaging.operation.name`` and ``.type``, ``messaging.destination.name``,
    ``aws.sqs.queue.url``, ``faas.trigger``, ``messaging.message.id`` or ``messaging.batch.message_count``,
    ``error.type``; for a record ``fanfold.outcome``; for a batch ``fanfold.batch.failure_count``, the number of
    messages that are redelivered. ``faas.trigger`` is set on Lambda only.

    Args:
        tracer_provider: The provider of the tracer; None for the global one.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("fanfold", tracer_provider=tracer_provider, schema_url=_SCHEMA)

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks | None:  # noqa: ARG002 - as for all
        """Open the span of a batch, and return the callbacks for its calls and its end; None for an empty batch."""
        if not records:
            return None
        shared = _shared(records[0]) | {"messaging.operation.type": "process"}
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            shared["faas.trigger"] = "pubsub"
        if (url := _queue_url(records[0].queue_arn)) is not None:
            shared["aws.sqs.queue.url"] = url
        name = f"process {shared['messaging.destination.name']}"
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CONSUMER,
            attributes={**shared, "messaging.batch.message_count": len(records)},
            links=_links(itertools.islice(records, _MAX_BATCH_LINKS)),
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
                links=_links(records),
            )
            token = contexts.attach(trace.set_span_in_context(child))
            return functools.partial(_call_ended, child, token)

        return BatchCallbacks(call_started, functools.partial(_batch_ended, span))


class BatchMetrics:
    """An observer that counts delivered messages and measures how long handlers run.

    Metrics: ``messaging.client.consumed.messages``, the messages of all batches, redeliveries included; and
    ``messaging.process.duration``, seconds of each call of the handler, with ``error.type`` if one of its records is
    not done. Both have ``messaging.system``, ``messaging.operation.name``, and ``messaging.destination.name``. Breakers
    add ``fanfold.breaker.transitions`` with ``fanfold.breaker.state``, ``fanfold.breaker.calls_saved``, and
    ``fanfold.breaker.messages`` with ``fanfold.breaker.action``, all with ``fanfold.breaker.name``.

    Args:
        meter_provider: The provider of the meter; None for the global one.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        meter = metrics.get_meter("fanfold", meter_provider=meter_provider, schema_url=_SCHEMA)
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Messages that were delivered to the function."
        )
        self._duration = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of a call of the handler.",
            explicit_bucket_boundaries_advisory=_DURATION_BUCKETS,
        )
        self._transitions = meter.create_counter(
            "fanfold.breaker.transitions", "{transition}", "Changes of the state of a breaker."
        )
        self._calls_saved = meter.create_counter(
            "fanfold.breaker.calls_saved", "{call}", "Calls of a service that is down which were not made."
        )
        self._held = meter.create_counter(
            "fanfold.breaker.messages", "{message}", "Messages that a breaker held back, and released."
        )

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks | None:  # noqa: ARG002 - as for all
        """Count the messages of a batch, and return the callback for its calls; None for an empty batch."""
        if not records:
            return None
        shared = _shared(records[0])
        self._consumed.add(len(records), shared)

        def call_started(records: Sequence[Record]) -> CallEnded:  # noqa: ARG001 - as for all
            return functools.partial(self._call_ended, shared, time.perf_counter())

        return BatchCallbacks(call_started, self._batch_ended)

    def _batch_ended(self, ended: BatchEnded) -> None:
        for breaker in ended.breakers:
            name = {"fanfold.breaker.name": breaker.name}
            for state in ("opened", "half_opened", "closed"):
                self._transitions.add(getattr(breaker, state), {**name, "fanfold.breaker.state": state})
            self._calls_saved.add(breaker.calls_saved, name)
            for action in ("held", "released"):
                self._held.add(getattr(breaker, action), {**name, "fanfold.breaker.action": action})

    def _call_ended(self, shared: dict[str, str], began: float, outcomes: Sequence[Outcome]) -> None:
        not_done = next((outcome for outcome in outcomes if not isinstance(outcome, Done)), None)
        error = {} if not_done is None else {"error.type": _kind(not_done)}
        self._duration.record(time.perf_counter() - began, {**shared, **error})


def _shared(record: Record) -> dict[str, str]:
    """Return the attributes that all spans and metrics of a batch have."""
    return {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "process",
        "messaging.destination.name": record.queue_arn.rpartition(":")[2],
    }


def _queue_url(arn: str) -> str | None:
    """Return the URL of a queue; None if it does not follow from the ARN."""
    match arn.split(":"):
        case ["arn", "aws" | "aws-us-gov", "sqs", region, account, name] if region and account and name:
            return f"https://sqs.{region}.amazonaws.com/{account}/{name}"
        case ["arn", "aws-cn", "sqs", region, account, name] if region and account and name:
            return f"https://sqs.{region}.amazonaws.com.cn/{account}/{name}"
    return None


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


def _links(records: Iterable[Record]) -> list[Link]:
    """Return links to the distinct spans that sent messages."""
    senders = [sender for record in records for sender in _senders(record) if sender.is_valid]
    return [Link(sender) for sender in {(sender.trace_id, sender.span_id): sender for sender in senders}.values()]


def _senders(record: Record) -> Iterable[SpanContext]:
    carrier = {
        name: value["stringValue"] for name, value in record.message_attributes.items() if "stringValue" in value
    }
    if carrier:
        for extract in (_TRACE_CONTEXT.extract, propagate.extract):
            yield trace.get_current_span(extract(carrier, contexts.Context())).get_span_context()
    if (sender := _xray_context(record.attributes.get("AWSTraceHeader", ""))) is not None:
        yield sender


def _xray_context(header: str) -> SpanContext | None:
    if (match := _XRAY_HEADER.match(header)) is None:
        return None
    return SpanContext(
        trace_id=int(match["time"] + match["unique"], 16),
        span_id=int(match["span"], 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if "Sampled=1" in header else TraceFlags.DEFAULT),
    )
