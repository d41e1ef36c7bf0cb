"""The cost of a batch and of a record, for async and ``def`` handlers, depending on batch and message size.

::

    python benchmarks/growth.py batches [--memory 256] [--signals] [--outside-lambda] [--repeats 5] [--json FILE]
    python benchmarks/growth.py messages [--repeats 5] [--json FILE]

``batches``: batches of 1 to 10,000 records of 100 bytes, alongside both of Powertools' processors:
``AsyncBatchProcessor`` for async handlers, ``BatchProcessor`` for ``def`` handlers. With ``--memory``, each process has
the share of a core that a function with this memory has; ``--signals`` uses signals for it even if control groups are
permitted.
``growth_picture.py`` draws the results, and prints the table of the documentation. On Lambda, Powertools keeps its
event loop; with ``--outside-lambda``, it creates one for each batch, as it does elsewhere.

``messages``: records of 100 bytes to 1 MB, async handlers, and what a record costs.

Each measurement runs in a separate process, the peers take turns, and the tables show medians. In ``batches``, the time
is that of the handler's call, of many batches: their median and their 90th percentile. The processor time, and the
batches per second, include decoding the event. Between two batches, the process sleeps for ``--gap-ms``, as on Lambda,
where it waits for the next event. Without a gap, the caches of the processor are still filled: a batch of 1 then takes
a fifth of the time with Powertools, and half of it with fanfold. Under a quota, the median hides that the process waits
for its share; ``--gap-ms 0`` shows by the batches per second what a function that is never idle can do.

In ``messages``, it is the billed time: decoding the event, and the handler's call, without a gap.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from itertools import product
from statistics import median, quantiles
from typing import Annotated, Any, NamedTuple

from measure import Repeats, Rows, in_turn, isolated, main, table
from fanfold.bench.prices import prices_of
from overhead import INVOCATION_SECONDS, WORKLOADS
from peers import PEERS, Handler, Workload, check, fanfold_peer, powertools_peer
from quota import how, limited, wait_for_quota

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Records in a batch."""
SHAPES = (
    (10, 100), (100, 100), (1_000, 100), (10_000, 100),
    (1_000, 640), (1_000, 5_000), (90, 64_000), (22, 256_000), (5, 1_000_000),
)  # fmt: skip
"""Records in a batch, and bytes of a body. The fourth and the last four fill an event."""
BODY_BYTES = 100
COMPARED = ("fanfold", "Powertools", "bare", "nothing")
MEMORY_MB = 1_769
"""Memory for the price: one vCPU, about as much as a process has here."""
_LEAST_SECONDS = 0.3
_LEAST_CALLS = 3
_WARM_UP_CALLS = 3
_WARM_UP_SECONDS = 0.3
"""Python optimizes code while it runs."""


# --- Handlers of the decoded body: async that waits once or never, and ``def``.


async def wait_once(order: dict[str, Any]) -> None:  # noqa: ARG001 - as a handler takes it
    """Let the event loop turn once."""
    await asyncio.sleep(0)


async def wait_once_record(record: Any) -> None:
    """Decode the body, and let the event loop turn once."""
    _ = record.json_body
    await asyncio.sleep(0)


def accept(order: dict[str, Any]) -> None:
    """Do nothing with a decoded body."""


def accept_record(record: Any) -> None:
    """Decode the body and do nothing with it."""
    _ = record.json_body


def powertools_def_peer(record_handler: Callable[[Any], None]) -> Handler:
    """Create the handler of Powertools' documentation for ``def`` handlers."""
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    return lambda event, context: process_partial_response(
        event=event, record_handler=record_handler, processor=processor, context=context
    )


def fanfold_def_peer() -> Handler:
    """Create fanfold's consumer of a ``def`` handler."""
    import fanfold

    return fanfold.consumer(concurrency=10)(accept)


WAITS_ONCE = Workload(wait_once, wait_once_record, decodes=True)
HANDLERS: dict[str, dict[str, Callable[[], Handler]]] = {
    "async, waits once": {
        "fanfold": lambda: fanfold_peer(WAITS_ONCE),
        "Powertools": lambda: powertools_peer(WAITS_ONCE),
    },
    "async, no-op": {
        "fanfold": lambda: fanfold_peer(WORKLOADS["noop"]),
        "Powertools": lambda: powertools_peer(WORKLOADS["noop"]),
    },
    "def, no-op": {"fanfold": fanfold_def_peer, "Powertools": lambda: powertools_def_peer(accept_record)},
}
"""By handler: its peers, the same for both libraries."""


class Case(NamedTuple):
    """One row of ``batches``."""

    handler: str
    peer: str
    records: int


class Sample(NamedTuple):
    """Microseconds of batches in one process."""

    median: float
    p90: float
    cpu: float
    """Processor time of a batch, with decoding its event."""
    cpu_share: float
    """Processor time of the process per second."""
    per_second: float
    """Batches per second."""


def event_text(records: int, body_bytes: int) -> str:
    """Return an encoded event, as Lambda's runtime receives it."""
    from fanfold import testing

    padding = "x" * (body_bytes - 32)
    return json.dumps(testing.make_event(*({"order": number, "note": padding} for number in range(records))))


