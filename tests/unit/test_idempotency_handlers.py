"""Idempotency of every kind of handler: cancelled ones, `def` handlers, handlers of lists, and message groups."""

import asyncio
import threading
from typing import Any

import pytest

import fanfold
from fanfold import Done, Failed, NotStarted, Rejected, Retrying
from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import make_fifo_record, make_record
from idempotent import bodies, by_id, counting, held_elsewhere, run, statuses
from simple_handlers import raises


def in_one_group(*ids: int | None) -> list[dict[str, Any]]:
    return [make_fifo_record({"id": number}, group="g", message_id=f"m-{at}") for at, number in enumerate(ids)]


def test_a_handler_that_returns_after_its_cancellation_is_not_completed():
    """Its claim is released, and it runs again."""
    entries = InMemoryEntries()

    @fanfold.consumer(idempotency=by_id(entries), timeout=0.02)
    async def handler(order: dict) -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "swallowed"
        return "never"

    (failed,) = run(handler, *bodies(1))
    assert isinstance(failed.error, TimeoutError)
    assert not entries.entries


@pytest.mark.parametrize("chunk_size", [None, 10])
def test_the_claim_of_a_def_handler_that_is_still_running_is_kept(chunk_size: int | None):
    """No other handler may run for the key until the lease ends."""
    entries, go = InMemoryEntries(), threading.Event()

    @fanfold.consumer(idempotency=by_id(entries), timeout=0.02, chunk_size=chunk_size)
    def handler(body: Any) -> None:
        go.wait(5)

    (failed,) = run(handler, *bodies(1))
    go.set()
    assert isinstance(failed.error, TimeoutError)
    assert statuses(entries) == {IN_PROGRESS: 1}


def test_def_handlers_behave_like_async_handlers():
    """They run on worker threads."""
    entries = InMemoryEntries()
    handler = fanfold.consumer(idempotency=by_id(entries))(lambda order: 1 // order["id"])
    done, failed, duplicate = run(handler, *bodies(1, 0, 1))
    assert (done, duplicate) == (Done(1), Done(1))
    assert isinstance(failed.error, ZeroDivisionError)
    assert statuses(entries) == {COMPLETED: 1}


def test_in_a_fifo_group_a_claimed_record_blocks_the_following_ones():
    """A completed record does not block the group."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    held_elsewhere(entries, terms, 2)
    handler = counting(terms)
    done, duplicate, claimed, blocked = run(handler, *in_one_group(1, 1, 2, 3))
    assert (done, duplicate) == (Done(1), Done(1))
    assert isinstance(claimed, Retrying)
    assert isinstance(blocked, NotStarted)
    assert handler.done == {1: 1}


def test_handlers_of_lists_receive_the_records_that_are_not_completed():
    """A list contains each key once, and every record has a separate outcome."""
    entries = InMemoryEntries()
    calls: list[list[int]] = []

    @fanfold.consumer(idempotency=by_id(entries), chunk_size=10)
    async def handler(orders: list[dict]) -> list[Any]:
        calls.append([order["id"] for order in orders])
        return [ValueError("no") if order.get("fails") else order["id"] for order in orders]

    first = run(handler, *bodies(1, 2), make_record("no JSON"), *bodies(None), *bodies(3, fails=True))
    assert first[:2] == [Done(1), Done(2)]
    assert [type(outcome) for outcome in first[2:]] == [Rejected, Rejected, Failed]
    second = run(handler, *bodies(2, 3, 3, 4))
    assert second == [Done(2), Done(3), Done(3), Done(4)]
    assert calls == [[1, 2, 3], [3, 4]]
    assert run(handler, *bodies(2, 3)) == [Done(2), Done(3)]
    assert len(calls) == 2


def test_a_handler_of_lists_that_raises_releases_all_its_claims():
    """Claims of other invocations are kept."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    key = held_elsewhere(entries, terms, 2)
    handler = fanfold.consumer(idempotency=terms, chunk_size=10)(raises(ValueError("no")))
    assert [type(outcome) for outcome in run(handler, *bodies(1, 2, 3))] == [Failed, Retrying, Failed]
    assert list(entries.entries) == [key]


def test_a_missing_await_is_not_recorded_as_completed():
    """Otherwise no redelivery could run the work."""
    entries = InMemoryEntries()

    async def ship(order: dict) -> None:
        raise AssertionError("this coroutine is never awaited")

    @fanfold.consumer(idempotency=by_id(entries))
    async def handler(order: dict) -> Any:
        return ship(order)

    (failed,) = run(handler, *bodies(1))
    assert "is an await missing?" in str(failed.error)
    assert not entries.entries


def test_in_a_list_of_a_fifo_group_no_record_starts_after_a_claimed_one_or_one_without_a_key():
    """The claims of later records are released; the records before it are done."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    held_elsewhere(entries, terms, 2)
    received = []

    @fanfold.consumer(idempotency=terms, chunk_size=10)
    async def handler(orders: list[dict]) -> None:
        received.extend(orders)

    def outcomes(*numbers: int | None) -> list[Any]:
        return [type(outcome) for outcome in run(handler, *in_one_group(*numbers))]

    assert outcomes(1, 2, 3) == [Done, Retrying, NotStarted]
    assert statuses(entries) == {COMPLETED: 1, IN_PROGRESS: 1}
    assert outcomes(4, None, 5) == [Done, Rejected, NotStarted]
    assert received == [{"id": 1}, {"id": 4}]
