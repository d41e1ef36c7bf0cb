"""How a batch ends: once, with every outcome that is known, and without anything of it left behind."""

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fanfold
from batches import fifo_event, ids, kinds
from fanfold import Done, Failed, Reject
from fanfold._base.deadline import Deadline
from fanfold._base.record import records_from_event
from fanfold._base.threads import Threads
from fanfold._consumer.admission import Admission
from fanfold._consumer.environment import open_environment
from fanfold._consumer.loop_thread import Runtime
from fanfold._consumer.settings import Settings
from fanfold._consumer.stages import HandlerCall
from fanfold._consumer.thread_batch import ThreadBatch
from fanfold._consumer.thread_need import ThreadNeed
from fanfold.observers import BatchCallbacks
from fanfold.testing import make_context, make_event
from settlers import DEAD, STEADY, RecordingSettler


class Incomparable:
    """Refuses to be compared, as an array or a data frame does."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def deliver(handler: Any, event: Any, seconds: float = 60) -> fanfold.BatchResult:
    """Process a batch as Lambda does, and close the consumer."""
    try:
        return handler.invoke(event, make_context(seconds))
    finally:
        handler.close()


async def coroutine_that_exits(number: int) -> None:
    if number == 1:
        sys.exit("usage: …")
    await asyncio.sleep(0.01)


def generator_that_exits():
    try:
        yield
    finally:
        sys.exit("usage: …")


# --- What a handler returns.


def test_a_value_that_cannot_be_compared_is_done_on_a_thread():
    """The response does not depend on ``==``."""

    @fanfold.consumer
    def handler(number) -> Incomparable:
        return Incomparable()

    result = deliver(handler, make_event(0, 1))
    assert kinds(result) == [Done, Done]
    assert ids(result) == []


def test_a_value_that_cannot_be_compared_is_done_under_an_observer():
    """An observer of the end of a batch makes the batch keep its values, also for ``__call__``."""
    ended = []

    class Watching:
        def batch_started(self, records, batch) -> BatchCallbacks:
            return BatchCallbacks(batch_ended=ended.append)

    @fanfold.consumer(observers=[Watching()])
    async def handler(number) -> Incomparable:
        return Incomparable()

    assert ids(handler(make_event(0, 1), make_context(60))) == []
    handler.close()
    assert len(ended) == 1


@pytest.mark.parametrize("settings", [{}, {"large_payloads": True}], ids=["on its thread", "handed over by the loop"])
def test_a_returned_coroutine_that_exits_fails_only_its_record(settings: dict[str, Any]):
    """A plain decorator around an ``async def`` makes it a ``def``; the event loop goes on."""

    @fanfold.consumer(concurrency=3, **settings)
    def handler(number) -> Any:
        return coroutine_that_exits(number)

    assert kinds(deliver(handler, make_event(0, 1, 2))) == [Done, Failed, Done]


def test_a_returned_generator_that_exits_when_it_is_closed_fails_only_its_record():
    """The event loop goes on."""

    @fanfold.consumer(concurrency=3)
    async def handler(number) -> Any:
        if number == 1:
            returned = generator_that_exits()
            next(returned)
            return returned
        await asyncio.sleep(0.01)
        return None

    assert kinds(deliver(handler, make_event(0, 1, 2))) == [Done, Failed, Done]


def test_an_error_whose_class_cannot_be_read_fails_its_record_like_any_other():
    """It is logged, and its record is not taken for one that still runs."""

    class Unreadable(Exception):  # noqa: N818 - short
        @property
        def __class__(self):
            raise RuntimeError("no class")

    @fanfold.consumer
    async def handler(number) -> None:
        raise Unreadable

    (outcome,) = deliver(handler, make_event(0)).outcomes
    assert "whose class cannot be read" in repr(outcome)


# --- Nothing happens after the response.


def test_no_record_starts_after_the_response_to_a_batch_whose_event_loop_has_ended():
    """A background task of the lifespan fails, and ends it; the thread of a handler does not take the next record."""
    started: list[int] = []
    release = threading.Event()

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async def fails() -> None:
            while not started:  # noqa: ASYNC110 - a thread starts the record
                await asyncio.sleep(0.001)
            raise ConnectionError

        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            yield

    @fanfold.consumer(concurrency=1, lifespan=lifespan)
    def handler(number) -> None:
        started.append(number)
        release.wait(30)

    before = set(threading.enumerate())
    response = handler(make_event(*range(5)), make_context(60))
    threads = [thread for thread in set(threading.enumerate()) - before if thread.name == "fanfold-worker"]
    release.set()
    for thread in threads:
        thread.join(30)  # the event loop has closed them
    handler.close()
    assert ids(response) == [f"message-{position}" for position in range(5)]
    assert started == [0]


def test_nothing_is_settled_for_a_handler_that_fails_after_the_response():
    """Its message may have been delivered again: a late change of its visibility would affect that delivery."""
    release, ended, settler = threading.Event(), threading.Event(), RecordingSettler()

    @fanfold.consumer(backoff=STEADY, settler=settler)
    async def handler(number) -> None:
        if number:
            return
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_later(0.05, ended.set)
        raise ValueError(number)

    assert ids(handler(make_event(0), make_context(0.4))) == ["message-0"]
    release.set()
    assert ended.wait(30)
    handler.close()
    assert settler.visibility_changes == []


@pytest.mark.parametrize("shape", ["def", "async def"])
def test_the_event_is_freed_with_its_batch(shape: str):
    """It can be megabytes: it does not stay until the garbage collector finds a cycle."""

    class Message(dict):
        """A message that can be watched."""

    def plain(number) -> None: ...

    async def waits(number) -> None: ...

    handler = fanfold.consumer(plain if shape == "def" else waits)
    handler(make_event(0), make_context(60))
    event = make_event(0, 1)
    event["Records"] = [Message(raw) for raw in event["Records"]]
    watched = [weakref.ref(raw) for raw in event["Records"]]
    gc.collect()
    gc.disable()
    try:
        handler(event, make_context(60))
        del event
        handler(make_event(0), make_context(60))
        until = time.monotonic() + 30
        while any(message() for message in watched) and time.monotonic() < until:
            time.sleep(0.001)  # on busy cores, a thread may not have returned yet from the batch before
        assert [message() for message in watched] == [None, None]
    finally:
        gc.enable()
        handler.close()


async def test_the_threads_of_a_session_end_with_it():
    """Also one that still ran a record when the session ended, once its handler returns."""
    release, before = threading.Event(), set(threading.enumerate())

    @fanfold.consumer(timeout=0.2)
    def handler(number) -> None:
        release.wait(30)

    assert kinds(await handler.process(make_event(0))) == [Failed]
    workers = [thread for thread in set(threading.enumerate()) - before if thread.name == "fanfold-worker"]
    release.set()
    for thread in workers:
        thread.join(30)
    assert len(workers) == 1
    assert not workers[0].is_alive()


# --- Cancellation.


async def test_a_message_group_that_waits_for_its_dead_letter_ends_when_the_batch_is_cancelled():
    """No worker of the batch is left."""
    sending = asyncio.Event()

    class Hanging(RecordingSettler):
        async def send_dead_letters(self, rejects: Any) -> Any:
            sending.set()
            await asyncio.Event().wait()

    @fanfold.consumer(dead_letter_queue_url=DEAD, settler=Hanging())
    def handler(number) -> None:
        raise Reject("no")

    async with handler.session() as process:
        batch = asyncio.ensure_future(process(fifo_event(("a", 0), ("a", 1))))
        await sending.wait()
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        assert process.abandoned_handlers == 0


def test_an_error_that_a_signal_raises_while_a_batch_starts_cancels_it():
    """It reaches the invocation's thread before the event loop supervises the batch."""
    started, cancelled = threading.Event(), threading.Event()

    class Waiting:
        """Work that a signal interrupts."""

        def start(self, on_ended: Any) -> None:
            started.set()

        def supervise(self) -> None: ...

        def cancel(self) -> None:
            cancelled.set()

    def interrupt(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise InterruptedError(number)

    def send() -> None:
        started.wait(30)
        while not cancelled.wait(0.01):  # again, because one that comes just before a wait does not end it
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    runtime = Runtime(contextlib.nullcontext, lambda state: 0)
    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(InterruptedError):
            runtime.run_work(lambda state: Waiting(), Deadline.after(60), on_loop=False, supervise_after=30)
        assert cancelled.wait(30)
    finally:
        signal.signal(signal.SIGUSR1, before)
        sender.join()
        runtime.close()


# --- Overlapping batches.


class Occupying:
    """A batch that holds the only slot until it leaves."""

    wanted_workers = 1
    records_in_flight = 0

    def start_workers(self, count: int) -> None: ...


class AskedTooEarly(ThreadBatch):
    """Is asked for its end by another thread, after it was given a slot and before it has a worker."""

    def start_workers(self, count: int) -> None:
        self._end_if_idle()
        super().start_workers(count)


async def test_a_batch_does_not_end_between_its_slot_and_the_start_of_its_worker():
    """It waited for a slot of another invocation; each record runs, and none after the end."""
    seen: list[str] = []
    async with open_environment(Settings(), str) as environment:
        admission, occupying = Admission(concurrency=1), Occupying()
        admission.slots.enter(occupying)
        admission.slots.has_started(occupying)
        batch = AskedTooEarly(
            records_from_event(make_event(0, 1)),
            HandlerCall(asyncio.sleep, takes_list=False, on_thread=lambda record: seen.append(record.body)),
            Settings(),
            environment,
            concurrency=1,
            deadline=Deadline.after(60),
            admission=admission,
            need=ThreadNeed(),
        )
        ends = asyncio.ensure_future(batch.run())
        await asyncio.sleep(0)
        assert not seen
        admission.slots.leave(occupying)
        await ends
        assert batch.outcomes() == [Done(), Done()]
        assert seen == ["0", "1"]


async def test_threads_that_ask_for_the_limits_concurrently_share_them():
    """The second one asks while the first one creates them."""
    async with open_environment(Settings(), str) as environment:
        limits = []

        def create() -> Admission:
            limits.append(environment.admission("key", Admission))
            return Admission()

        assert environment.admission("key", create) is limits[0]


async def test_a_timeout_that_falls_into_the_clean_up_of_a_handler_ends_it_afterwards():
    """The handler was cancelled by an ``asyncio.timeout`` in its code, and then goes on."""

    @fanfold.consumer(timeout=0.2)
    async def handler(number) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0.1)
        await asyncio.Event().wait()

    result = await asyncio.wait_for(handler.process(make_event(0)), 30)
    assert isinstance(result.outcomes[0], Failed)
    assert isinstance(result.outcomes[0].error, TimeoutError)


def test_closed_threads_end_once_they_are_free():
    """A call that runs when they are closed is the last one of its thread."""
    threads, release, running = Threads(), threading.Event(), []

    def call() -> Any:
        running.append(threading.current_thread())
        release.wait(30)
        return lambda: None

    threads.start(call)
    while not running:
        release.wait(0.001)
    threads.close()
    release.set()
    running[0].join(30)
    assert not running[0].is_alive()
