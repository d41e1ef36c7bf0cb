"""Records on threads: their start, their timeout, and the deadline."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import fanfold
from batches import fifo_event, ids, kinds, swallow_until
from fanfold import Done, Failed, NotStarted
from fanfold.testing import make_context, make_event
from settlers import STEADY, RecordingSettler


def deliver(handler: Any, *bodies: Any) -> fanfold.BatchResult:
    """Process a batch as Lambda does, and close the consumer."""
    try:
        return handler.invoke(make_event(*bodies), make_context(300))
    finally:
        handler.close()


def test_a_record_that_takes_too_long_fails_and_the_others_do_not_wait_for_it():
    """Its thread is abandoned until the handler returns."""
    release = threading.Event()

    @fanfold.consumer(concurrency=2, timeout=0.2)
    def handler(number) -> None:
        if number == 0:
            release.wait(300)

    try:
        result = handler.invoke(make_event(*range(20)), make_context(300))
        assert kinds(result) == [Failed] + [Done] * 19
        assert str(result.outcomes[0].error) == "the handler took longer than 0.2 s"
        assert handler.stats.abandoned_handlers == 1
    finally:
        release.set()
    while handler.stats.abandoned_handlers:
        threading.Event().wait(0.001)
    handler.close()


def test_a_thread_whose_record_timed_out_is_available_again():
    """Its record has failed; the next one of the only thread ends in time."""
    release, second = threading.Event(), threading.Event()

    @fanfold.consumer(concurrency=2, timeout=0.1)
    def handler(number) -> None:
        if number == 0:
            release.wait(300)
        elif number == 1:
            threading.Event().wait(0.15)  # also fails; meanwhile no thread is free
            release.set()
        else:
            second.set()

    result = handler.invoke(make_event(0, 1), make_context(300))
    assert kinds(result) == [Failed, Failed]
    assert kinds(handler.invoke(make_event(2, 3), make_context(300))) == [Done, Done]
    assert second.is_set()
    handler.close()


def test_if_every_thread_is_occupied_by_timeouts_the_others_are_not_started():
    """The response does not wait for the threads, nor for the deadline."""
    release = threading.Event()

    @fanfold.consumer(concurrency=2, timeout=0.2)
    def handler(number) -> None:
        release.wait(300)

    try:
        result = handler.invoke(make_event(*range(5)), make_context(600))
        assert kinds(result) == [Failed, Failed, NotStarted, NotStarted, NotStarted]
        assert "occupied every thread" in result.outcomes[4].reason
    finally:
        release.set()
        handler.close()


def test_a_timeout_counts_what_an_awaitable_takes():
    """The time of the thread and of the coroutine together."""

    @fanfold.consumer(concurrency=2, timeout=0.2)
    def handler(number) -> Any:
        return asyncio.sleep(300 if number == 1 else 0)

    result = handler.invoke(make_event(0, 1, 2), make_context(600))
    assert kinds(result) == [Done, Failed, Done]
    assert isinstance(result.outcomes[1].error, TimeoutError)
    handler.close()


def test_at_the_deadline_an_awaitable_is_cancelled_once_and_may_clean_up():
    """As a handler that is an ``async def``."""
    cleaned = []

    async def long() -> None:
        try:
            await asyncio.sleep(300)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    @fanfold.consumer(deadline_margin=0.4)
    def handler(number) -> Any:
        return long()

    result = handler.invoke(make_event(1), make_context(0.8))
    assert kinds(result) == [Failed]
    assert cleaned == [True]
    handler.close()


def test_handlers_that_still_run_at_the_deadline_are_abandoned():
    """The response lists their messages, and those that were not started."""
    release = threading.Event()

    @fanfold.consumer(concurrency=1, deadline_margin=0.4)
    def handler(number) -> None:
        release.wait(300)

    try:
        result = handler.invoke(make_event(1, 2), make_context(0.8))
        assert kinds(result) == [Failed, NotStarted]
        assert handler.stats.abandoned_handlers == 1
    finally:
        release.set()
        handler.close()


@pytest.mark.parametrize("settings", [{"starts_per_second": 100}, {"memory_share": 1e-9}])
def test_threads_ask_before_each_start(settings: dict[str, Any]):
    """A start rate, or full memory, which lets one record run at a time."""
    running, most, lock = [0], [0], threading.Lock()

    @fanfold.consumer(concurrency=5, **settings)
    def handler(number) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.001)
        with lock:
            running[0] -= 1

    result = handler.invoke(make_event(*range(10)), make_context(300))
    assert kinds(result) == [Done] * 10
    if "memory_share" in settings:
        assert most[0] == 1
    handler.close()


def test_a_thread_that_waits_for_its_start_ends_with_the_batch():
    """A start that is due after the deadline is not waited for."""

    @fanfold.consumer(concurrency=2, starts_per_second=0.001, deadline_margin=0.4)
    def handler(number) -> None: ...

    assert kinds(handler.invoke(make_event(1, 2, 3), make_context(0.8))) == [Done, NotStarted, NotStarted]
    handler.close()


async def test_a_batch_that_is_cancelled_from_outside_ends():
    """Its caller is cancelled while a thread runs."""
    started, release = threading.Event(), threading.Event()

    @fanfold.consumer(concurrency=1)
    def handler(number) -> None:
        started.set()
        release.wait(300)

    batch = asyncio.ensure_future(handler.process(make_event(1, 2)))
    while not started.is_set():  # noqa: ASYNC110 - a thread sets the event
        await asyncio.sleep(0.001)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    release.set()


async def test_a_thread_that_waits_for_its_start_ends_when_the_batch_is_cancelled():
    """Otherwise it would wait for a quarter of an hour."""

    @fanfold.consumer(concurrency=2, starts_per_second=0.001)
    def handler(number) -> None: ...

    async with handler.session() as process:
        batch = asyncio.ensure_future(process(make_event(1, 2, 3)))
        await asyncio.sleep(0)
        (threads,) = process._running
        while threads._waits is None:  # noqa: ASYNC110 - a thread waits
            await asyncio.sleep(0.001)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        while not threads.has_ended:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("memory_share", [None, 0.9])
def test_no_record_starts_once_the_margin_has_begun(memory_share: float | None):
    """The handler of the first record returns within the margin: it is done, and the second is not started."""

    @fanfold.consumer(concurrency=1, deadline_margin=2, memory_share=memory_share)
    def handler(number, ctx: fanfold.Context) -> None:
        while ctx.deadline.clock() < ctx.deadline.stops_at:
            threading.Event().wait(0.01)

    assert kinds(handler.invoke(make_event(1, 2), make_context(4.05))) == [Done, NotStarted]
    handler.close()


def crowded(handler: Any) -> bool:
    """Return whether a batch waits for a thread."""
    (admission,) = handler._runtime._loop.value[0]._admissions.values()
    return bool(admission.slots.crowded)


def test_two_batches_share_the_threads():
    """The first one gives its only thread to the second after a record."""
    first, release = threading.Event(), threading.Event()
    order = []

    @fanfold.consumer(concurrency=1)
    def handler(name: str) -> None:
        if name == "long-0":
            first.set()
            release.wait(300)
        order.append(name)

    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(handler, make_event(*(f"long-{number}" for number in range(3))), make_context(300))
        assert first.wait(300)
        short = pool.submit(handler, make_event("short"), make_context(300))
        while not crowded(handler):
            threading.Event().wait(0.001)
        release.set()
        assert ids(long.result()) == ids(short.result()) == []
    handler.close()
    assert order.index("short") < order.index("long-2")


def test_a_record_of_a_message_group_that_takes_too_long_ends_its_group():
    """The other groups continue, and a record that is younger than the timeout is not affected."""
    release = threading.Event()

    @fanfold.consumer(concurrency=2, timeout=0.2)
    def handler(name: str) -> None:
        if name == "hangs":
            release.wait(300)
        elif name == "waits":
            threading.Event().wait(0.12)

    try:
        event = fifo_event(("a", "hangs"), ("a", "next"), ("b", "waits"), ("b", "waits"), ("b", "waits"))
        assert kinds(handler.invoke(event, make_context(600))) == [Failed, NotStarted, Done, Done, Done]
    finally:
        release.set()
        handler.close()


def test_the_slot_of_a_thread_that_returns_late_is_used_again():
    """In the same batch: one record waits until another one runs, in the slot of the record that timed out."""
    release, runs = threading.Event(), threading.Event()

    @fanfold.consumer(concurrency=2, timeout=0.5)
    def handler(number) -> None:
        if number == 0:
            release.wait(300)
        elif release.is_set():
            runs.set()
        elif handler.stats.abandoned_handlers:
            release.set()
            assert runs.wait(300)
        else:
            threading.Event().wait(0.02)

    result = handler.invoke(make_event(*range(300)), make_context(300))
    assert kinds(result) == [Failed] + [Done] * 299
    handler.close()


def test_a_coroutine_that_is_returned_after_the_timeout_never_runs():
    """It is closed, and the record has failed."""
    release, ran = threading.Event(), []

    async def late() -> None:
        ran.append(True)

    @fanfold.consumer(concurrency=1, timeout=0.2)
    def handler(number) -> Any:
        release.wait(300)
        return late()

    assert kinds(handler.invoke(make_event(1), make_context(300))) == [Failed]
    release.set()
    while handler.stats.abandoned_handlers:
        threading.Event().wait(0.001)
    handler.close()
    assert ran == []


def test_an_awaitable_that_ignores_its_timeout_is_cancelled_only_once():
    """At the deadline, it is abandoned."""
    release = asyncio.Event()

    @fanfold.consumer(timeout=0.2, deadline_margin=0.4)
    def handler(number) -> Any:
        return swallow_until(release)

    result = handler.invoke(make_event(1), make_context(0.8))
    assert kinds(result) == [Failed]
    handler._runtime._loop.loop.call_soon_threadsafe(release.set)
    handler.close()


def test_no_record_starts_while_the_end_of_a_batch_sets_delays():
    """The only thread returns from a record that timed out: too late for the next record, whose batch has ended."""
    started: list[int] = []
    returns, left = threading.Event(), threading.Event()

    class Slow(RecordingSettler):
        async def change_visibility(self, changes: Any) -> Any:
            returns.set()
            while not left.is_set():  # noqa: ASYNC110 - a thread sets the event
                await asyncio.sleep(0.001)
            return await super().change_visibility(changes)

    @fanfold.consumer(concurrency=1, timeout=0.2, backoff=STEADY, settler=Slow())
    def handler(number) -> None:
        started.append(number)
        returns.wait(30)

    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(handler.invoke, make_event(0, 1), make_context(60))
        assert returns.wait(30)
        while handler.stats.abandoned_handlers:
            threading.Event().wait(0.001)
        left.set()
        assert kinds(batch.result()) == [Failed, NotStarted]
    handler.close()
    assert started == [0]
