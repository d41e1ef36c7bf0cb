"""What observers cost a record, beside the same consumer with none.

::

    python benchmarks/observers.py [--records 10000] [--repeats 7] [--json FILE]

The handler takes the decoded body and does nothing, which makes the ratio as bad as it gets, or waits for 10 ms as for
one request. Each measurement is a process of its own, warmed up with a small batch; the peers take turns, the table
shows medians. Measured is processor time, of all threads: it bears a machine that has other work, and none of these
waits. X-Ray subsegments are sent, as in Lambda, as UDP packets to a port of this machine; OpenTelemetry spans go to an
exporter that drops them; metrics are written to a buffer.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import os
import socket
from collections.abc import Callable, Sequence
from itertools import product
from statistics import median
from typing import Any

import fanfold
from measure import Meter, Records, Repeats, Rows, in_turn, isolated, main, table
from fanfold import Record
from fanfold.observers import CallEnded, Observer, Watch
from fanfold.testing import make_context, make_event
from peers import check

IO_SECONDS = 0.010
WARM_UP_RECORDS = 100
WORKLOADS = {"no-op": 100, "10 ms of I/O": 1000}
"""What the handler does, and how many run at once."""


async def accept(order: dict[str, Any]) -> None:
    """Do nothing."""


async def wait(order: dict[str, Any]) -> None:  # noqa: ARG001 - as a handler takes it
    """Wait as for one request."""
    await asyncio.sleep(IO_SECONDS)


class ToldOfCalls:
    """The least that an observer of each call can do."""

    def batch_started(self, records: Sequence[Record], batch: object) -> Watch:  # noqa: ARG002 - as for all
        """Ask to be told of each call."""
        return Watch(call_started=self._started)

    def _started(self, records: Sequence[Record]) -> CallEnded:  # noqa: ARG002 - does nothing
        return self._ended

    def _ended(self, outcomes: object) -> None:
        """Nothing."""


def no_observers() -> Sequence[Observer]:
    """Return none."""
    return []


def told_of_calls() -> Sequence[Observer]:
    """Return one that does nothing."""
    return [ToldOfCalls()]


def batch_metrics() -> Sequence[Observer]:
    """Return the one for metrics."""
    from aws_lambda_powertools import Metrics

    from fanfold.powertools import BatchMetrics

    return [BatchMetrics(Metrics(namespace="shop", service="orders"))]


def record_logging() -> Sequence[Observer]:
    """Return the one for log lines."""
    from aws_lambda_powertools import Logger

    from fanfold.logs import RecordLogging

    return [RecordLogging(Logger(service="orders"))]


def record_tracing() -> Sequence[Observer]:
    """Return the one for X-Ray."""
    from fanfold.powertools import RecordTracing

    return [RecordTracing(make_tracer())]


def make_tracer() -> Any:
    """Return Powertools' tracer, which sends to a socket that takes what it can."""
    daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    daemon.bind(("127.0.0.1", 0))
    os.environ["AWS_XRAY_DAEMON_ADDRESS"] = f"127.0.0.1:{daemon.getsockname()[1]}"
    os.environ["_X_AMZN_TRACE_ID"] = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    from aws_lambda_powertools import Tracer

    _KEPT.append(daemon)
    return Tracer(service="orders", auto_patch=False)


def spans_without_sdk() -> Sequence[Observer]:
    """Return the one for OpenTelemetry, where nobody has set up an SDK."""
    from fanfold.otel import BatchSpans

    return [BatchSpans()]


def spans_with_sdk() -> Sequence[Observer]:
    """Return the one for OpenTelemetry, with every span recorded."""
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    from fanfold.otel import BatchSpans

    class Dropping(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - dropped
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Dropping()))
    return [BatchSpans(provider)]


_KEPT: list[socket.socket] = []
CAPTURED = "none, but Tracer.capture_method"
"""What a subsegment for each record costs without fanfold."""
PEERS: dict[str, Callable[[], Sequence[Observer]]] = {
    "no observer": no_observers,
    "told of each call, does nothing": told_of_calls,
    "BatchMetrics": batch_metrics,
    "RecordLogging": record_logging,
    "RecordTracing, all sampled": record_tracing,
    CAPTURED: no_observers,
    "BatchSpans, API alone": spans_without_sdk,
    "BatchSpans, SDK, all sampled": spans_with_sdk,
}


@isolated
def cpu_seconds(workload: str, peer: str, records: int) -> float:
    """Handle one batch and return the processor time."""
    importlib.import_module("fanfold.powertools")  # in all: how often garbage is collected hangs on what is loaded
    function: Callable[..., Any] = accept if workload == "no-op" else wait
    if peer == CAPTURED:
        function = make_tracer().capture_method(function)
    handler = fanfold.consumer(concurrency=WORKLOADS[workload], observers=PEERS[peer]())(function)
    with contextlib.redirect_stdout(io.StringIO()):
        handler(make_event(*({"order": number} for number in range(WARM_UP_RECORDS))), make_context(900))
        event = make_event(*({"order": number} for number in range(records)))
        with Meter() as meter:
            response = handler(event, make_context(900))
    check(peer, response)
    return meter.cpu_seconds


@table("aws-lambda-powertools", "aws-xray-sdk", "opentelemetry-sdk")
def observers(*, records: Records = 10_000, repeats: Repeats = 7) -> Rows:
    """Measure what observers cost a record, beside the same consumer with none."""
    samples = in_turn(lambda case: cpu_seconds(*case, records) / records * 1e6, [*product(WORKLOADS, PEERS)], repeats)
    none = {workload: median(samples[workload, "no observer"]) for workload in WORKLOADS}
    return [
        {
            "handler": workload,
            "observer": peer,
            "CPU µs/record": median(micros),
            "min": min(micros),
            "max": max(micros),
            "more than none": median(micros) - none[workload],
            "/ none": median(micros) / none[workload],
        }
        for (workload, peer), micros in samples.items()
    ]


if __name__ == "__main__":
    main(observers)
