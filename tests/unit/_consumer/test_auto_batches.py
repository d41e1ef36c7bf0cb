"""``concurrency="auto"``: the limit that a consumer finds while it runs."""

import asyncio
import threading
from typing import Any

import fanfold
from batches import ids, kinds
from fanfold import Auto, Done, Failed, NotStarted
from fanfold._consumer import process_limits
from fanfold.observers import BatchCallbacks
from fanfold.testing import make_context, make_event
from settlers import AcceptingAll


class ThrottledError(Exception):
    """A response of an HTTP service that refuses a call."""

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__("too many requests")
        self.status = 429
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


def test_a_service_without_a_limit_is_given_more_records_than_at_first():
    """It starts with ten."""
    most = running = 0

    @fanfold.consumer(concurrency="auto")
    async def handler(body: int) -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1

    assert ids(handler.invoke(make_event(*range(300)), make_context(20))) == []
    handler.close()
    assert most > 10


def test_a_def_handler_finds_its_limit_too():
    """Its workers are threads."""

    @fanfold.consumer(concurrency=Auto(minimum=2, maximum=20))
    def handler(body: int) -> None:
        threading.Event().wait(0.002)

    assert kinds(handler.invoke(make_event(*range(100)), make_context(20))) == [Done] * 100
    handler.close()


def test_nothing_starts_before_the_service_may_be_called_again_and_what_cannot_start_is_delayed():
    """The service asks for a minute, and the invocation has ten seconds."""
    settler, calls = AcceptingAll(), list[int]()

    @fanfold.consumer(concurrency=Auto(maximum=1), settler=settler)
    async def handler(body: int) -> None:
        calls.append(body)
        raise ThrottledError(60)

    result = handler.invoke(make_event(0, 1, 2), make_context(10))
    handler.close()
    assert kinds(result) == [Failed, NotStarted, NotStarted]
    assert calls == [0]
    assert set(settler.visibility_changes) == {"message-0", "message-1", "message-2"}
    assert all(55 < seconds <= 60 for seconds in settler.visibility_changes.values())


def test_a_predicate_of_the_users_means_overload():
    """Every record fails, and the batch ends."""
    settler = AcceptingAll()

    @fanfold.consumer(concurrency=Auto(overload_on=ValueError), settler=settler)
    async def handler(body: int) -> None:
        raise ValueError

    assert kinds(handler.invoke(make_event(*range(30)), make_context(10))) == [Failed] * 30
    handler.close()


def test_the_limit_is_one_log_line_and_a_value_for_observers(caplog):
    """After ten records in slow start, it doubles. A fixed limit has neither."""
    caplog.set_level("INFO", logger="fanfold")
    seen: list[int | None] = []

    class Limits:
        def batch_started(self, records: Any, batch: Any) -> BatchCallbacks:
            return BatchCallbacks(batch_ended=lambda ended: seen.append(ended.concurrency_limit))

    async def handler(body: int) -> None:
        await asyncio.sleep(0.001)

    for concurrency in (Auto(maximum=20), 20):
        consumer = fanfold.consumer(concurrency=concurrency, observers=[Limits()])(handler)
        consumer(make_event(*range(12)), make_context(20))
        consumer.close()
    assert seen == [20, None]
    lines = [line for line in caplog.messages if "limit" in line]
    assert lines == ["the concurrency limit adjusted itself from 10 to 20"]


async def test_the_records_of_all_batches_of_a_process_count_as_in_flight():
    """Two batches of one record each, as in a worker, run together."""
    together = asyncio.Barrier(2)

    @fanfold.consumer(concurrency="auto")
    async def handler(body: int) -> None:
        await together.wait()

    async with handler.session() as process:
        await asyncio.gather(*(process(make_event(number), make_context(20)) for number in range(2)))
        limit = process._create_batch(make_event(1), make_context(20), None)._admission.adaptive
        assert limit._peak == 2


def test_the_highest_limit_is_what_the_process_allows(monkeypatch, caplog):
    """Without a warning: the user did not ask for as many."""
    monkeypatch.setattr(process_limits, "_free_descriptors", lambda: 7)
    limits: list[int | None] = []

    class Limits:
        def batch_started(self, records: Any, batch: Any) -> BatchCallbacks:
            return BatchCallbacks(batch_ended=lambda ended: limits.append(ended.concurrency_limit))

    @fanfold.consumer(concurrency="auto", observers=[Limits()])
    async def handler(body: int) -> None: ...

    handler(make_event(1), make_context(20))
    handler.close()
    assert limits == [7]
    assert not [line for line in caplog.messages if "reduced" in line]


async def test_an_async_handler_that_never_awaits_keeps_its_limit():
    """One record is in flight at a time, whatever the limit."""

    @fanfold.consumer(concurrency="auto")
    async def handler(body: int) -> None: ...

    async with handler.session() as process:
        await process(make_event(*range(500)), make_context(20))
        batch = process._create_batch(make_event(1), make_context(20), None)
        assert batch.limit == 10


async def test_batches_of_a_session_share_what_was_learned():
    """Three batches run concurrently."""

    @fanfold.consumer(concurrency="auto")
    async def handler(body: Any) -> None:
        await asyncio.sleep(0.001)

    async with handler.session() as process:
        results = await asyncio.gather(*(process(make_event(*range(20)), make_context(10)) for _ in range(3)))
    assert all(kinds(result) == [Done] * 20 for result in results)
