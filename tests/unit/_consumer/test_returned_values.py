"""Return values are kept only if something will read them; otherwise they are freed while the batch still runs."""

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanfold
from batches import fifo_event, ids
from fanfold import Done, Failed, Reject, Rejected, Retry, Retrying
from fanfold._consumer.classify import without_details
from fanfold.errors import CommitError
from fanfold.inmemory import InMemoryEntries
from fanfold.observers import BatchCallbacks
from fanfold.testing import make_context, make_event
from idempotent import by_id

CONCURRENCY = 5
RECORDS = 150


class Report(dict):
    """The return value of a handler: as large as a user likes, and JSON for idempotency."""


class Watched:
    """Creates reports, and counts how many of them are alive."""

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.most = 0
        self._lock = threading.Lock()

    def report(self) -> "Report":
        report = _Hashable(id=1)
        with self._lock:
            self.alive.add(report)
            self.most = max(self.most, len(self.alive))
        return report


class _Hashable(Report):
    __hash__ = object.__hash__


def consumer_of(watched: Watched, kind: str, **settings: Any) -> Any:
    async def on_the_loop(order: dict) -> Report:
        await asyncio.sleep(0)
        return watched.report()

    def on_a_thread(order: dict) -> Report:
        return watched.report()

    async def of_lists(orders: list[dict]) -> list[Report]:
        return [watched.report() for _ in orders]

    handlers: dict[str, Callable[..., Any]] = {"async": on_the_loop, "def": on_a_thread, "lists": of_lists}
    if kind == "lists":
        settings["chunk_size"] = 1
    return fanfold.consumer(concurrency=CONCURRENCY, **settings)(handlers[kind])


def orders(count: int = RECORDS) -> Any:
    return make_event(*({"id": number} for number in range(count)))


class StartsOnly:
    """An observer that reads the outcomes of each call, and none of the batch."""

    def batch_started(self, records: Any, batch: Any) -> BatchCallbacks:
        return BatchCallbacks(call_started=lambda records: len)


class Ends:
    """An observer that keeps the outcomes of the batch."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []

    def batch_started(self, records: Any, batch: Any) -> BatchCallbacks:
        return BatchCallbacks(batch_ended=lambda ended: self.outcomes.extend(ended.outcomes))


@pytest.mark.parametrize(
    "settings", [{}, {"observers": [StartsOnly()]}, {"idempotency": True}], ids=["plain", "observers", "idempotency"]
)
@pytest.mark.parametrize("kind", ["async", "def", "lists"])
def test_lambda_reads_only_the_response_so_values_are_freed_while_the_batch_runs(kind: str, settings: dict[str, Any]):
    """At most two per handler are alive: the one that it returned last, and the one that it creates."""
    watched = Watched()
    if settings.get("idempotency"):
        settings = {"idempotency": by_id(InMemoryEntries())}
    handler = consumer_of(watched, kind, **settings)
    gc.disable()  # what only a cycle keeps alive would count too
    try:
        assert handler(orders(), make_context()) == {"batchItemFailures": []}
    finally:
        gc.enable()
        handler.close()
    assert watched.most <= 2 * CONCURRENCY


@pytest.mark.parametrize("kind", ["async", "def", "lists"])
async def test_handle_batch_reads_only_the_response_too(kind: str):
    """It runs on the caller's event loop."""
    watched = Watched()
    assert await consumer_of(watched, kind).handle_batch(orders()) == {"batchItemFailures": []}
    assert watched.most <= 2 * CONCURRENCY


