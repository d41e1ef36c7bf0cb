"""Idempotency when time is short, calls are cut off or answers come late: no claim is left, no key worked on twice."""

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


@pytest.mark.parametrize(("now", "holds"), [(99, True), (100.0, True), (100.9, True), (101.0, False)])
def test_an_entry_counts_through_the_second_it_expires_in(now: float, *, holds: bool):
    """As Powertools has it, whose table it may be."""
    assert Entry("k", COMPLETED, 100).is_done(now) is holds
    assert Entry("k", IN_PROGRESS, 100).is_held(now) is holds


@pytest.mark.parametrize(("now", "holds"), [(50.0, True), (50.2501, True), (50.251, False)])
def test_a_lease_counts_through_the_millisecond_it_ends_in(now: float, *, holds: bool):
    """Another may take over only after that."""
    assert Entry("k", IN_PROGRESS, 100, lease_ends_at=50.25).is_held(now) is holds


@pytest.mark.parametrize("chunk_size", [None, 10])
def test_a_claim_that_is_cut_off_is_dropped(chunk_size: int | None):
    """It may have been made; its handler has not run."""
    entries, started = Slow("claim"), []
    handler = fanfold.consumer(idempotency=once(entries), timeout=TIMEOUT, chunk_size=chunk_size)(notes(started))
    assert {type(outcome) for outcome in run(handler, 1, 2)} == {Failed}
    assert not started
    assert not entries.entries


def test_a_plain_handler_whose_claim_takes_too_long_leaves_its_place():
    """No thread is with it yet: the next record starts."""

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


def test_a_claim_whose_answers_are_lost_is_dropped():
    """Whether it was made is not known."""

    class Lost(InMemoryEntries):
        async def claim(self, entry, now):
            await super().claim(entry, now)
            raise ServiceError("no answer", code="ReadTimeoutError", transient=True)

    entries = Lost()
    handler = fanfold.consumer(idempotency=once(entries))(nothing)
    (failed,) = run(handler, 1, seconds=0.2)
    assert isinstance(failed.error, ServiceError)
    assert not entries.entries


async def test_a_record_that_waited_for_another_of_its_key_does_not_start_when_time_is_over():
    """As no other does."""
    clock = ManualClock()
    started: list[Record] = []

    async def call(record: Record) -> None:
        started.append(record)
        await asyncio.sleep(0)
        clock.advance(8)
        raise ValueError("too late for another")

    first, second = records_of(1, 1)
    does = once_of([first, second], call, InMemoryEntries(), clock)
    (failed,), (not_started,) = await asyncio.gather(does([first]), does([second]))
    assert isinstance(failed, ValueError)
    assert isinstance(not_started, NotStarted)
    assert started == [first]


async def test_a_handler_whose_claim_came_when_time_is_over_does_not_start():
    """Its claim is dropped."""
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


def test_a_claim_that_took_longer_than_its_lease_is_none():
    """Another may have begun."""
    now = [1_000.0]

    class Late(InMemoryEntries):
        async def claim(self, entry, moment):
            known = await super().claim(entry, moment)
            now[0] += 6
            return known

    handler = fanfold.consumer(idempotency=once(Late(), lease_seconds=5, clock=lambda: now[0]))(nothing)
    (failed,) = run(handler, 1)
    assert isinstance(failed.error, LedgerError)


def test_a_claim_does_not_expire_before_its_lease_is_over():
    """However short what was done is remembered."""
    entries = InMemoryEntries()

    @fanfold.consumer(idempotency=once(entries, expires_after_seconds=5, lease_seconds=60))
    async def handler(order: dict) -> None:
        (entry,) = entries.entries.values()
        assert entry.status == IN_PROGRESS
        assert entry.expires_at >= entry.lease_ends_at

    assert run(handler, 1) == [Done()]


async def test_a_record_that_is_cut_off_while_it_waits_lets_no_other_start_beside_the_first():
    """The third then waits for the first."""
    go = asyncio.Event()
    started: list[Record] = []

    async def call(record: Record) -> None:
        started.append(record)
        await go.wait()
        raise ValueError("no")

    records = records_of(1, 1, 1)
    does = once_of(records, call, InMemoryEntries(), ManualClock())
    first, second, third = [asyncio.ensure_future(does([record])) for record in records]
    await turns()
    second.cancel()
    await turns()
    fourth = asyncio.ensure_future(does(records[1:2]))
    await turns()
    assert second.cancelled()
    assert started == records[:1]
    go.set()
    await asyncio.wait({first, third, fourth})
    assert started == [records[0], records[2], records[1]]
    assert {type(value) for task in (first, third, fourth) for value in task.result()} == {ValueError}


