"""Idempotency near the deadline and with cancelled or late calls: no claim remains, no key is processed twice."""

import asyncio
import decimal
import functools
import math
from typing import Any

import pytest

import fanfold
from fanfold import Done, Failed, NotStarted, Record
from fanfold._base.outcome import DONE
from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS, Entry
from fanfold.errors import ConfigurationError, LedgerError, ServiceError
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import ManualClock
from simple_handlers import notes, nothing
from slow_entries import TIMEOUT, Slow, once, once_of, records_of, run, turns


@pytest.mark.parametrize(("now", "valid"), [(99, True), (100.0, True), (100.9, True), (101.0, False)])
def test_an_entry_is_valid_through_the_second_in_which_it_expires(now: float, *, valid: bool):
    """As in Powertools, which may share the table."""
    assert Entry("k", COMPLETED, 100).is_done(now) is valid
    assert Entry("k", IN_PROGRESS, 100).is_held(now) is valid


@pytest.mark.parametrize(("now", "valid"), [(50.0, True), (50.2501, True), (50.251, False)])
def test_a_lease_is_valid_through_the_millisecond_in_which_it_ends(now: float, *, valid: bool):
    """Another invocation may claim the key only after that."""
    assert Entry("k", IN_PROGRESS, 100, lease_ends_at=50.25).is_held(now) is valid


@pytest.mark.parametrize("chunk_size", [None, 10])
def test_a_cancelled_claim_is_released(chunk_size: int | None):
    """It may have succeeded, but its handler has not run."""
    entries, started = Slow("claim"), []
    handler = fanfold.consumer(idempotency=once(entries), timeout=TIMEOUT, chunk_size=chunk_size)(notes(started))
    assert {type(outcome) for outcome in run(handler, 1, 2)} == {Failed}
    assert not started
    assert not entries.entries


def test_a_claim_that_times_out_does_not_block_a_thread():
    """The ``def`` handler has no thread yet, so the next record starts."""

    class Stuck(InMemoryEntries):
        async def claim(self, entry, now):
            if not self.claims:
                self.claims.append(entry)
                await asyncio.Event().wait()
            return await super().claim(entry, now)

    entries, started = Stuck(), []
    entries.claims = []
    handler = fanfold.consumer(concurrency=1, timeout=0.1, idempotency=once(entries))(
        lambda order: started.append(order["id"])
    )
    failed, *others = run(handler, 1, 2, 3)
    assert isinstance(failed.error, TimeoutError)
    assert others == [DONE, DONE]
    assert started == [2, 3]


def test_a_claim_whose_responses_are_lost_is_released():
    """It is unknown whether it succeeded."""

    class Lost(InMemoryEntries):
        async def claim(self, entry, now):
            await super().claim(entry, now)
            raise ServiceError("no response", code="ReadTimeoutError", transient=True)

    entries = Lost()
    handler = fanfold.consumer(idempotency=once(entries))(nothing)
    (failed,) = run(handler, 1, seconds=0.2)
    assert isinstance(failed.error, ServiceError)
    assert not entries.entries


async def test_a_duplicate_that_waited_until_the_deadline_does_not_start():
    """No record starts near the deadline."""
    clock = ManualClock()
    started: list[Record] = []

    async def call(record: Record) -> None:
        started.append(record)
        await asyncio.sleep(0)
        clock.advance(8)
        raise ValueError("after the deadline")

    first, second = records_of(1, 1)
    idempotent = once_of([first, second], call, InMemoryEntries(), clock)
    (failed,), (not_started,) = await asyncio.gather(idempotent([first]), idempotent([second]))
    assert isinstance(failed, ValueError)
    assert isinstance(not_started, NotStarted)
    assert started == [first]


async def test_a_handler_whose_claim_is_late_does_not_start():
    """Its claim is released."""
    clock = ManualClock()
    started: list[Record] = []

    class Late(InMemoryEntries):
        async def claim(self, entry, now):
            clock.advance(8)
            return await super().claim(entry, now)

    async def call(record: Record) -> None:
        started.append(record)

    entries = Late()
    (record,) = records_of(1)
    (value,) = await once_of([record], call, entries, clock)([record])
    assert isinstance(value, NotStarted)
    assert not started
    assert not entries.entries


def test_a_claim_that_took_longer_than_its_lease_is_invalid():
    """Another invocation may have claimed the key."""
    now = [1_000.0]

    class Late(InMemoryEntries):
        async def claim(self, entry, moment):
            existing = await super().claim(entry, moment)
            now[0] += 6
            return existing

    handler = fanfold.consumer(idempotency=once(Late(), lease_seconds=5, clock=lambda: now[0]))(nothing)
    (failed,) = run(handler, 1)
    assert isinstance(failed.error, LedgerError)


def test_a_claim_does_not_expire_before_its_lease_ends():
    """Even if ``expires_after_seconds`` is shorter than the lease."""
    entries = InMemoryEntries()

    @fanfold.consumer(idempotency=once(entries, expires_after_seconds=5, lease_seconds=60))
    async def handler(order: dict) -> None:
        (entry,) = entries.entries.values()
        assert entry.status == IN_PROGRESS
        assert entry.expires_at >= entry.lease_ends_at

    assert run(handler, 1) == [Done()]


