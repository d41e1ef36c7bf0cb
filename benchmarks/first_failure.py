"""How long the first failure with a back-off blocks the event loop, on which the other handlers run.

::

    python benchmarks/first_failure.py [--records 50] [--seconds 1.5] [--repeats 7] [--json FILE]

To set the delay of a failed message, the consumer opens a client of SQS. A batch of handlers sleeps in steps of 1 ms,
and one of them fails immediately. A task of the lifespan sleeps in steps of 1 ms, too, from the start of the first
handler; the longest time between two of its steps is measured. Each measurement is the first batch of a separate
process; the cases take turns, and the table shows medians. SQS is a server on this machine, in another process.

The reference, in the same run, is the same batch without a failure. On Lambda (``AWS_LAMBDA_FUNCTION_NAME`` is set),
the consumer loads the SDK when it is created, in the init phase; elsewhere, a thread loads it at the first failure.

The wall clock includes the time that other processes use the cores, so do not use the machine meanwhile. The CPU time
is the longest that the loop's thread computed between two steps; other processes hardly change it.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from statistics import median
from typing import Annotated

import fanfold
from measure import Repeats, Rows, fail, in_turn, isolated, main, table
from fanfold.bench.accepting_sqs import accepting_queues
from fanfold.testing import make_context, make_event

STEP_SECONDS = 0.001
LIMIT_MS = 20.0
"""The longest time that the event loop may be blocked on Lambda."""
ON_LAMBDA, ELSEWHERE = "on Lambda", "elsewhere"
ENVIRONMENTS = {ON_LAMBDA: {"AWS_LAMBDA_FUNCTION_NAME": "orders"}, ELSEWHERE: {}}


class Ticker:
    """Measures the longest time between two steps of a task."""

    def __init__(self) -> None:
        self.longest_seconds = self.longest_cpu_seconds = 0.0
        self.started = asyncio.Event()

    async def tick(self) -> None:
        """Tick from the start of the first handler until cancelled."""
        await self.started.wait()
        last, last_cpu = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(STEP_SECONDS)
            now, cpu = time.perf_counter(), time.thread_time()
            self.longest_seconds = max(self.longest_seconds, now - last)
            self.longest_cpu_seconds = max(self.longest_cpu_seconds, cpu - last_cpu)
            last, last_cpu = now, cpu


class Counting(logging.Handler):
    """Counts log lines at level WARNING and above."""

    lines = 0

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - only counted
        """Count a line."""
        self.lines += 1


@isolated
def longest_gaps(
    environment: dict[str, str], failing: int, records: int, seconds: float
) -> tuple[float, float, list[str], int]:
    """Process one batch; return the longest gaps (wall clock, CPU), the failed messages, and the log lines."""
    os.environ.update(environment)
    logging.getLogger("fanfold").addHandler(counting := Counting(logging.WARNING))
    tickers: list[Ticker] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Ticker]:
        tickers.append(Ticker())
        task = asyncio.create_task(tickers[0].tick())
        yield tickers[0]
        task.cancel()

    @fanfold.consumer(concurrency=records, backoff=fanfold.Backoff(), lifespan=lifespan)
    async def handler(fails: bool, ctx: fanfold.Context[Ticker]) -> None:
        ctx.state.started.set()
        ends_at = time.perf_counter() + seconds
        if fails:
            await asyncio.sleep(10 * STEP_SECONDS)  # the ticker runs
            raise ValueError("the first failure")
        while time.perf_counter() < ends_at:  # noqa: ASYNC110 - many short waits
            await asyncio.sleep(STEP_SECONDS)

    response = handler(make_event(*(number < failing for number in range(records))), make_context(60))
    failed = [failure["itemIdentifier"] for failure in response["batchItemFailures"]]
    return tickers[0].longest_seconds, tickers[0].longest_cpu_seconds, failed, counting.lines


@table("aiobotocore", "botocore", holds=lambda rows: rows[1]["longest gap, ms"] < LIMIT_MS)
def first_failure(
    *,
    records: Annotated[int, "records in the batch, all in flight"] = 50,
    seconds: Annotated[float, "duration of a handler that does not fail"] = 1.5,
    repeats: Repeats = 7,
) -> Rows:
    """Measure the longest time that the first failure blocks the event loop."""

    def measure(case: tuple[str, int]) -> tuple[float, float]:
        where, failing = case
        gap, cpu, failed, lines = longest_gaps({**queues, **ENVIRONMENTS[where]}, failing, records, seconds)
        # One line about the failure itself; a second one would mean that the delay was not set.
        if (failed, lines) != (["message-0"][:failing], failing):
            fail(f"{where}: {failed} failed, {lines} log lines")
        return gap * 1000, cpu * 1000

    with accepting_queues() as queues:
        samples = in_turn(measure, [*product(ENVIRONMENTS, (0, 1))], repeats)
    walls, cpus = ({case: [gap[of] for gap in gaps] for case, gaps in samples.items()} for of in (0, 1))
    return [
        {
            "consumer": where,
            "failures": str(failing),
            "longest gap, ms": median(gaps),
            "min": min(gaps),
            "max": max(gaps),
            "more than without": median(gaps) - median(walls[where, 0]),
            "CPU ms": median(cpus[where, failing]),
        }
        for (where, failing), gaps in walls.items()
    ]


if __name__ == "__main__":
    main(first_failure)
