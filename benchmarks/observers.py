"""The cost of observers per record, compared with the same consumer without observers.

::

    python benchmarks/observers.py [--records 10000] [--repeats 7] [--json FILE]

The handler receives the decoded body and does nothing, which is the worst case, or waits for 10 ms as for a request.
Each measurement runs in a separate process, warmed up with a small batch; the peers take turns, and the table shows
medians. The processor time of all threads is measured, which does not depend on other load of the machine. X-Ray
subsegments are sent, as on Lambda, as UDP packets to a port of this machine; OpenTelemetry spans go to an exporter that
discards them; metrics are written to a buffer.
"""

import asyncio
import contextlib
import io
import os
import socket
from collections.abc import Callable, Sequence
from itertools import product
from statistics import median
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

import fanfold
from measure import Meter, Records, Repeats, Rows, in_turn, isolated, main, table
from fanfold import Record
from fanfold.logs import RecordLogging
from fanfold.observers import BatchCallbacks, CallEnded, Observer
from fanfold.otel import BatchSpans
from fanfold.powertools import BatchMetrics, RecordTracing
from fanfold.testing import make_context, make_event
from peers import check

IO_SECONDS = 0.010
WARM_UP_RECORDS = 100
WORKLOADS = {"no-op": 100, "10 ms of I/O": 1000}
"""The handler, and its concurrency."""


async def accept(order: dict[str, Any]) -> None:
    """Do nothing."""


async def wait(order: dict[str, Any]) -> None:  # noqa: ARG001 - as a handler takes it
    """Wait as for a request."""
    await asyncio.sleep(IO_SECONDS)


class CallObserver:
    """An observer that is notified of each call and does nothing."""

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks:  # noqa: ARG002 - as for all
        """Subscribe to each call."""
        return BatchCallbacks(call_started=self._started)

    def _started(self, records: Sequence[Record]) -> CallEnded:  # noqa: ARG002 - does nothing
        return self._ended

    def _ended(self, outcomes: object) -> None:
        """Nothing."""


def traced() -> Tracer:
    """Return Powertools' tracer, which sends to a socket that accepts as many packets as it can."""
    daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    daemon.bind(("127.0.0.1", 0))
    os.environ["AWS_XRAY_DAEMON_ADDRESS"] = f"127.0.0.1:{daemon.getsockname()[1]}"
    daemon.detach()  # stays open until the process ends
    os.environ["_X_AMZN_TRACE_ID"] = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    return Tracer(service="orders", auto_patch=False)


class Dropping(SpanExporter):
    """An exporter that discards every span."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - dropped
        """Discard the spans."""
        return SpanExportResult.SUCCESS


def recording() -> TracerProvider:
    """Return an SDK that records every span."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Dropping()))
    return provider


CAPTURED = "none, but Tracer.capture_method"
"""The cost of a subsegment for each record without fanfold."""
PEERS: dict[str, Callable[[], Sequence[Observer]]] = {
    "no observer": list,
    "notified of each call, does nothing": lambda: [CallObserver()],
    "BatchMetrics": lambda: [BatchMetrics(Metrics(namespace="shop", service="orders"))],
    "RecordLogging": lambda: [RecordLogging(Logger(service="orders"))],
    "RecordTracing, all sampled": lambda: [RecordTracing(traced())],
    CAPTURED: list,
    "BatchSpans, API alone": lambda: [BatchSpans()],
    "BatchSpans, SDK, all sampled": lambda: [BatchSpans(recording())],
}
"""Modules that every peer loads, because the frequency of garbage collections depends on the loaded modules."""


@isolated
def cpu_seconds(workload: str, peer: str, records: int) -> float:
    """Handle one batch and return the processor time."""
    function: Callable[..., Any] = accept if workload == "no-op" else wait
    if peer == CAPTURED:
        function = traced().capture_method(function)
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
    """Measure the cost of observers per record."""
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
