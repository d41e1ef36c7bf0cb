"""``concurrency="auto"``: the limit that a consumer finds while it runs."""

import asyncio
import threading
from typing import Any

import fanfold
from batches import ids, kinds
from fanfold import Auto, Done, Failed, NotStarted
from fanfold.testing import make_context, make_event
from settlers import AcceptingAll


class ThrottledError(Exception):
    """A response of an HTTP service that refuses a call."""

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__("too many requests")
        self.status = 429
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


def test_a_service_without_a_limit_is_given_more_records_than_at_first():
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
    settler = AcceptingAll()

    @fanfold.consumer(concurrency=Auto(overload_on=ValueError), settler=settler)
    async def handler(body: int) -> None:
        raise ValueError

    assert kinds(handler.invoke(make_event(*range(30)), make_context(10))) == [Failed] * 30
    handler.close()


async def test_batches_of_a_session_share_what_was_learned():
    @fanfold.consumer(concurrency="auto")
    async def handler(body: Any) -> None:
        await asyncio.sleep(0.001)

    async with handler.session() as process:
        results = await asyncio.gather(*(process(make_event(*range(20)), make_context(10)) for _ in range(3)))
    assert all(kinds(result) == [Done] * 20 for result in results)
