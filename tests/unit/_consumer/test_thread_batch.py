"""`def` handlers run on threads that take records themselves, as many as are of use."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanfold
from batches import fifo_event, ids, kinds
from fanfold import Done, Failed, NotStarted, Reject, Rejected, Retry, Retrying
from fanfold._consumer.thread_need import ThreadNeed
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.testing import make_context, make_event

TENANT: contextvars.ContextVar[object] = contextvars.ContextVar("tenant", default=None)


def deliver(handler: Any, *bodies: Any) -> fanfold.BatchResult:
    """Process a batch as Lambda does, and close the consumer."""
    try:
        return handler.invoke(make_event(*bodies), make_context(300))
    finally:
        handler.close()


# --- How many threads.


def test_handlers_that_wait_get_a_thread_each():
    """The interpreter lock is free while nothing has ended."""
    need = ThreadNeed()
    need.look(0.0002, 0, late_seconds=0.0001)
    assert need.handlers_wait


def test_handlers_that_end_before_a_thread_would_start_get_no_more():
    """A hundred records in 0.2 ms."""
    need = ThreadNeed()
    need.look(0.0002, 100, late_seconds=0.0001)
    assert not need.handlers_wait


def test_handlers_that_compute_get_no_threads_to_compete_with():
    """The event loop got the interpreter lock after 5 ms."""
    need = ThreadNeed()
    need.look(0.005, 0, late_seconds=0.0048)
    assert not need.handlers_wait


def test_the_last_look_counts():
    """A handler may wait in one batch and compute in the next."""
    need = ThreadNeed()
    need.look(0.0002, 0, late_seconds=0.0)
    need.look(0.005, 0, late_seconds=0.004)
    assert not need.handlers_wait


@pytest.mark.parametrize("call", ["invoke", "process"])
async def test_all_handlers_run_concurrently_if_they_wait_for_each_other(call: str):
    """None of them could end alone."""
    barrier = threading.Barrier(20)

    @fanfold.consumer(concurrency=20)
    def handler(number) -> None:
        barrier.wait(300)

    for _ in range(2):  # the first batch finds out, the second one knows
        event = make_event(*range(20))
        done = handler.invoke(event, make_context(300)) if call == "invoke" else await handler.process(event)
        assert kinds(done) == [Done] * 20
    handler.close()


def test_a_concurrency_of_1_is_one_thread():
    """A library that is not thread-safe can rely on it within an execution environment."""
    seen = set()

    @fanfold.consumer(concurrency=1)
    def handler(number) -> None:
        seen.add(threading.current_thread())

    for _ in range(3):
        assert kinds(handler.invoke(make_event(*range(50)), make_context(60))) == [Done] * 50
    handler.close()
    assert len(seen) == 1


def test_no_more_handlers_run_than_the_concurrency():
    """Also if the batch starts with all threads."""
    running, most, lock = [0], [0], threading.Lock()

    @fanfold.consumer(concurrency=3)
    def handler(number) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.002)
        with lock:
            running[0] -= 1

    for _ in range(2):
        assert kinds(handler.invoke(make_event(*range(30)), make_context(60))) == [Done] * 30
    handler.close()
    assert 2 <= most[0] <= 3


def test_records_of_a_batch_run_after_a_thread_could_not_be_started(monkeypatch: pytest.MonkeyPatch):
    """The system's limit is reached: the threads that run process the other records."""
    started, start = [], threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name == "fanfold-worker":
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    barrier = threading.Barrier(2)

    @fanfold.consumer(concurrency=10)
    def handler(number) -> None:
        barrier.wait(300)

    assert kinds(deliver(handler, *range(10))) == [Done] * 10


def test_without_any_thread_no_record_starts(monkeypatch: pytest.MonkeyPatch):
    """The batch ends at once: its records are redelivered."""
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name == "fanfold-worker":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    handler = fanfold.consumer(lambda number: None)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        handler(make_event(1, 2), make_context(600))
    handler.close()


# --- Outcomes.


def decide(kind: str) -> Any:
    """Return or raise what a handler of this kind does."""
    match kind:
        case "raises":
            raise ValueError(kind)
        case "rejects":
            raise Reject(kind)
        case "retries":
            raise Retry(after=5)
        case "list":
            return [1]
        case "generator":
            return (number for number in ())
        case "coroutine":
            return asyncio.sleep(0, "value")
        case "coroutine that fails":
            return failing()
        case "outcome":
            return Rejected("said so")
        case "stops":
            raise StopIteration
    return {"none": None, "value": 7}[kind]