@pytest.mark.parametrize("frozen", [False, True])
def test_errors_are_freed_too(frozen: bool):
    """An error may hold a whole response of a downstream service; the log keeps its text only."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class DownstreamError(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            if frozen:
                raise AttributeError(name)
            super().__setattr__(name, value)

    @fanfold.consumer(concurrency=CONCURRENCY)
    async def handler(order: dict) -> None:
        nonlocal most
        error = DownstreamError("x" * 10)
        alive.add(error)
        most = max(most, len(alive))
        await asyncio.sleep(0)
        try:
            raise error
        finally:
            del error  # or the frame and the traceback keep each other alive, as in any Python program

    gc.disable()
    try:
        assert len(ids(handler(orders(), make_context()))) == RECORDS
    finally:
        gc.enable()
        handler.close()
    assert most <= 2 * CONCURRENCY + 1  # the first one may be in a cycle with its frames


def test_the_reasons_of_rejected_records_are_clipped():
    """The log shows the beginning; the whole reason goes to the dead-letter queue, which cuts it."""
    assert without_details(Rejected("x" * 1_000)) == Rejected("x" * 500)
    assert without_details(Retrying(5)) == Retrying(5)


def test_whoever_reads_the_outcomes_gets_the_values():
    """``invoke`` returns them."""
    watched = Watched()
    handler = consumer_of(watched, "async")
    result = handler.invoke(orders(3), make_context())
    handler.close()
    assert result.outcomes == [Done({"id": 1})] * 3
    assert len(watched.alive) == 3


async def test_process_and_session_return_the_values():
    """They run on the caller's event loop."""
    handler = consumer_of(Watched(), "async")
    assert (await handler.process(orders(2))).outcomes == [Done({"id": 1})] * 2
    async with handler.session() as process:
        assert (await process(orders(2))).outcomes == [Done({"id": 1})] * 2


def test_a_commit_stage_gets_the_values():
    """Lambda's response depends on what it committed."""
    committed: list[Any] = []

    async def commit(done: Any, batch: Any) -> set[int]:
        committed.extend(value for _, value in done)
        return set(range(len(done) - 1))

    handler = consumer_of(Watched(), "async", commit=commit)
    response = handler(orders(3), make_context())
    handler.close()
    assert committed == [{"id": 1}] * 3
    assert ids(response) == ["message-2"]


def test_an_observer_of_the_end_gets_the_values():
    """It is notified with the outcomes of the whole batch."""
    observer = Ends()
    handler = consumer_of(Watched(), "async", observers=[observer])
    handler(orders(2), make_context())
    handler.close()
    assert observer.outcomes == [Done({"id": 1})] * 2


def test_an_idempotency_entry_has_the_value_and_a_duplicate_in_the_batch_is_done():
    """The value is written, not kept: the next invocation reads it from the table."""
    entries = InMemoryEntries()
    handler = consumer_of(Watched(), "async", idempotency=by_id(entries))
    event = make_event({"id": 1}, {"id": 1})
    assert handler(event, make_context()) == {"batchItemFailures": []}
    assert handler.invoke(event, make_context()).outcomes == [Done({"id": 1})] * 2
    handler.close()


def outcomes_of_response(handler: Any, event: Any) -> Any:
    try:
        return handler(event, make_context())
    finally:
        handler.close()


RETURNED: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a value": lambda: {"id": 1},
    "a coroutine": lambda: asyncio.sleep(0),
    "a future": asyncio.Future,
    "errors": lambda: [ValueError("x")],
    "an error": lambda: ValueError("x"),
    "an error class": lambda: ValueError,
    "done": lambda: Done({"id": 2}),
    "failed": lambda: Failed(ValueError("x")),
    "rejected": lambda: Rejected("x"),
    "rejected as if forwarded": lambda: Rejected("x", forwarded=True),
    "retrying": lambda: Retrying(None),
    "reject": lambda: Reject("x"),
    "retry": Retry,
    "a group": lambda: BaseExceptionGroup("x", [ValueError("y")]),
    "a commit error": lambda: CommitError("x"),
}


@given(names=st.lists(st.sampled_from(sorted(RETURNED)), min_size=1, max_size=8), fifo=st.booleans())
def test_the_response_is_the_same_whether_values_are_kept_or_not(names: list[str], fifo: bool):
    """A returned value is judged before it is dropped: a forgotten ``await`` is still a failure."""

    async def handler(name: str) -> Any:
        return RETURNED[name]()

    consumer = fanfold.consumer(dead_letter_queue_url="")(handler)
    event = fifo_event(*(("g", name) for name in names)) if fifo else make_event(*names)
    kept = consumer.invoke(event, make_context()).response
    assert json.dumps(outcomes_of_response(consumer, event)) == json.dumps(kept)
