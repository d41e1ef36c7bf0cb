"""What was done is written down before it is acknowledged, though writes fail, hang or come late."""

import asyncio
from typing import Any

import pytest

import fanfold
from batches import fifo_event
from fanfold import Done, Failed, NotStarted, Record
from fanfold._ports.idempotency import COMPLETED
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import ManualClock
from idempotent import Faulty, statuses
from simple_handlers import nothing, raises
from slow_entries import TIMEOUT, Slow, once, once_of, records_of, run, turns


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
    broken = Faulty(release=[RuntimeError("a bug")])
    handler = fanfold.consumer(idempotency=once(broken))(raises(KeyError("the handler's")))
    (failed,) = run(handler, 1)
    assert isinstance(failed.error, KeyError)
    assert "could not be released" in caplog.text


def test_a_fault_of_ours_while_writing_down_is_logged_and_nothing_is_acknowledged(caplog):
    """No task is left whose error nobody looked at."""
    handler = fanfold.consumer(idempotency=once(Faulty(complete=[RuntimeError("a bug")])))(nothing)
    assert [type(outcome) for outcome in run(handler, 1)] == [Failed]
    assert "entries could not be written" in caplog.text
    assert "never retrieved" not in caplog.text


def test_one_write_that_hangs_costs_only_its_own_records_their_acknowledgement():
    """Those that were written are acknowledged."""
    entries = Slow()
    terms = once(entries)
    entries.stuck = frozenset({terms.key_for({"id": 0}, once)})
    handler = fanfold.consumer(idempotency=terms, concurrency=100)(nothing)
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
    handler = fanfold.consumer(idempotency=once(Slow("complete")), concurrency=100)(nothing)
    outcomes = {type(outcome) for outcome in run(handler, *range(300), seconds=0.5)}
    assert {Failed} <= outcomes <= {Failed, NotStarted}  # on a busy machine some have no time to start
    assert "pending" not in caplog.text
    assert "Exception in callback" not in caplog.text


async def test_what_waits_behind_a_write_that_is_cancelled_is_not_acknowledged():
    """The loop is about to be closed: it will not be written."""
    records, before = records_of(1, 2), asyncio.all_tasks()
    does = once_of(records, nothing, Slow("complete"), ManualClock())
    for record in records:
        await does([record])
    for write in asyncio.all_tasks() - before:
        write.cancel()
    await turns()
    assert list(await does.commit([(record, None) for record in records], 10)) == []


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
        result = await handler.process(fifo_event(("other", {"id": 3}), ("g", {"id": 1}), ("g", {"id": 2})))
        return result.outcomes, statuses(entries)

    (_, failed, behind), written = asyncio.run(answered())
    assert isinstance(failed, Failed)
    assert isinstance(behind, NotStarted)
    assert written == {COMPLETED: 2}
