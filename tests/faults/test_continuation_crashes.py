"""A continued table scan on a backend that fails at any call: every item is counted exactly once."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from depth import by_depth
from failing import FailsAt, Hostile, Scripted, throttled
from fanfold import Context, Deadline, DynamoDBScan, Record, inmemory
from fanfold._base.context import BatchContext
from fanfold._jobs.collect import collect
from fanfold._jobs.commit import commit_ended
from fanfold._jobs.continuation import MOST_HOPS
from fanfold._jobs.job_state import JobState
from fanfold._jobs.scatter import scatter
from fanfold._jobs.segment_handler import process_message
from fanfold._ports.backend import Backend
from fanfold.errors import FanfoldError, ServiceError
from fanfold.inmemory import InMemoryTables
from fanfold.testing import ManualClock, make_record

MEMBERS = [{"pk": f"m-{n}", "n": n} for n in range(17)]
FAULTS: dict[str, Callable[[], ServiceError]] = {
    "throttled": throttled,
    "500": lambda: ServiceError("internal", code="InternalServerError", transient=True),
    "reset": lambda: ServiceError("reset", code="ConnectionResetError", transient=True),
    "timeout": lambda: ServiceError("timeout", code="ReadTimeoutError", transient=True),
    "final": lambda: ServiceError("no", code="InternalFailure", transient=False),
}


class Continued:
    """A run whose deliveries each stop after three items, on a failing backend; failed messages are redelivered."""

    def __init__(self, gate: Hostile) -> None:
        self.plain = replace(inmemory.backend(), tables=InMemoryTables(members=(["pk"], MEMBERS)))
        ports: dict[str, Any] = {
            name: Scripted(getattr(self.plain, name), gate) for name in ("work_queue", "fold_queue", "ledger", "tables")
        }
        self.backend: Backend = replace(self.plain, sleep=_no_sleep, **ports)

    async def run(self) -> list[int]:
        for _ in range(50):
            try:
                source = DynamoDBScan("members", segments=2, page_items=4)
                done = await scatter(
                    "job",
                    source,
                    run_id="run",
                    params={},
                    backend=self.backend,
                    watch_seconds=900,
                    deadline=Deadline.never(),
                )
                break
            except FanfoldError:
                continue  # Lambda retries the scatter of the same run
        for _ in range(200):
            received = await self.plain.work_queue.receive(max_messages=10)
            if not received:
                break
            for message in received:
                if await self._deliver(message.body):
                    await self.plain.work_queue.delete([message.receipt_handle])
                else:
                    self.plain.work_queue.change_visibility(message.receipt_handle, 0)
        return await self._folded(done.segments)

    async def _deliver(self, body: str) -> bool:
        clock = ManualClock()
        batch = BatchContext(None, Deadline(clock() + 8, 5, clock), JobState(self.backend, clock))
        record = Record(make_record(body))
        try:
            value = await process_message("job", numbers, record, Context(record, batch), max_hops=MOST_HOPS)
            return await commit_ended([(record, value)], batch) == {0}
        except FanfoldError:
            return False

    async def _folded(self, total: int) -> list[int]:
        run = await self.plain.ledger.run("run")
        assert run is not None
        with closing(sqlite3.connect("")) as rows:
            collected = await collect(run, total, self.plain, rows)
            return sorted(number for result in await collected.results() for number in result)


async def numbers(items: AsyncIterator[dict[str, Any]], ctx: Any) -> list[int]:
    processed = []
    async for item in items:
        processed.append(item["n"])
        ctx.state.advance(1)
    return processed


async def _no_sleep(_: float) -> None:
    """Return immediately."""


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_a_failure_at_any_call_every_item_is_counted_once(fault):
    """The failure occurs before or after the call takes effect, with any error of the service."""
    no_failure, step = FailsAt(), by_depth(3, 1)
    assert await Continued(no_failure).run() == list(range(17))
    assert len(no_failure.seen) > 40
    for number in range(list(FAULTS).index(fault) % step, len(no_failure.seen), step):
        assert await Continued(FailsAt(number, error=FAULTS[fault]())).run() == list(range(17)), f"call {number}"


@pytest.mark.parametrize("stride", [11, 17, 23])
async def test_with_failures_at_every_few_calls_every_item_is_counted_once(stride):
    """The failures continue for the whole run."""
    calls = iter(range(10_000))

    def gate(operation: str) -> None:
        if next(calls) % stride == 1:
            raise throttled()

    assert await Continued(gate).run() == list(range(17))
