"""One record never affects another: what a handler attaches to its task or context ends with the record."""

import asyncio
import contextlib
import contextvars
import functools
import weakref

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from batches import ids, kinds
from fanfold import Done, Failed, NotStarted
from fanfold.powertools import AsyncBatchProcessor, EventType, async_process_partial_response
from fanfold.testing import deliver, make_context, make_event

TENANT: contextvars.ContextVar[object] = contextvars.ContextVar("tenant", default=None)


class ScopedSessions:
    """One session for each task, as SQLAlchemy's ``async_scoped_session(scopefunc=asyncio.current_task)``."""

    def __init__(self) -> None:
        self.committed: list[int] = []
        self._sessions: dict[object, list[int]] = {}

    @property
    def current(self) -> list[int]:
        return self._sessions.setdefault(asyncio.current_task(), [])

    def commit(self) -> None:
        self.committed += self.current
        self.current.clear()


async def add_then_commit(sessions: ScopedSessions, number: int) -> None:
    sessions.current.append(number)
    if number == 1:
        raise ValueError("before the commit")
    await asyncio.sleep(0)
    sessions.commit()


def test_a_session_scoped_to_the_current_task_is_never_shared_between_records():
    """Record 1 adds a row and fails; record 2 commits only its own row."""
    sessions = ScopedSessions()

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        await add_then_commit(sessions, number)

    assert ids(deliver(handler, 0, 1, 2).response) == ["message-1"]
    assert sessions.committed == [0, 2]


def test_a_session_scoped_to_the_current_task_is_not_shared_in_the_drop_in():
    """The drop-in for Powertools' processor runs its records on the same workers."""
    sessions = ScopedSessions()
    processor = AsyncBatchProcessor(EventType.SQS, concurrency=1)

    async def handler(record) -> None:
        await add_then_commit(sessions, int(record.body))

    event = make_event(0, 1, 2)
    response = async_process_partial_response(event, handler, processor, make_context(5))
    assert ids(response) == ["message-1"]
    assert sessions.committed == [0, 2]


def test_a_pool_that_is_released_by_a_callback_on_the_task_serves_every_record():
    """The callback runs when the record's task ends, not when the batch does."""
    free = [0, 1]

    @fanfold.consumer(concurrency=2)
    async def handler(number) -> None:
        connection = free.pop()
        asyncio.current_task().add_done_callback(lambda _: free.append(connection))
        await asyncio.sleep(0)

    assert ids(deliver(handler, *range(10)).response) == []
    assert sorted(free) == [0, 1]


def leave_weak_key() -> None:
    KEEP_WEAK[asyncio.current_task()] = "value"


def leave_strong_key() -> None:
    KEEP.append(asyncio.current_task())


def leave_callback() -> None:
    asyncio.current_task().add_done_callback(lambda _: None)


def leave_delayed_cancel() -> None:
    asyncio.get_running_loop().call_later(0.002, asyncio.current_task().cancel)


def leave_name() -> None:
    asyncio.current_task().set_name("order-17")


def leave_context_variable() -> None:
    TENANT.set("tenant-17")


async def leave_timeout() -> None:
    await asyncio.timeout(0.002).__aenter__()


def leave_cancel_scope() -> None:
    KEEP.append(scope := anyio.move_on_after(0.002))
    scope.__enter__()


KEEP: list[object] = []
KEEP_WEAK: weakref.WeakKeyDictionary[object, str] = weakref.WeakKeyDictionary()
LEFTOVERS = [
    leave_weak_key,
    leave_strong_key,
    leave_callback,
    leave_delayed_cancel,
    leave_name,
    leave_context_variable,
    leave_timeout,
    leave_cancel_scope,
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.sampled_from(LEFTOVERS), min_size=1, max_size=12),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.003]),
)
def test_no_record_sees_what_another_attached_to_its_task_or_context(leftovers, concurrency: int, seconds: float):
    """Each other record runs on a clean task and succeeds, no matter what is left open or attached."""
    KEEP.clear()
    seen: list[str] = []

    @fanfold.consumer(concurrency=concurrency)
    async def handler(number) -> None:
        task = asyncio.current_task()
        if task in KEEP_WEAK or task in KEEP or TENANT.get() is not None or task.get_name() == "order-17":
            seen.append(f"record {number} runs on a task that another one used")
        if (leave := leftovers[number]) is not None and (awaitable := leave()) is not None:
            await awaitable
        elif leave is None:
            await asyncio.sleep(seconds)

    result = deliver(handler, *range(len(leftovers)))
    assert seen == []
    clean = [outcome for outcome, leave in zip(result.outcomes, leftovers, strict=True) if leave is None]
    assert {type(outcome) for outcome in clean} <= {Done}


@pytest.mark.parametrize(("first", "second"), [(0, False), (1, True), (1, 1.0), ("", "")])
def test_a_context_variable_set_to_an_equal_value_does_not_reach_the_next_record(first: object, second: object):
    """Equal values can differ: ``False`` equals ``0``."""
    variable = contextvars.ContextVar("flag", default=None)
    variable.set(first)
    seen = []

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        seen.append(type(variable.get()))
        variable.set(second)

    deliver(handler, 0, 1, 2)
    assert seen == [type(first)] * 3