async def test_a_duplicate_cancelled_while_it_waits_does_not_let_the_next_one_start():
    """The third record still waits for the first."""
    release = asyncio.Event()
    started: list[Record] = []

    async def call(record: Record) -> None:
        started.append(record)
        await release.wait()
        raise ValueError("no")

    records = records_of(1, 1, 1)
    idempotent = once_of(records, call, InMemoryEntries(), ManualClock())
    first, second, third = [asyncio.ensure_future(idempotent([record])) for record in records]
    await turns()
    second.cancel()
    await turns()
    fourth = asyncio.ensure_future(idempotent(records[1:2]))
    await turns()
    assert second.cancelled()
    assert started == records[:1]
    release.set()
    await asyncio.wait({first, third, fourth})
    assert started == [records[0], records[2], records[1]]
    assert {type(value) for task in (first, third, fourth) for value in task.result()} == {ValueError}


def test_a_key_function_that_exits_fails_only_its_record():
    """The event loop continues to run."""

    def key(order: dict) -> int:
        if order["id"] == 5:
            raise SystemExit(3)
        return order["id"]

    idempotency = once(InMemoryEntries())
    exiting = Idempotency(key, prefix="p", open_entries=idempotency.open_entries)
    handler = fanfold.consumer(idempotency=exiting, concurrency=2)(nothing)
    outcomes = run(handler, *range(10), seconds=5)
    assert [position for position, outcome in enumerate(outcomes) if not isinstance(outcome, Done)] == [5]


def test_a_handler_without_a_name_needs_a_prefix():
    """Otherwise two such handlers would share their keys."""

    async def ship(order: dict, *, how: str) -> None: ...

    with pytest.raises(ConfigurationError, match="prefix"):
        fanfold.consumer(idempotency=once(InMemoryEntries(), prefix=None))(functools.partial(ship, how="air"))
    fanfold.consumer(idempotency=once(InMemoryEntries(), prefix="air"))(functools.partial(ship, how="air"))
    with pytest.raises(ConfigurationError, match="prefix"):
        fanfold.consumer(idempotency=once(InMemoryEntries(), prefix=None))(lambda order: None)


@pytest.mark.parametrize("name", ["expires_after_seconds", "lease_seconds"])
def test_times_must_be_finite(name: str):
    """A table stores numbers."""
    with pytest.raises(ConfigurationError, match=name):
        once(InMemoryEntries(), **{name: math.inf})


def test_a_result_that_cannot_be_serialized_is_not_stored():
    """The record is done nevertheless."""

    class Breaking(dict):
        def items(self):
            raise RuntimeError("changed during iteration")

    @fanfold.consumer(idempotency=once(InMemoryEntries()))
    async def handler(order: dict) -> Any:
        return Breaking(a=1)

    assert [type(outcome) for outcome in run(handler, 1)] == [Done]


def test_an_entry_with_a_result_nested_too_deeply_is_done(caplog):
    """Other entries of the same lookup are done, too."""
    entries, started = InMemoryEntries(), []
    idempotency = once(entries)
    deep = "[" * 100_000 + "]" * 100_000
    for order_id in (1, 2):
        key = idempotency.key_for({"id": order_id}, once)
        entries.entries[key] = Entry(key, COMPLETED, math.ceil(idempotency.clock()) + 60, result=deep)

    @fanfold.consumer(idempotency=idempotency)
    async def handler(order: dict) -> None:
        started.append(order["id"])

    assert [type(outcome) for outcome in run(handler, 1, 2, 3)] == [Done, Done, Done]
    assert started == [3]
    assert "never retrieved" not in caplog.text


def test_a_decimal_zero_is_a_key():
    """Only a missing key is rejected."""
    idempotency = Idempotency(lambda body: body, prefix="p")
    assert idempotency.key_for(decimal.Decimal(0), once) == idempotency.key_for("0", once)


class AsyncKey:
    """An object that ``inspect`` does not recognize as a coroutine function."""

    async def __call__(self, order: dict) -> Any:
        return order["id"]


@pytest.mark.parametrize("key", [AsyncKey(), functools.partial(AsyncKey())])
def test_an_object_with_an_async_call_is_not_a_key_function(key: Any):
    """A coroutine is not a key."""
    with pytest.raises(ConfigurationError, match="key must be a `def` function"):
        Idempotency(key, table="t")


def test_after_a_lookup_that_hangs_keys_are_claimed_one_by_one(caplog):
    """It times out while records can still start."""

    class Hanging(InMemoryEntries):
        async def read(self, keys):
            await asyncio.Event().wait()

    handler = fanfold.consumer(idempotency=once(Hanging()))(nothing)
    assert [type(outcome) for outcome in run(handler, 1, 2, seconds=2)] == [Done, Done]
    assert "could not be looked up" in caplog.text
