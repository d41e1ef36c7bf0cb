"""Observers that use Powertools: metrics of each batch, and an X-Ray subsegment for each record.

Import them as ``fanfold.powertools.BatchMetrics`` and ``fanfold.powertools.RecordTracing``.
"""

from __future__ import annotations

import functools
import math
import operator
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fanfold._base.outcome import DONE, Done, Failed, NotStarted, Outcome, Rejected, Retrying
from fanfold._base.record import Record
from fanfold.errors import ConfigurationError, MissingExtraError
from fanfold.observers import BatchCallbacks, BatchEnded, CallEnded

_COUNTS: Final[Mapping[type, str]] = {
    Done: "RecordsDone",
    Failed: "RecordsFailed",
    Retrying: "RecordsRetrying",
    Rejected: "RecordsRejected",
    NotStarted: "RecordsNotStarted",
}
_MAX_ERROR_TYPES: Final = 20
"""Maximum number of error types in the metadata of one batch."""
_MAX_FRAMES: Final = 20
_KIB: Final = 1024
_BREAKERS: Final = {
    "BreakersOpen": operator.attrgetter("is_open"),
    "BreakersOpened": operator.attrgetter("opened"),
    "BreakersHalfOpened": operator.attrgetter("half_opened"),
    "BreakersClosed": operator.attrgetter("closed"),
    "CallsSaved": operator.attrgetter("calls_saved"),
    "MessagesHeld": operator.attrgetter("held"),
    "MessagesReleased": operator.attrgetter("released"),
}


class BatchMetrics:
    """An observer that writes one line of metrics per batch, in CloudWatch's embedded metric format.

    - Count: ``RecordsReceived``; ``RecordsDone``, ``RecordsFailed``, ``RecordsRetrying``, ``RecordsRejected``, and
      ``RecordsNotStarted``, whose sum is ``RecordsReceived``. Zeros are included.
    - Milliseconds: ``BatchDuration``; ``DeadlineLeft``, the time until the Lambda timeout, if there is a deadline.
    - ``ConcurrencyLimit``: the limit at the end of the batch, if it adjusts itself.
    - ``PeakInFlight``: the maximum number of concurrent calls of the handler. ``PeakMemory``: the peak memory of the
      process so far, in megabytes of 1,024 KiB, as Lambda counts memory.

    - With a breaker that does something, or is open: ``BreakersOpen``, ``BreakersOpened``, ``BreakersHalfOpened``,
      ``BreakersClosed``, ``CallsSaved``, ``MessagesHeld`` and ``MessagesReleased``, the sums over the breakers.

    Outcomes have separate metrics instead of a dimension, so there are ten or eleven metrics for any number of error
    types, and seven of breakers. The metadata ``errors`` contains up to 20 error types with their counts:
    ``{"TimeoutError": 3}``.

    Namespace, service, and default dimensions are those of ``metrics``. Metrics that other code adds to it are neither
    written nor changed.

    Args:
        metrics: ``Metrics`` of Powertools.

    Raises:
        ConfigurationError: If it has no namespace, or is not Powertools' ``Metrics`` for CloudWatch.
        MissingExtraError: If Powertools is not installed.
    """

    def __init__(self, metrics: Any) -> None:
        try:
            from aws_lambda_powertools.metrics import EphemeralMetrics
        except ModuleNotFoundError as missing:
            raise MissingExtraError("powertools", "BatchMetrics") from missing
        if not all(hasattr(metrics, name) for name in ("namespace", "service", "default_dimensions")):
            raise ConfigurationError(f"BatchMetrics requires Powertools' Metrics for CloudWatch, not {metrics!r}")
        if not metrics.namespace:
            raise ConfigurationError(
                "BatchMetrics: the metrics have no namespace; "
                "use Metrics(namespace=…) or set POWERTOOLS_METRICS_NAMESPACE"
            )
        self._metrics = metrics
        self._new_metrics = EphemeralMetrics

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks:  # noqa: ARG002 - as for all
        """Return the callback for the end of the batch."""
        return BatchCallbacks(batch_ended=self._write)

    def _write(self, ended: BatchEnded) -> None:
        template = self._metrics
        # A separate set: all instances of Powertools' Metrics share one, which may contain the handlers' metrics.
        metrics = self._new_metrics(
            namespace=template.namespace, service=template.service, default_dimensions=dict(template.default_dimensions)
        )
        for name, unit, value in _metrics_of(ended):
            metrics.add_metric(name=name, unit=unit, value=value)
        if errors := _errors(ended):
            metrics.add_metadata("errors", errors)
        metrics.flush_metrics()