def test_what_timeouts_task_groups_and_threads_use_is_not_a_leftover():
    """A record that leaves nothing shares its worker's task with the next: a task per record would cost three times."""
    tasks = []

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        tasks.append(id(asyncio.current_task()))
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        with anyio.move_on_after(5):
            await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
        await asyncio.to_thread(int)

    assert ids(deliver(handler, *range(20)).response) == []
    assert len(set(tasks)) == 1


def test_a_context_variable_set_by_a_def_decorator_reaches_the_async_handler_it_wraps():
    """The wrapper runs on a thread; the coroutine that it returns continues in the same context."""
    seen = []

    def with_tenant(function):
        def wrapper(number):
            TENANT.set(f"tenant-{number}")
            return function(number)

        return wrapper

    @fanfold.consumer(concurrency=1)
    @with_tenant
    async def handler(number) -> None:
        await asyncio.sleep(0)
        seen.append(TENANT.get())

    assert ids(deliver(handler, 0, 1).response) == []
    assert seen == ["tenant-0", "tenant-1"]
    assert TENANT.get() is None


def test_a_task_factory_without_a_context_parameter_is_served():
    """A lifespan installs ``lambda loop, coroutine: …``; every batch runs, each record in its own context."""

    @contextlib.asynccontextmanager
    async def lifespan():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
        yield

    seen = []

    @fanfold.consumer(concurrency=1, lifespan=lifespan)
    async def handler(number) -> None:
        seen.append(TENANT.get())
        TENANT.set(number)

    for _ in range(2):
        assert kinds(deliver(handler, 0, 1)) == [Done, Done]
    assert seen == [None] * 4


class BrokenClassError(Exception):
    """Raises wherever its class is asked for."""

    @property
    def __class__(self):
        raise RuntimeError("no class")


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_exception_whose_class_cannot_be_read_fails_its_record_alone(concurrency: int):
    """A ``def`` handler raises it on a thread; the response does not wait for the deadline."""

    @fanfold.consumer(concurrency=concurrency)
    def handler(number) -> None:
        if number == 1:
            raise BrokenClassError

    assert kinds(deliver(handler, 0, 1, 2)) == [Done, Failed, Done]


async def test_an_exception_whose_class_cannot_be_read_fails_its_record_in_an_async_handler():
    """Classifying it does not stop the worker."""

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number == 1:
            raise BrokenClassError

    assert kinds(await handler.process(make_event(0, 1, 2))) == [Done, Failed, Done]


async def test_a_worker_whose_coroutine_is_closed_ends_without_another_record():
    """As when the event loop ends under an abandoned worker: that is not a failure of the handler's."""
    started, running = [], asyncio.Event()

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        started.append(number)
        running.set()
        await asyncio.Event().wait()

    others = asyncio.all_tasks()
    batch = asyncio.ensure_future(handler.process(make_event(0, 1)))
    await running.wait()
    (worker,) = [task for task in asyncio.all_tasks() - others if "_work" in repr(task.get_coro())]
    with contextlib.suppress(ValueError):  # of the X-Ray SDK, if another test has imported it
        worker.get_coro().close()
    batch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await batch
    assert started == [0]


@contextlib.asynccontextmanager
async def failing_factory(broken: list[object]):
    """Install a task factory that fails for workers once ``broken`` has an element."""

    def factory(loop, coroutine):
        if broken and "_work" in repr(coroutine):
            coroutine.close()
            raise RuntimeError("no more tasks")
        return asyncio.Task(coroutine, loop=loop)

    asyncio.get_running_loop().set_task_factory(factory)
    yield


def test_a_task_factory_that_fails_for_workers_frees_their_slots():
    """The next batch, under a factory that works, has the whole concurrency."""
    broken = []

    handler = fanfold.consumer(concurrency=2, lifespan=functools.partial(failing_factory, broken))(nothing)
    broken.append(True)
    with pytest.raises(RuntimeError, match="no more tasks"):
        handler(make_event(0, 1), make_context(5))
    broken.clear()
    assert ids(handler(make_event(0, 1, 2), make_context(5))) == []
    handler.close()


def test_a_task_factory_that_fails_for_a_replacement_ends_the_batch():
    """The response does not wait for the deadline, and the records that were not started are reported."""
    broken = []

    @fanfold.consumer(concurrency=1, lifespan=functools.partial(failing_factory, broken))
    async def handler(number) -> None:
        broken.append(number)
        TENANT.set(number)

    assert kinds(deliver(handler, 0, 1, 2, seconds=600)) == [Done, NotStarted, NotStarted]


async def nothing(number) -> None: ...


def test_a_cancellation_that_a_handler_takes_back_does_not_reach_the_next_record():
    """``uncancel`` resets the count of requests, and not the cancellation that is pending."""

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number == 0:
            asyncio.current_task().cancel()
            asyncio.current_task().uncancel()
        else:
            await asyncio.sleep(0)

    assert kinds(deliver(handler, 0, 1, 2)) == [Failed, Done, Done]


def test_a_value_of_a_list_that_cannot_be_classified_fails_its_record_alone():
    """Such as a generator whose ``close`` raises."""

    def stubborn():
        try:
            yield
        finally:
            raise RuntimeError("not closed")

    @fanfold.consumer(chunk_size=10)
    async def handler(numbers: list[int]) -> list:
        started = stubborn()
        next(started)
        return [started if number == 1 else None for number in numbers]

    assert kinds(deliver(handler, 0, 1, 2)) == [Done, Failed, Done]
