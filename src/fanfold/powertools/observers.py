"""Observers that write with Powertools: a batch's metrics, and a trace subsegment for each record.

For use as ``fanfold.powertools.BatchMetrics`` and ``fanfold.powertools.RecordTracing``.
"""

from __future__ import annotations

import functools
import math
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
_MOST_ERRORS: Final = 20
"""Types of error that are named in one batch's metrics."""
_MOST_FRAMES: Final = 20
_KIB: Final = 1024


class BatchMetrics:
    """An observer that writes one line of metrics for each batch, in CloudWatch's embedded format.

    - Count: ``RecordsReceived``, and of these ``RecordsDone``, ``RecordsFailed``, ``RecordsRetrying``,
      ``RecordsRejected`` and ``RecordsNotStarted``, which add up to it; zeros are written too.
    - Milliseconds: ``BatchDuration``; ``DeadlineLeft``, to the end of the invocation, where there is one.
    - ``PeakInFlight``, calls of the handler at once; ``PeakMemory`` in megabytes of 1,024 KiB, as Lambda counts memory,
      of the process so far.

    How records failed is told apart by these names, and by no dimension: so there are ten metrics, however many
    types of error there are. The types are in the line itself, as ``errors``: ``{"TimeoutError": 3}``, at most 20.

    Namespace, service and default dimensions are those of ``metrics``; what is added to it elsewhere is neither
    written nor changed here.

    Args:
        metrics: Powertools' ``Metrics``.

    Raises:
        ConfigurationError: If it has no namespace, or is none of Powertools' metrics for CloudWatch.
        MissingExtraError: If Powertools is not installed.
    """

    def __init__(self, metrics: Any) -> None:
        try:
            from aws_lambda_powertools.metrics import EphemeralMetrics
        except ModuleNotFoundError as missing:
            raise MissingExtraError("powertools", "BatchMetrics") from missing
        if not all(hasattr(metrics, name) for name in ("namespace", "service", "default_dimensions")):
            raise ConfigurationError(f"BatchMetrics takes Powertools' Metrics for CloudWatch, not {metrics!r}")
        if not metrics.namespace:
            raise ConfigurationError(
                "BatchMetrics: the metrics have no namespace: Metrics(namespace=…), or POWERTOOLS_METRICS_NAMESPACE"
            )
        self._metrics = metrics
        self._make = EphemeralMetrics

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks:  # noqa: ARG002 - as for all
        """Ask to be told of the batch's end."""
        return BatchCallbacks(batch_ended=self._write)

    def _write(self, ended: BatchEnded) -> None:
        given = self._metrics
        # A set of its own: Powertools' Metrics all share one, which may be half full of what handlers have added.
        metrics = self._make(
            namespace=given.namespace, service=given.service, default_dimensions=dict(given.default_dimensions)
        )
        for name, unit, value in _figures(ended):
            metrics.add_metric(name=name, unit=unit, value=value)
        if errors := _errors(ended):
            metrics.add_metadata("errors", errors)
        metrics.flush_metrics()


def _figures(ended: BatchEnded) -> list[tuple[str, str, float]]:
    counts = Counter(type(outcome) for outcome in ended.outcomes)
    figures: list[tuple[str, str, float]] = [("RecordsReceived", "Count", len(ended.records))]
    figures += [(name, "Count", counts[kind]) for kind, name in _COUNTS.items()]
    figures += [
        ("BatchDuration", "Milliseconds", ended.seconds * 1000),
        ("PeakInFlight", "Count", ended.peak_in_flight),
    ]
    if ended.peak_memory_bytes is not None:  # pragma: no branch - where there is no /proc
        figures.append(("PeakMemory", "Megabytes", ended.peak_memory_bytes / _KIB**2))
    if not math.isinf(ended.seconds_left):
        figures.append(("DeadlineLeft", "Milliseconds", ended.seconds_left * 1000))
    return figures


def _errors(ended: BatchEnded) -> dict[str, int]:
    failed = Counter(
        type(outcome.error).__qualname__
        for outcome in ended.outcomes
        if outcome is not DONE and isinstance(outcome, Failed)
    )
    return dict(failed.most_common(_MOST_ERRORS))


class RecordTracing:
    """An observer that opens an X-Ray subsegment for each record, under what is open around the consumer.

    What the handler itself opens (``capture_method``, patched clients) stands under its record's, also when records run
    at once. A subsegment is annotated with ``message_id`` and ``outcome``, and with ``message_trace_id``, the trace of
    whoever sent the message, if it came with one: X-Ray's own link from trace to trace is Lambda's to make. A record
    that failed is a fault, with its exception; one that was rejected or comes back on request is an error. What
    still runs when the answer is given is closed as a fault, so that the invocation's own trace is whole.

    Args:
        tracer: Powertools' ``Tracer``; one that is disabled costs nothing.
        name: Name of the subsegments.

    Raises:
        ConfigurationError: If it is no tracer of X-Ray.
    """

    def __init__(self, tracer: Any, *, name: str = "## record") -> None:
        recorder = getattr(tracer, "provider", None)
        if not (hasattr(tracer, "disabled") and (tracer.disabled or hasattr(recorder, "begin_subsegment"))):
            raise ConfigurationError(f"RecordTracing takes Powertools' Tracer for X-Ray, not {tracer!r}")
        self._tracer = tracer
        self._name = name

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks | None:  # noqa: ARG002 - as for all
        """Ask to be told of each call, unless tracing is off."""
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
    """Return the id of the X-Ray trace a message was sent in; None if it came with none."""
    parts = str(record.attributes.get("AWSTraceHeader", "")).split(";")
    return next((part[5:] for part in parts if part.startswith("Root=")), None)


def _close(recorder: Any, subsegment: Any, outcomes: Sequence[Outcome]) -> None:
    worst = max(outcomes, key=_badness)
    subsegment.put_annotation("outcome", type(worst).__name__)
    if isinstance(worst, Failed):
        error = worst.error
        subsegment.add_exception(error, traceback.extract_tb(error.__traceback__, limit=-_MOST_FRAMES))
    elif not isinstance(worst, Done):
        subsegment.add_error_flag()
    if recorder.get_trace_entity() is subsegment:
        recorder.end_subsegment()
    else:  # told on the thread that answers, or something below was left open
        _close_all(subsegment)
        recorder.stream_subsegments()


def _close_all(subsegment: Any) -> None:
    for below in list(subsegment.subsegments):
        _close_all(below)
    if subsegment.in_progress:
        subsegment.close()


def _badness(outcome: Outcome) -> int:
    return 2 if isinstance(outcome, Failed) else 0 if isinstance(outcome, Done) else 1