def test_a_key_function_that_exits_fails_its_own_record():
    """Not the event loop."""

    def key(order: dict) -> int:
        if order["id"] == 5:
            raise SystemExit(3)
        return order["id"]

    terms = once(InMemoryEntries())
    exiting = Idempotency(key, prefix="p", open_entries=terms.open_entries)
    handler = fanfold.consumer(idempotency=exiting, concurrency=2)(nothing)
    outcomes = run(handler, *range(10), seconds=5)
    assert [position for position, outcome in enumerate(outcomes) if not isinstance(outcome, Done)] == [5]


def test_a_handler_without_a_name_needs_a_prefix():
    """Two of them would take each other's work for done."""

    async def ship(order: dict, *, how: str) -> None: ...

    with pytest.raises(ConfigurationError, match="prefix"):
        fanfold.consumer(idempotency=once(InMemoryEntries(), prefix=None))(functools.partial(ship, how="air"))
    fanfold.consumer(idempotency=once(InMemoryEntries(), prefix="air"))(functools.partial(ship, how="air"))
    with pytest.raises(ConfigurationError, match="prefix"):
        fanfold.consumer(idempotency=once(InMemoryEntries(), prefix=None))(lambda order: None)


@pytest.mark.parametrize("name", ["expires_after_seconds", "lease_seconds"])
def test_no_time_is_endless(name: str):
    """A table keeps numbers."""
    with pytest.raises(ConfigurationError, match=name):
        once(InMemoryEntries(), **{name: math.inf})


def test_a_result_that_breaks_when_it_is_written_out_is_not_kept():
    """It is done all the same."""

    class Breaking(dict):
        def items(self):
            raise RuntimeError("changed meanwhile")

    @fanfold.consumer(idempotency=once(InMemoryEntries()))
    async def handler(order: dict) -> Any:
        return Breaking(a=1)

    assert [type(outcome) for outcome in run(handler, 1)] == [Done]


def test_a_result_nested_too_deep_to_be_read_is_done(caplog):
    """Whatever wrote it; the others that were looked up with it are done, too."""
    entries, started = InMemoryEntries(), []
    terms = once(entries)
    deep = "[" * 100_000 + "]" * 100_000
    for each in (1, 2):
        key = terms.key_for({"id": each}, once)
        entries.entries[key] = Entry(key, COMPLETED, math.ceil(terms.clock()) + 60, result=deep)

    @fanfold.consumer(idempotency=terms)
    async def handler(order: dict) -> None:
        started.append(order["id"])

    assert [type(outcome) for outcome in run(handler, 1, 2, 3)] == [Done, Done, Done]
    assert started == [3]
    assert "never retrieved" not in caplog.text


def test_a_decimal_zero_is_a_key():
    """As any other zero is: only nothing is rejected."""
    terms = Idempotency(lambda body: body, prefix="p")
    assert terms.key_for(decimal.Decimal(0), once) == terms.key_for("0", once)


class AsyncKey:
    """What inspect takes for no coroutine function."""

    async def __call__(self, order: dict) -> Any:
        return order["id"]


@pytest.mark.parametrize("key", [AsyncKey(), functools.partial(AsyncKey())])
def test_an_object_that_is_called_asynchronously_is_no_key(key: Any):
    """What it returns would be no key of any body."""
    with pytest.raises(ConfigurationError, match="key must be a `def` function"):
        Idempotency(key, table="t")


def test_a_look_that_hangs_leaves_it_to_the_claims(caplog):
    """It is given up while there is time to start."""

    class Hanging(InMemoryEntries):
        async def read(self, keys):
            await asyncio.Event().wait()

    handler = fanfold.consumer(idempotency=once(Hanging()))(nothing)
    assert [type(outcome) for outcome in run(handler, 1, 2, seconds=2)] == [Done, Done]
    assert "could not be looked up" in caplog.text
