"""Idempotency entries are written before their messages are acknowledged, even if writes fail, hang, or are late."""

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


def test_the_successes_of_a_list_are_written_although_releasing_the_other_claims_is_cancelled():
    """The other claims are released nevertheless."""
    entries = Slow("release")

    @fanfold.consumer(idempotency=once(entries), timeout=TIMEOUT, chunk_size=10)
    async def handler(orders: list[dict]) -> list[Any]:
        return [None, ValueError("no"), None, ValueError("no")]

    run(handler, 1, 2, 3, 4)
    assert statuses(entries) == {COMPLETED: 2}


def test_an_error_while_a_claim_is_released_does_not_replace_the_handlers_error(caplog):
    """The error is logged."""
    broken = Faulty(release=[RuntimeError("a bug")])
    handler = fanfold.consumer(idempotency=once(broken))(raises(KeyError("of the handler")))
    (failed,) = run(handler, 1)
    assert isinstance(failed.error, KeyError)
    assert "could not be released" in caplog.text


def test_after_an_unexpected_error_while_writing_no_record_is_acknowledged(caplog):
    """The error is logged, and no task with an unretrieved exception remains."""
    handler = fanfold.consumer(idempotency=once(Faulty(complete=[RuntimeError("a bug")])))(nothing)
    assert [type(outcome) for outcome in run(handler, 1)] == [Failed]
    assert "entries could not be written" in caplog.text
    assert "never retrieved" not in caplog.text


def test_a_write_that_hangs_affects_only_its_own_records():
    """Records whose entries are written are acknowledged."""
    entries = Slow()
    idempotency = once(entries)
    entries.stuck = frozenset({idempotency.key_for({"id": 0}, once)})
    handler = fanfold.consumer(idempotency=idempotency, concurrency=100)(nothing)
    outcomes = run(handler, *range(100), seconds=1)
    done = sum(isinstance(outcome, Done) for outcome in outcomes)
    assert 50 <= done < 100
    assert statuses(entries)[COMPLETED] == done
    assert isinstance(outcomes[0], Failed)


@pytest.mark.parametrize("records", [2, 10])
def test_entries_behind_a_write_that_hangs_are_written_before_the_response(records: int):
    """Even if they do not fill a batch; otherwise every success would be repeated."""
    entries = Slow()
    idempotency = once(entries)
    entries.stuck = frozenset({idempotency.key_for({"id": 0}, once)})

    @fanfold.consumer(idempotency=idempotency, concurrency=1)
    async def handler(order: dict) -> None:
        await asyncio.sleep(0)  # the write of the first starts before the second is done

    outcomes = run(handler, *range(records), seconds=1)
    assert isinstance(outcomes[0], Failed)
    assert all(isinstance(outcome, Done) for outcome in outcomes[1:])


def test_waiting_writes_do_not_start_after_the_consumer_is_closed(caplog):
    """No task remains pending on a closed loop."""
    handler = fanfold.consumer(idempotency=once(Slow("complete")), concurrency=100)(nothing)
    outcomes = {type(outcome) for outcome in run(handler, *range(300), seconds=0.5)}
    assert {Failed} <= outcomes <= {Failed, NotStarted}  # on a busy machine, some do not start in time
    assert "pending" not in caplog.text
    assert "Exception in callback" not in caplog.text


async def test_entries_behind_a_cancelled_write_are_not_acknowledged():
    """The loop is about to be closed, so they will not be written."""
    records, before = records_of(1, 2), asyncio.all_tasks()
    idempotent = once_of(records, nothing, Slow("complete"), ManualClock())
    for record in records:
        await idempotent([record])
    for write in asyncio.all_tasks() - before:
        write.cancel()
    await turns()
    assert list(await idempotent.commit([(record, None) for record in records], 10)) == []


async def test_a_write_is_not_retried_once_the_response_is_due():
    """Items that the table did not process are not acknowledged."""
    clock, writes, before = ManualClock(), [], asyncio.all_tasks()

    class Refusing(InMemoryEntries):
        async def complete(self, entries):
            writes.append(len(entries))
            clock.advance(9.5)
            return range(len(entries))

    async def call(record: Record) -> None: ...

    (record,) = records_of(1)
    idempotent = once_of([record], call, Refusing(), clock)
    await idempotent([record])
    assert list(await idempotent.commit([(record, None)], clock() + 10)) == []
    await turns()
    assert asyncio.all_tasks() == before
    assert writes == [1]


def test_a_success_behind_a_failure_in_a_fifo_group_is_written_before_the_response():
    """Its message is redelivered, and its handler is not called again."""

    class Later(InMemoryEntries):
        async def complete(self, entries):
            await turns()
            return await super().complete(entries)

    entries = Later()

    @fanfold.consumer(idempotency=once(entries), chunk_size=2)
    async def handler(orders: list[dict]) -> list[Any]:
        return [ValueError("no") if order["id"] == 1 else None for order in orders]

    async def process() -> Any:
        result = await handler.process(fifo_event(("other", {"id": 3}), ("g", {"id": 1}), ("g", {"id": 2})))
        return result.outcomes, statuses(entries)

    (_, failed, behind), written = asyncio.run(process())
    assert isinstance(failed, Failed)
    assert isinstance(behind, NotStarted)
    assert written == {COMPLETED: 2}
