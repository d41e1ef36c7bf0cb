"""Invocations that overlap in one process share its limits: concurrency, start rate and memory."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from batches import Gauge, ids
from fanfold import Done, Failed
from fanfold._consumer.admission import FixedLimit, Slots
from fanfold.testing import make_context, make_event


def invoke_concurrently(handler, batches: int, records: int, seconds: float = 30) -> list:
    with ThreadPoolExecutor(batches) as pool:
        calls = [pool.submit(handler, make_event(*range(records)), make_context(seconds)) for _ in range(batches)]
        return [call.result() for call in calls]


@pytest.mark.parametrize("concurrency", [1, 3, 4])
def test_overlapping_invocations_share_the_concurrency(concurrency: int):
    """Four invocations at concurrency 4 run four handlers, not sixteen; every record is processed."""
    gauge = Gauge()
    handler = fanfold.consumer(concurrency=concurrency)(gauge)
    responses = invoke_concurrently(handler, 4, 25)
    handler.close()
    assert [ids(response) for response in responses] == [[]] * 4
    assert gauge.most <= concurrency


def test_an_invocation_does_not_wait_for_a_long_one_to_end():
    """It gets its share of the slots after the next records."""
    release = threading.Event()

    @fanfold.consumer(concurrency=2)
    async def handler(name: str) -> None:
        while name == "long" and not release.is_set():
            await asyncio.sleep(0.001)
            return

    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(handler, make_event(*["long"] * 3_000), make_context(60))
        try:
            assert ids(handler(make_event(*["short"] * 3), make_context(30))) == []
            assert not long.done()
        finally:
            release.set()
        assert ids(long.result()) == []
    handler.close()


def test_an_abandoned_handler_keeps_no_slot():
    """Its response has been returned: the next batch has the whole concurrency."""
    release = threading.Event()

    @fanfold.consumer(concurrency=1)
    async def handler(name: str) -> None:
        while name == "stubborn" and not release.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    try:
        assert ids(handler(make_event("stubborn"), make_context(0.5))) == ["message-0"]
        assert ids(handler(make_event("harmless", "harmless"), make_context(10))) == []
    finally:
        release.set()
        handler.close()


class ScriptedBatch:
    """A batch as the slots see it, whose workers end when the test decides."""

    def __init__(self, wanted_workers: int) -> None:
        self.wanted_workers = wanted_workers
        self.worker_count = 0
        self.records_in_flight = 0

    def start_workers(self, count: int) -> None:
        self.worker_count += count


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 8)), max_size=60))
def test_slots_are_never_exceeded_and_never_idle_while_a_batch_waits(limit: int, steps):
    """Batches enter and leave, and their workers end or yield, in any order."""
    slots = Slots(FixedLimit(limit))
    running: list[ScriptedBatch] = []
    for action, number in steps:
        batch = running[number % len(running)] if running else None
        if action == 0 or batch is None:
            running.append(ScriptedBatch(number))
            slots.enter(running[-1])
        elif action == 1:
            running.remove(batch)
            slots.leave(batch)
        elif batch.worker_count:
            if not slots.should_yield(batch):
                batch.wanted_workers = batch.worker_count - 1  # it has found no more records
            batch.worker_count -= 1
            slots.release(batch)
        used = sum(batch.worker_count for batch in running)
        assert used <= limit
        assert used == limit or not slots.crowded
        assert all(batch.worker_count <= batch.wanted_workers for batch in running)


def test_a_batch_that_has_no_more_records_does_not_take_the_slot_that_it_waited_for():
    """The next batch that waits gets it."""
    slots = Slots(FixedLimit(1))
    running, exhausted, waiting = (ScriptedBatch(1) for _ in range(3))
    for batch in (running, exhausted, waiting):
        slots.enter(batch)
    exhausted.wanted_workers = running.wanted_workers = 0
    slots.release(running)
    assert [exhausted.worker_count, waiting.worker_count] == [0, 1]


def test_a_slot_that_is_given_back_goes_to_the_batch_that_waits():
    """A batch may have no more records by the time at which its worker would start."""
    slots = Slots(FixedLimit(1))

    class Late(ScriptedBatch):
        def start_workers(self, count: int) -> None:
            self.wanted_workers = 0
            slots.enter(waiting)
            slots.give_back(self, count)

    waiting = ScriptedBatch(1)
    late = Late(1)
    slots.enter(late)
    assert waiting.worker_count == 1
    slots.has_started(late)  # once more has no effect
    assert not slots.is_waiting(late)


def test_a_batch_that_wants_no_more_workers_does_not_wait_any_longer():
    """Its records have ended before a slot was free."""
    slots = Slots(FixedLimit(1))
    running, waiting = ScriptedBatch(1), ScriptedBatch(1)
    slots.enter(running)
    slots.enter(waiting)
    assert slots.is_waiting(waiting)
    waiting.wanted_workers = 0
    slots.want(waiting)
    assert not slots.is_waiting(waiting)


def test_handlers_in_flight_are_not_abandoned_ones():
    """Another invocation starts while 150 handlers run: the process does not exit."""
    started, release = threading.Event(), threading.Event()

    @fanfold.consumer(concurrency=300)
    async def handler(name: str) -> None:
        started.set()
        while name == "long" and not release.is_set():  # noqa: ASYNC110 - a thread sets the event
            await asyncio.sleep(0.001)

    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(handler, make_event(*["long"] * 150), make_context(60))
        try:
            assert started.wait(60)
            assert ids(handler(make_event("short"), make_context(30))) == []
            assert handler.stats.abandoned_handlers == 0
        finally:
            release.set()
        assert ids(long.result()) == []
    handler.close()


@pytest.mark.parametrize("leaves", ["nothing", "context variable", "failure"])
def test_a_batch_whose_workers_are_replaced_yields_and_gets_its_slots(leaves: str):
    """A worker that is replaced keeps its slot, and a replacement yields it like any other worker."""
    variable = contextvars.ContextVar("leftover", default=0)

    @fanfold.consumer(concurrency=2)
    async def handler(name: str) -> None:
        if leaves == "context variable":
            variable.set(variable.get() + 1)
        await asyncio.sleep(0.001)
        if name == "long" and leaves == "failure":
            raise ValueError(name)

    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(handler.invoke, make_event(*["long"] * 1_000), make_context(60))
        assert ids(handler(make_event(*["short"] * 20), make_context(30))) == []
        assert not long.done()
        assert {type(outcome) for outcome in long.result().outcomes} == {Failed if leaves == "failure" else Done}
    handler.close()


def test_an_empty_batch_does_not_wait_for_a_slot():
    """All of them are used."""
    started, release = threading.Event(), threading.Event()

    @fanfold.consumer(concurrency=1)
    async def handler(name: str) -> None:
        started.set()
        while not release.is_set():  # noqa: ASYNC110 - a thread sets the event
            await asyncio.sleep(0.001)

    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(handler, make_event("long"), make_context(60))
        try:
            assert started.wait(60)
            assert handler({"Records": []}, make_context(30)) == {"batchItemFailures": []}
            assert not long.done()
        finally:
            release.set()
        assert ids(long.result()) == []
    handler.close()


def test_memory_that_is_full_lets_one_record_run_in_all_batches_together():
    """Not one in each of them."""
    gauge = Gauge()

    @fanfold.consumer(concurrency=8)
    async def handler(number) -> None:
        await gauge(number)

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(handler, make_event(0, 1), make_context(60, memory_limit_in_mb=1)) for _ in range(4)]
        assert [ids(call.result()) for call in calls] == [[]] * 4
    handler.close()
    assert gauge.most == 1


def test_a_process_that_shares_its_memory_with_others_processes_its_batches(monkeypatch: pytest.MonkeyPatch):
    """On Managed Instances; the limits persist from one batch to the next."""
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "2")
    handler = fanfold.consumer(concurrency=3)(Gauge())
    for _ in range(3):
        assert ids(handler(make_event(*range(9)), make_context(60))) == []
    handler.close()
