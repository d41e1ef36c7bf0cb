"""The looks at worker processes: what they decide from the shared page, at moments that the tests choose."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fanfold
import process_app
from fanfold import NotStarted, Record
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._consumer import process_pool, process_slot
from fanfold._consumer.process_pool import ProcessPool
from fanfold._consumer.process_slot import Slot
from fanfold._consumer.process_start import Processes
from fanfold._consumer.process_wire import NOTHING, Page, new_page
from fanfold.errors import WorkerProcessError
from fanfold.testing import make_context, make_record


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now


class SteeredSlot(Slot):
    """A slot without a process: the test writes to the page what a process would."""

    has_died = True

    def __init__(self, size: int) -> None:
        descriptor = new_page()
        self.page = Page(descriptor)
        os.close(descriptor)
        self.frame = self.seen = self.records = self.pid = 0
        self.jobs, self.batch, self.size = (), None, size
        self.is_ready, self.killed_for, self.target = True, "", NOTHING

    def send(self, message: object) -> None:
        """Send nothing."""

    def kill(self, reason: str) -> None:
        """Note the reason."""
        self.killed_for = reason


class Sent:
    """Records in one frame of a slot."""

    def __init__(self, pool: ProcessPool, slot: SteeredSlot, ends: list[asyncio.Future[Any]]) -> None:
        self.pool, self.slot, self.ends = pool, slot, ends

    def runs(self, position: int, since: float) -> None:
        """Let the record at a position run since a moment."""
        self.slot.page.run(self.slot.frame, position, since)

    async def results(self) -> list[Any]:
        """Return what the calls return or raise."""
        return await asyncio.gather(*self.ends, return_exceptions=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the pool and its slots."""
    clock = Clock()
    for module in (process_pool, process_slot):
        monkeypatch.setattr(module, "time", clock)
    return clock


@asynccontextmanager
async def sent(clock: Clock, records: int, *, limit: float | None = None, size: int = 64) -> AsyncIterator[Sent]:
    """Send records to a process, as one frame of at most ``size``, with a timeout; no record starts after 29 s."""
    pool = ProcessPool(Processes(process_app.act, fanfold.Settings(processes=1))._spec, 0)
    pool._look = asyncio.get_running_loop().call_later(300, print)  # the test looks instead
    slot = SteeredSlot(size)
    pool._slots.append(slot)
    deadline = Deadline.after(30, margin=1, clock=clock.monotonic)
    batch = pool.begin(BatchContext(make_context(30), deadline, None), limit, keeps_values=True)
    ends = [asyncio.ensure_future(pool.call(Record(make_record(number)), batch)) for number in range(records)]
    while not slot.jobs:  # noqa: ASYNC110 - the pool sends them
        await asyncio.sleep(0)
    try:
        yield Sent(pool, slot, ends)
    finally:
        slot.jobs = ()  # no timer of the pool looks at them any more
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        pool.close()
        slot.page.close()


async def test_records_behind_a_long_one_are_taken_back_and_run_in_frames_of_one(clock: Clock):
    """Another process may run them; the page states from where the process must not start any more."""
    async with sent(clock, 3) as frame:
        frame.runs(0, since=clock.now - 0.04)
        frame.pool._look_at_all()
        assert frame.slot.page.limit == NOTHING
        clock.now += 0.02
        frame.pool._look_at_all()
        assert frame.slot.page.limit == 1
        frame.pool._recall(frame.slot, frame.slot.frame)
        assert [len(frame.slot.jobs), len(frame.pool._queue), frame.slot.size] == [1, 2, 1]


