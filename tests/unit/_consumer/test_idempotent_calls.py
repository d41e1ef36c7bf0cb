"""Idempotency when time is short, calls are cut off or answers come late: no claim is left, no key worked on twice."""

from __future__ import annotations

import asyncio
import decimal
import functools
import gc
import json
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fanfold
from fanfold import Done, Failed, NotStarted, Record
from fanfold._base.deadline import Deadline
from fanfold._base.outcome import DONE
from fanfold._consumer.idempotent_calls import IdempotentCalls
from fanfold._consumer.stages import HandlerCall
from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS, Entry
from fanfold.errors import ConfigurationError, LedgerError, ServiceError
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import ManualClock, make_context, make_event, make_fifo_record

SLOW = 0.2
TIMEOUT = 0.02


class Slow(InMemoryEntries):
    """Entries of which some requests take effect at once, and are answered late; or never, for some keys."""

    def __init__(self, *slow: str, stuck: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.slow = slow
        self.stuck = stuck

    async def claim(self, entry, now):
        known = await super().claim(entry, now)
        await asyncio.sleep(SLOW if "claim" in self.slow else 0)
        return known

    async def release(self, key, owner):
        await asyncio.sleep(SLOW if "release" in self.slow else 0)
        await super().release(key, owner)

    async def complete(self, entries):
        if "complete" in self.slow or self.stuck & {entry.key for entry in entries}:
            await asyncio.Event().wait()
        return await super().complete(entries)


def once(entries: Any, **terms: Any) -> Idempotency:
    @asynccontextmanager
    async def open_entries():
        yield entries

    return Idempotency(lambda order: order["id"], open_entries=open_entries, **{"prefix": "p", **terms})


def run(handler: Any, *ids: Any, seconds: float = 30.0) -> Any:
    try:
        return handler.invoke(make_event(*({"id": each} for each in ids)), make_context(seconds)).outcomes
    finally:
        handler.close()
        gc.collect()


def records_of(*ids: Any) -> list[Record]:
    return [Record(raw) for raw in make_event(*({"id": each} for each in ids))["Records"]]


def once_of(records: Sequence[Record], call: Any, entries: InMemoryEntries, clock: ManualClock) -> IdempotentCalls:
    """Return what does some records once, in a batch that stops 6 seconds from now, and ends 10 seconds from now."""

    async def opened() -> InMemoryEntries:
        return entries

    terms = once(entries)
    return IdempotentCalls(
        records,
        HandlerCall(call, takes_list=False).as_stage(),
        idempotency=terms,
        key_of=lambda record: terms.key_for(json.loads(record.body), call),
        resolve=None,
        entries=opened,
        deadline=Deadline.after(10, margin=4, clock=clock),
    )


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def statuses(entries: InMemoryEntries) -> Counter[str]:
    return Counter(entry.status for entry in entries.entries.values())


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

    @fanfold.consumer(idempotency=once(entries), timeout=TIMEOUT, chunk_size=chunk_size)
    async def handler(body: Any) -> None:
        started.append(body)

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

    @fanfold.consumer(idempotency=once(entries))
    async def handler(order: dict) -> None: ...

    (failed,) = run(handler, 1, seconds=0.2)
    assert isinstance(failed.error, ServiceError)
    assert not entries.entries


def test_what_succeeded_in_a_list_is_written_down_though_dropping_the_rest_is_cut_off():
    """And the rest is dropped all the same."""
    entries = Slow("release")

    @fanfold.consumer(idempotency=once(entries), timeout=TIMEOUT, chunk_size=10)
    async def handler(orders: list[dict]) -> list[Any]:
        return [None, ValueError("no"), None, ValueError("no")]

    run(handler, 1, 2, 3, 4)
    assert statuses(entries) == {COMPLETED: 2}


def test_a_fault_of_ours_while_a_claim_is_dropped_leaves_the_handlers_failure(caplog):
    """It is logged."""

    class Broken(InMemoryEntries):
        async def release(self, key, owner):
            raise RuntimeError("a bug")

    @fanfold.consumer(idempotency=once(Broken()))
    async def handler(order: dict) -> None:
        raise KeyError("the handler's")

    (failed,) = run(handler, 1)
    assert isinstance(failed.error, KeyError)
    assert "could not be dropped" in caplog.text


def test_a_fault_of_ours_while_writing_down_is_logged_and_nothing_is_acknowledged(caplog):
    """No task is left whose error nobody looked at."""

    class Broken(InMemoryEntries):
        async def complete(self, entries):
            raise RuntimeError("a bug")

    @fanfold.consumer(idempotency=once(Broken()))
    async def handler(order: dict) -> None: ...

    assert [type(outcome) for outcome in run(handler, 1)] == [Failed]
    assert "could not be written down" in caplog.text
    assert "never retrieved" not in caplog.text


def test_one_write_that_hangs_costs_only_its_own_records_their_acknowledgement():
    """Those that were written are acknowledged."""
    entries = Slow()
    terms = once(entries)
    entries.stuck = frozenset({terms.key_for({"id": 0}, once)})

    @fanfold.consumer(idempotency=terms, concurrency=100)
    async def handler(order: dict) -> None: ...

    outcomes = run(handler, *range(100), seconds=1)
    done = sum(isinstance(outcome, Done) for outcome in outcomes)
    assert 50 <= done < 100
    assert statuses(entries)[COMPLETED] == done
    assert isinstance(outcomes[0], Failed)


@pytest.mark.parametrize("records", [2, 10])
def test_what_waits_behind_a_write_that_hangs_is_written_before_the_answer(records: int):
    """Though it is less than a write holds: else all that succeeded would be done again."""
    entries = Slow()
    terms = once(entries)
    entries.stuck = frozenset({terms.key_for({"id": 0}, once)})

    @fanfold.consumer(idempotency=terms, concurrency=1)
    async def handler(order: dict) -> None:
        await asyncio.sleep(0)  # the write of the first is on its way before the second is done

    outcomes = run(handler, *range(records), seconds=1)
    assert isinstance(outcomes[0], Failed)
    assert all(isinstance(outcome, Done) for outcome in outcomes[1:])


def test_writes_that_wait_when_the_consumer_is_closed_are_not_begun(caplog):
    """Nothing is left pending on a closed loop."""

    @fanfold.consumer(idempotency=once(Slow("complete")), concurrency=100)
    async def handler(order: dict) -> None: ...

    outcomes = {type(outcome) for outcome in run(handler, *range(300), seconds=0.5)}
    assert {Failed} <= outcomes <= {Failed, NotStarted}  # on a busy machine some have no time to start
    assert "pending" not in caplog.text
    assert "Exception in callback" not in caplog.text


async def test_nothing_is_offered_again_once_the_answer_is_due():
    """What the table left over then is not acknowledged."""
    clock, offers, before = ManualClock(), [], asyncio.all_tasks()

    class Refusing(InMemoryEntries):
        async def complete(self, entries):
            offers.append(len(entries))
            clock.advance(9.5)
            return range(len(entries))

    async def call(record: Record) -> None: ...

    (record,) = records_of(1)
    does = once_of([record], call, Refusing(), clock)
    await does([record])
    assert list(await does.commit([(record, None)], clock() + 10)) == []
    await turns()
    assert asyncio.all_tasks() == before
    assert offers == [1]


def test_what_is_done_behind_a_failure_in_a_fifo_group_is_written_down_before_the_answer():
    """It comes back, and is not done again."""

    class Later(InMemoryEntries):
        async def complete(self, entries):
            await turns()
            return await super().complete(entries)

    entries = Later()

    @fanfold.consumer(idempotency=once(entries), chunk_size=2)
    async def handler(orders: list[dict]) -> list[Any]:
        return [ValueError("no") if order["id"] == 1 else None for order in orders]

    async def answered() -> Any:
        records = [
            make_fifo_record({"id": each}, group=group, message_id=f"m-{each}")
            for each, group in ((3, "other"), (1, "g"), (2, "g"))
        ]
        result = await handler.process(make_event(records=records))
        return result.outcomes, statuses(entries)

    (_, failed, behind), written = asyncio.run(answered())
    assert isinstance(failed, Failed)
    assert isinstance(behind, NotStarted)
    assert written == {COMPLETED: 2}


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

    @fanfold.consumer(idempotency=once(Late(), lease_seconds=5, clock=lambda: now[0]))
    async def handler(order: dict) -> None: ...

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

    @fanfold.consumer(idempotency=exiting, concurrency=2)
    async def handler(order: dict) -> None: ...

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
    with pytest.raises(ConfigurationError, match="key must be a plain function"):
        Idempotency(key, table="t")


def test_a_look_that_hangs_leaves_it_to_the_claims(caplog):
    """It is given up while there is time to start."""

    class Hanging(InMemoryEntries):
        async def read(self, keys):
            await asyncio.Event().wait()

    @fanfold.consumer(idempotency=once(Hanging()))
    async def handler(order: dict) -> None: ...

    assert [type(outcome) for outcome in run(handler, 1, 2, seconds=2)] == [Done, Done]
    assert "could not be looked up" in caplog.text
