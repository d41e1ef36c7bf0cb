"""`def` handlers run on threads that take records themselves, as many as are of use."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanfold
from batches import fifo_event, ids, kinds
from fanfold import Done, Failed, NotStarted, Reject, Rejected, Retry, Retrying
from fanfold._consumer import thread_batch
from fanfold._consumer.thread_need import ThreadNeed
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.testing import make_context, make_event

TENANT: contextvars.ContextVar[object] = contextvars.ContextVar("tenant", default=None)


class BrokenClass:
    """Raises wherever its class is asked for."""

    @property
    def __class__(self):
        raise RuntimeError("no class")


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
    """The invocation fails immediately: its records are redelivered."""
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
            return Rejected("chosen")
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
    """A consumer whose handler does what the body names."""
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
    """Records on other threads do not affect it."""
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


def test_a_message_group_continues_after_an_awaitable():
    """The next record starts once the event loop has awaited it."""

    @fanfold.consumer
    def handler(kind: str) -> Any:
        return decide(kind)

    event = fifo_event(("a", "coroutine"), ("a", "none"), ("a", "coroutine that fails"), ("a", "none"))
    assert kinds(handler.invoke(event, make_context(60))) == [Done, Done, Failed, NotStarted]
    handler.close()


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


async def test_a_thread_waits_while_the_event_loop_has_64_failures_to_read(monkeypatch):
    """It goes on when the event loop has read them."""
    calls, waits = [], threading.Event()
    monkeypatch.setattr(thread_batch, "time", SimpleNamespace(sleep=lambda _seconds: waits.set()))

    @fanfold.consumer(concurrency=1)
    def handler(number) -> None:
        calls.append(number)
        raise ValueError

    batch = asyncio.ensure_future(handler.process(make_event(*range(100))))
    await asyncio.sleep(0)
    assert waits.wait(300)  # this blocks the event loop
    assert len(calls) == 65
    assert kinds(await batch) == [Failed] * 100


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


def test_a_task_factory_that_fails_fails_the_record_that_needs_a_task():
    """The other records do not need one."""

    @contextlib.asynccontextmanager
    async def lifespan():
        def factory(loop: Any, coroutine: Any, **settings: Any) -> Any:
            coroutine.close()
            raise RuntimeError("no more tasks")

        asyncio.get_running_loop().set_task_factory(factory)
        yield

    @fanfold.consumer(concurrency=1, lifespan=lifespan)
    def handler(number) -> Any:
        return asyncio.sleep(0) if number == 1 else None

    assert kinds(deliver(handler, 0, 1, 2)) == [Done, Failed, Done]


def test_a_value_that_cannot_be_classified_or_contains_errors_fails_its_record():
    """The others are done."""
    for value in (BrokenClass(), [ValueError("in a list")]):

        def handler(number, value: object = value) -> object:
            return value if number == 1 else None

        assert kinds(deliver(fanfold.consumer(concurrency=1)(handler), 0, 1, 2)) == [Done, Failed, Done]