async def test_a_frame_of_large_bodies_has_one_record(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    """The others wait for the next frame, or for another process."""
    monkeypatch.setattr(process_pool, "_MOST_BYTES", 1)
    async with sent(clock, 3) as frame:
        assert [len(frame.slot.jobs), len(frame.pool._queue)] == [1, 2]


async def test_a_record_that_starts_before_it_is_taken_back_stays_in_its_frame(clock: Clock):
    """The process has begun with it at that moment."""
    async with sent(clock, 3) as frame:
        frame.runs(0, since=clock.now - 1)
        frame.pool._look_at_all()
        frame.runs(1, since=clock.now)
        frame.pool._recall(frame.slot, frame.slot.frame)
        assert [len(frame.slot.jobs), len(frame.pool._queue)] == [2, 1]


async def test_the_look_before_a_timeout_is_followed_by_one_at_the_timeout(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """It does not wait for the next regular one, 20 ms later."""
    moments: list[float] = []
    async with sent(clock, 1, limit=5) as frame:
        with monkeypatch.context() as noting:
            noting.setattr(frame.pool._loop, "call_later", lambda seconds, *_call: moments.append(seconds))
            for seconds in (4.9, 4.985):
                frame.runs(0, since=clock.now - seconds)
                frame.pool._look_at(frame.slot)
        assert moments == [pytest.approx(0.015)]
        clock.now += 0.015
        frame.pool._look_at_one(frame.slot, frame.slot.frame)
        assert frame.slot.killed_for == "the handler took longer than 5 s"


async def test_a_process_that_does_not_begin_is_ended_after_five_seconds(clock: Clock):
    """It may be stopped."""
    async with sent(clock, 1) as frame:
        clock.now += 4.9
        frame.pool._look_at_all()
        assert frame.slot.killed_for == ""
        clock.now += 0.2
        frame.pool._look_at_all()
        assert frame.slot.killed_for == "the worker process did not begin"


@pytest.mark.parametrize(("seconds", "size"), [(0.001, 16), (0.003, 8), (0.005, 4)])
async def test_the_next_frame_is_larger_after_a_quick_one_and_smaller_after_a_slow_one(
    clock: Clock, seconds: float, size: int
):
    """A frame should take 2 to 4 ms."""
    async with sent(clock, 1, size=8) as frame:
        frame.slot.page.set_done(0)
        clock.now += seconds
        frame.pool.received(frame.slot, ("end", 1, 1))
        assert frame.slot.size == size
        assert await frame.results() == [None]


async def test_a_record_whose_outcome_was_lost_fails_at_the_end_of_its_frame(clock: Clock):
    """The process has gone on. The record before it is done."""
    async with sent(clock, 2) as frame:
        frame.slot.page.set_done(0)
        frame.pool.received(frame.slot, ("end", 1, 2))
        done, lost = await frame.results()
        assert done is None
        assert isinstance(lost, WorkerProcessError)
        assert str(lost) == "the worker process ended while it ran the handler: it went on"


async def test_a_record_that_waits_until_the_deadline_is_not_started(clock: Clock):
    """Its process is free too late."""
    async with sent(clock, 2, size=1) as frame:
        clock.now += 29
        frame.slot.page.set_done(0)
        frame.pool.received(frame.slot, ("end", 1, 1))
        assert await frame.results() == [None, NotStarted("the invocation was about to time out")]


async def test_a_look_ends_the_records_that_no_process_has_started_in_time(clock: Clock):
    """The one that is sent may still run."""
    async with sent(clock, 2, size=1) as frame:
        frame.runs(0, since=clock.now)
        clock.now += 29
        frame.pool._look_at_all()
        assert await frame.ends[1] == NotStarted("the invocation was about to time out")
        assert not frame.ends[0].done()
        frame.slot.page.set_done(0)
        frame.pool.received(frame.slot, ("end", 1, 1))
        assert await frame.ends[0] is None


async def test_records_of_the_last_process_fail_if_no_other_one_can_run_them(clock: Clock):
    """The one that ran fails with the way in which the process died, and the other one with what prevents the rest."""
    async with sent(clock, 2) as frame:
        frame.runs(0, since=clock.now)
        frame.pool._broken = "no worker process can be started: odd"
        frame.pool.died(frame.slot, "exit code 3")
        first, second = await frame.results()
        assert str(first) == "the worker process ended while it ran the handler: exit code 3"
        assert str(second) == "no worker process can be started: odd"