async def failing() -> None:
    raise ValueError("awaited")


OUTCOMES = {
    "none": Done,
    "value": Done,
    "list": Done,
    "coroutine": Done,
    "raises": Failed,
    "generator": Failed,
    "coroutine that fails": Failed,
    "stops": Failed,
    "rejects": Rejected,
    "outcome": Rejected,
    "retries": Retrying,
}


@pytest.fixture(scope="module")
def mixed() -> Iterator[Any]:
    """A consumer whose bodies say what the handler does."""
    queue = InMemoryQueue()

    async def settler() -> InMemorySettler:
        return InMemorySettler(queue)

    @fanfold.consumer(concurrency=4, settler=settler, dead_letter_queue_url="")
    def handler(kind: str) -> Any:
        return decide(kind)

    yield handler
    handler.close()


@given(st.lists(st.sampled_from(sorted(OUTCOMES)), max_size=60))
def test_each_record_gets_the_outcome_of_its_handler(mixed: Any, bodies: list[str]):
    """Whatever the others do, on whichever thread."""
    result = mixed.invoke(make_event(*bodies), make_context(60))
    assert kinds(result) == [OUTCOMES[kind] for kind in bodies]


@given(st.lists(st.tuples(st.sampled_from(sorted(OUTCOMES)), st.sampled_from("abc")), max_size=30))
def test_a_message_group_ends_at_its_first_failure(mixed: Any, messages: list[tuple[str, str]]):
    """The records before it are done, and those behind it are not started."""
    failed, expected = set[str](), []
    for kind, group in messages:
        expected.append(NotStarted if group in failed else OUTCOMES[kind])
        if expected[-1] is not Done:
            failed.add(group)
    result = mixed.invoke(fifo_event(*((group, kind) for kind, group in messages)), make_context(60))
    assert kinds(result) == expected


def test_a_flood_of_failures_keeps_few_of_them_alive():
    """An error keeps the variables of its handler alive until the event loop has read it."""
    alive, most, lock = [0], [0], threading.Lock()

    class Counted:
        def __init__(self) -> None:
            with lock:
                alive[0] += 1
                most[0] = max(most[0], alive[0])

        def __del__(self) -> None:
            with lock:
                alive[0] -= 1

    @fanfold.consumer(concurrency=2)
    def handler(number) -> None:
        large = Counted()
        raise ValueError(id(large))

    assert len(ids(handler(make_event(*range(2_000)), make_context(300)))) == 2_000
    handler.close()
    assert most[0] < 200


# --- Isolation.


def test_a_record_starts_in_a_fresh_context():
    """Although the records run on the same thread."""
    seen = []

    @fanfold.consumer(concurrency=1)
    def handler(number) -> None:
        seen.append(TENANT.get())
        TENANT.set(number)

    assert kinds(deliver(handler, 1, 2, 3)) == [Done] * 3
    assert seen == [None] * 3


def test_an_awaitable_runs_in_the_context_of_its_record():
    """A ``def`` decorator around a coroutine function may set a context variable for it."""
    seen = []

    async def tenant_of(number: int) -> None:
        await asyncio.sleep(0)
        seen.append((number, TENANT.get()))

    @fanfold.consumer(concurrency=1)
    def handler(number) -> Any:
        if number % 2:
            TENANT.set(number)
        return tenant_of(number)

    assert kinds(deliver(handler, 1, 2, 3)) == [Done] * 3
    assert seen == [(1, 1), (2, None), (3, 3)]


# --- Time.


def test_a_record_that_takes_too_long_fails_and_the_others_do_not_wait_for_it():
    """Its thread is abandoned until the handler returns."""
    release = threading.Event()

    @fanfold.consumer(concurrency=2, timeout=0.05)
    def handler(number) -> None:
        if number == 0:
            release.wait(300)

    try:
        result = handler.invoke(make_event(*range(20)), make_context(300))
        assert kinds(result) == [Failed] + [Done] * 19
        assert str(result.outcomes[0].error) == "the handler took longer than 0.05 s"
        assert handler.stats.abandoned_handlers == 1
    finally:
        release.set()
    while handler.stats.abandoned_handlers:
        threading.Event().wait(0.001)
    handler.close()


def test_a_thread_that_comes_back_takes_records_of_the_same_batch():
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

    @fanfold.consumer(concurrency=2, timeout=0.05)
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

    @fanfold.consumer(concurrency=2, timeout=0.05)
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