@isolated
def batch_micros(
    handler_name: str,
    peer: str,
    records: int,
    *,
    least: tuple[float, int],
    gap_ms: float,
    waits: bool,
    outside_lambda: bool,
) -> Sample:
    """Deliver the same batch again and again; return the times of the handler's calls.

    Args:
        handler_name: Key of ``HANDLERS``.
        peer: The library.
        records: Records in a batch.
        least: Minimum seconds, and minimum number of batches.
        gap_ms: Milliseconds between two batches.
        waits: Whether to wait for a CPU quota after the first batches.
        outside_lambda: Whether Powertools cannot see that it is on Lambda.
    """
    from fanfold import testing

    if outside_lambda:
        del os.environ["LAMBDA_TASK_ROOT"]

    handler, text = HANDLERS[handler_name][peer](), event_text(records, BODY_BYTES)
    context = testing.make_context(INVOCATION_SECONDS)
    warm_at, calls = time.perf_counter() + _WARM_UP_SECONDS, 0
    while calls < _WARM_UP_CALLS or time.perf_counter() < warm_at:
        check(peer, handler(json.loads(text), context))
        calls += 1
    if waits:
        wait_for_quota()
    micros: list[float] = []
    start, start_cpu = time.perf_counter(), time.process_time()
    while len(micros) < least[1] or time.perf_counter() - start < least[0]:
        time.sleep(gap_ms / 1e3)
        event = json.loads(text)
        began = time.perf_counter()
        handler(event, context)
        micros.append((time.perf_counter() - began) * 1e6)
    wall, cpu, count = time.perf_counter() - start, time.process_time() - start_cpu, len(micros)
    p90 = quantiles(micros, n=10, method="inclusive")[-1]
    return Sample(median(micros), p90, cpu / count * 1e6, cpu / wall, count / wall)


@table("aws-lambda-powertools")
def batches(  # noqa: PLR0913 - the options of the command
    *,
    records: Annotated[tuple[int, ...], "records in a batch"] = SIZES,
    handlers: Annotated[tuple[str, ...], "which handlers (all)", HANDLERS] = tuple(HANDLERS),
    memory: Annotated[int | None, "limit the CPU to that of a function with this memory, MB"] = None,
    signals: Annotated[bool, "limit the CPU by signals instead of a control group"] = False,
    outside_lambda: Annotated[bool, "let Powertools create an event loop for each batch"] = False,
    gap_ms: Annotated[float, "milliseconds between two batches"] = 5.0,
    seconds: Annotated[float, "minimum time of each measurement"] = 0.5,
    calls: Annotated[int, "minimum batches of each measurement"] = 20,
    repeats: Repeats = 5,
) -> dict[str, Any]:
    """Measure the time of batches of 1 to 10,000 records, async and def."""
    least, waits = (seconds, calls), memory is not None
    run = batch_micros if memory is None else limited(batch_micros, memory, signals=signals)
    cases = [Case(handler, peer, size) for handler, size in product(handlers, records) for peer in HANDLERS[handler]]

    def measure(case: Case) -> Sample:
        return Sample(*run(*case, least=least, gap_ms=gap_ms, waits=waits, outside_lambda=outside_lambda))

    samples = in_turn(measure, cases, repeats)
    middle = {case: Sample(*map(median, zip(*taken, strict=True))) for case, taken in samples.items()}

    def row(case: Case) -> dict[str, Any]:
        ours, theirs = middle[case], middle[case._replace(peer="Powertools")]
        return {
            "handler": case.handler,
            "peer": case.peer,
            "records": case.records,
            "µs/batch": ours.median,
            "p90": ours.p90,
            "CPU µs/batch": ours.cpu,
            "µs/record": ours.median / case.records,
            "/ Powertools": ours.median / theirs.median,
            "p90 / Powertools": ours.p90 / theirs.p90,
            "CPU / Powertools": ours.cpu / theirs.cpu,
            "batches/s": ours.per_second,
            "CPU share": ours.cpu_share,
        }

    return {"cpu_limit": how(memory, signals=signals), "results": [row(case) for case in cases]}


@isolated
def record_seconds(peer: str, records: int, body_bytes: int) -> tuple[float, float]:
    """Deliver the same batch several times; return medians of decoding the event and of the handler's call."""
    from fanfold import testing

    handler, text = PEERS[peer](WORKLOADS["noop"]), event_text(records, body_bytes)
    context = testing.make_context(INVOCATION_SECONDS)
    handler(json.loads(text), context)
    decoded: list[float] = []
    handled: list[float] = []
    until = time.perf_counter() + _LEAST_SECONDS
    while len(handled) < _LEAST_CALLS or time.perf_counter() < until:
        began = time.perf_counter()
        event: dict[str, Any] = json.loads(text)
        between = time.perf_counter()
        handler(event, context)
        decoded.append(between - began)
        handled.append(time.perf_counter() - between)
    return median(decoded), median(handled)


@table("aws-lambda-powertools")
def messages(*, repeats: Repeats = 5) -> Rows:
    """Measure the cost of a record of an async handler, depending on the size of messages."""
    cases = list(product(SHAPES, COMPARED))
    samples = in_turn(lambda case: record_seconds(case[1], *case[0]), cases, repeats)
    medians = {case: [median(values) for values in zip(*taken, strict=True)] for case, taken in samples.items()}

    def row(peer: str, records: int, body_bytes: int) -> dict[str, Any]:
        decode, handle = medians[(records, body_bytes), peer]
        return {
            "peer": f"{peer}, async" if peer in PEERS and peer != "nothing" else peer,
            "records": records,
            "body bytes": body_bytes,
            "event MB": len(event_text(records, body_bytes)) / 1e6,
            "decode µs/record": decode / records * 1e6,
            "handle µs/record": handle / records * 1e6,
            "/ Powertools": handle / medians[(records, body_bytes), "Powertools"][1],
            "$ per billion records": prices_of("x86").invocation(decode + handle, MEMORY_MB) / records * 1e9,
        }

    return [row(peer, *shape) for shape, peer in cases]


if __name__ == "__main__":
    main(batches, messages)