def _metrics_of(ended: BatchEnded) -> list[tuple[str, str, float]]:
    counts = Counter(type(outcome) for outcome in ended.outcomes)
    metrics: list[tuple[str, str, float]] = [("RecordsReceived", "Count", len(ended.records))]
    metrics += [(name, "Count", counts[kind]) for kind, name in _COUNTS.items()]
    metrics += [
        ("BatchDuration", "Milliseconds", ended.seconds * 1000),
        ("PeakInFlight", "Count", ended.peak_in_flight),
    ]
    if ended.peak_memory_bytes is not None:  # pragma: no branch - a system without /proc
        metrics.append(("PeakMemory", "Megabytes", ended.peak_memory_bytes / _KIB**2))
    if ended.concurrency_limit is not None:
        metrics.append(("ConcurrencyLimit", "Count", ended.concurrency_limit))
    if ended.breakers:
        metrics += [(name, "Count", sum(map(count, ended.breakers))) for name, count in _BREAKERS.items()]
    if not math.isinf(ended.seconds_left):
        metrics.append(("DeadlineLeft", "Milliseconds", ended.seconds_left * 1000))
    return metrics


def _errors(ended: BatchEnded) -> dict[str, int]:
    failed = Counter(
        type(outcome.error).__qualname__
        for outcome in ended.outcomes
        if outcome is not DONE and isinstance(outcome, Failed)
    )
    return dict(failed.most_common(_MAX_ERROR_TYPES))


class RecordTracing:
    """An observer that opens an X-Ray subsegment for each record, as a child of the subsegment around the consumer.

    Subsegments that the handler opens (``capture_method``, patched clients) are children of its record's subsegment,
    even if records run concurrently. Each subsegment has the annotations ``message_id`` and ``outcome``, and, if the
    message has a trace header, ``message_trace_id``: the trace in which the message was sent. (Only Lambda can add
    X-Ray's link between the two traces.) The subsegment of a failed record is a fault, with the exception; that of a
    rejected or retried record is an error. Subsegments that are open when the response is returned are closed as
    faults, so the trace of the invocation is complete.

    Args:
        tracer: ``Tracer`` of Powertools; a disabled tracer adds no overhead.
        name: Name of the subsegments.

    Raises:
        ConfigurationError: If it is not Powertools' ``Tracer`` for X-Ray.
    """

    def __init__(self, tracer: Any, *, name: str = "## record") -> None:
        recorder = getattr(tracer, "provider", None)
        if not (hasattr(tracer, "disabled") and (tracer.disabled or hasattr(recorder, "begin_subsegment"))):
            raise ConfigurationError(f"RecordTracing requires Powertools' Tracer for X-Ray, not {tracer!r}")
        self._tracer = tracer
        self._name = name

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks | None:  # noqa: ARG002 - as for all
        """Return the callback for each call; None if tracing is disabled."""
        return None if self._tracer.disabled else BatchCallbacks(call_started=self._call_started)

    def _call_started(self, records: Sequence[Record]) -> CallEnded | None:
        recorder = self._tracer.provider
        subsegment = recorder.begin_subsegment(self._name)
        if subsegment is None:
            return None
        subsegment.put_annotation("message_id", records[0].message_id)
        if len(records) > 1:
            subsegment.put_annotation("records", len(records))
        if trace_id := _trace_id_of(records[0]):
            subsegment.put_annotation("message_trace_id", trace_id)
        return functools.partial(_close, recorder, subsegment)


def _trace_id_of(record: Record) -> str | None:
    """Return the ID of the X-Ray trace in which a message was sent; None if the message has no trace header."""
    parts = str(record.attributes.get("AWSTraceHeader", "")).split(";")
    return next((part[5:] for part in parts if part.startswith("Root=")), None)


def _close(recorder: Any, subsegment: Any, outcomes: Sequence[Outcome]) -> None:
    worst = max(outcomes, key=_severity)
    subsegment.put_annotation("outcome", type(worst).__name__)
    if isinstance(worst, Failed):
        error = worst.error
        subsegment.add_exception(error, traceback.extract_tb(error.__traceback__, limit=-_MAX_FRAMES))
    elif not isinstance(worst, Done):
        subsegment.add_error_flag()
    if recorder.get_trace_entity() is subsegment:
        recorder.end_subsegment()
    else:  # on the invocation's thread, or the handler left a subsegment open
        _close_all(subsegment)
        recorder.stream_subsegments()


def _close_all(subsegment: Any) -> None:
    for child in list(subsegment.subsegments):
        _close_all(child)
    if subsegment.in_progress:
        subsegment.close()


def _severity(outcome: Outcome) -> int:
    return 2 if isinstance(outcome, Failed) else 0 if isinstance(outcome, Done) else 1
