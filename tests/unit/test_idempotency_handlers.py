"""Idempotency of every kind of handler: cancelled, plain, of lists, of message groups."""

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
    return [make_fifo_record({"id": each}, group="g", message_id=f"m-{at}") for at, each in enumerate(ids)]


def test_a_handler_that_is_cancelled_and_returns_all_the_same_is_not_done():
    """Its claim is dropped: it runs again."""
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
def test_the_claim_of_a_plain_handler_that_is_still_running_is_kept(chunk_size: int | None):
    """Until its lease is over: nobody may run beside it."""
    entries, go = InMemoryEntries(), threading.Event()

    @fanfold.consumer(idempotency=by_id(entries), timeout=0.02, chunk_size=chunk_size)
    def handler(body: Any) -> None:
        go.wait(5)

    (failed,) = run(handler, *bodies(1))
    go.set()
    assert isinstance(failed.error, TimeoutError)
    assert statuses(entries) == {IN_PROGRESS: 1}


def test_plain_handlers_that_end_are_like_any_other():
    """On worker threads."""
    entries = InMemoryEntries()
    handler = fanfold.consumer(idempotency=by_id(entries))(lambda order: 1 // order["id"])
    done, failed, again = run(handler, *bodies(1, 0, 1))
    assert (done, again) == (Done(1), Done(1))
    assert isinstance(failed.error, ZeroDivisionError)
    assert statuses(entries) == {COMPLETED: 1}


def test_in_a_fifo_group_what_is_held_keeps_back_what_follows():
    """What is done lets it go on."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    held_elsewhere(entries, terms, 2)
    handler = counting(terms)
    done, again, held, behind = run(handler, *in_one_group(1, 1, 2, 3))
    assert (done, again) == (Done(1), Done(1))
    assert isinstance(held, Retrying)
    assert isinstance(behind, NotStarted)
    assert handler.done == {1: 1}


def test_handlers_of_lists_get_what_is_not_done():
    """Each key once; each record has its own outcome."""
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


def test_a_handler_of_lists_that_raises_drops_all_its_claims():
    """And none of another's."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    key = held_elsewhere(entries, terms, 2)
    handler = fanfold.consumer(idempotency=terms, chunk_size=10)(raises(ValueError("no")))
    assert [type(outcome) for outcome in run(handler, *bodies(1, 2, 3))] == [Failed, Retrying, Failed]
    assert list(entries.entries) == [key]


def test_a_forgotten_await_is_not_written_down_as_done():
    """Else no delivery would mend it."""
    entries = InMemoryEntries()

    async def ship(order: dict) -> None:
        raise AssertionError("nobody awaits it")

    @fanfold.consumer(idempotency=by_id(entries))
    async def handler(order: dict) -> Any:
        return ship(order)

    (failed,) = run(handler, *bodies(1))
    assert "is an await missing?" in str(failed.error)
    assert not entries.entries


def test_in_a_list_of_a_fifo_group_nothing_starts_behind_what_is_held_or_has_no_key():
    """Its claim is dropped; what is before it is done."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    held_elsewhere(entries, terms, 2)
    given = []

    @fanfold.consumer(idempotency=terms, chunk_size=10)
    async def handler(orders: list[dict]) -> None:
        given.extend(orders)

    def outcomes(*numbers: int | None) -> list[Any]:
        return [type(outcome) for outcome in run(handler, *in_one_group(*numbers))]

    assert outcomes(1, 2, 3) == [Done, Retrying, NotStarted]
    assert statuses(entries) == {COMPLETED: 1, IN_PROGRESS: 1}
    assert outcomes(4, None, 5) == [Done, Rejected, NotStarted]
    assert given == [{"id": 1}, {"id": 4}]
