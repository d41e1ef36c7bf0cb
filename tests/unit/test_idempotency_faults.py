"""Idempotency when a key or the table fails: a message whose completion is not recorded is not acknowledged."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

import fanfold
from fanfold import Done, Record, Rejected
from fanfold._base.deadline import Deadline
from fanfold._consumer.idempotent_calls import IdempotentCalls
from fanfold._ports.idempotency import IN_PROGRESS
from fanfold.errors import CommitError, ConfigurationError, LedgerError, ServiceError
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import make_event, make_record
from idempotent import Faulty, bodies, by_id, counting, opening, run, statuses


class LeavingOver(InMemoryEntries):
    """A store that writes one entry per call, like a throttled table."""

    async def complete(self, entries):
        await super().complete(entries[:1])
        return range(1, len(entries))


class Stuck(InMemoryEntries):
    """A store whose ``complete`` never returns."""

    async def complete(self, entries):
        await asyncio.Event().wait()


def throttled(times: int = 1) -> list[Exception | None]:
    return [ServiceError("too many requests", code="ThrottlingException", transient=True)] * times


def refused(times: int = 1) -> list[Exception | None]:
    return [ServiceError("no", code="ValidationException", transient=False)] * times


def test_a_message_without_a_key_is_rejected_without_an_entry():
    """None, an empty string, and a list of None are not keys; every number is one, including 0."""
    entries = InMemoryEntries()
    outcomes = run(counting(by_id(entries)), *bodies(None, "", [None], {"a": None}, 0, 1.5))
    assert outcomes[:4] == [Rejected("the message has no idempotency key")] * 4
    assert outcomes[4:] == [Done(0), Done(1.5)]
    assert len(entries.entries) == 2


def test_an_error_of_the_key_function_fails_only_its_record():
    """The same holds for a return value from which no key can be made."""
    records = [make_record({"no": "id"}), *bodies(1), make_record("no JSON", message_id="m-2")]

    @fanfold.consumer(idempotency=by_id(InMemoryEntries()))
    async def handler(order: dict) -> int:
        return order["id"]

    missing, done, undecoded = run(handler, *records)
    assert isinstance(missing.error, KeyError)
    assert done == Done(1)
    assert isinstance(undecoded, Rejected)
    odd = Idempotency(lambda _: object(), prefix="", open_entries=opening(InMemoryEntries()))
    (failed,) = run(handler.with_settings(idempotency=odd), *bodies(1))
    assert isinstance(failed.error, ConfigurationError)


def test_if_a_claim_fails_the_record_fails_without_running():
    """A throttled claim is retried first."""
    handler = counting(by_id(Faulty(claim=[*throttled(2), None, *refused()])), concurrency=1)
    done, failed = run(handler, *bodies(1, 2))
    assert done == Done(1)
    assert isinstance(failed.error, ServiceError)
    assert handler.done == {1: 1}


def test_if_a_read_fails_the_claims_decide(caplog):
    """The read only saves requests."""
    entries = Faulty(read=[RuntimeError("a bug")])
    handler = counting(by_id(entries))
    assert run(handler, *bodies(1, 2)) == [Done(1), Done(2)]
    assert "2 idempotency keys could not be looked up" in caplog.text


def test_a_record_whose_completion_is_not_recorded_is_not_acknowledged(caplog):
    """Throttled writes and unprocessed items are retried first."""
    handler = counting(by_id(Faulty(complete=[*throttled(2), None])))
    assert run(handler, *bodies(1)) == [Done(1)]
    assert run(counting(by_id(LeavingOver())), *bodies(1, 2, 3, 4)) == [Done(1), Done(2), Done(3), Done(4)]
    (failed,) = run(counting(by_id(Faulty(complete=refused()))), *bodies(1))
    assert isinstance(failed.error, CommitError)
    assert "1 records are done, but their idempotency entries could not be written" in caplog.text


def test_a_record_whose_completion_is_not_recorded_in_time_is_not_acknowledged():
    """The batch response does not wait for the table."""
    (failed,) = run(counting(by_id(Stuck())), *bodies(1), seconds=0.4)
    assert isinstance(failed.error, CommitError)


def test_a_claim_that_cannot_be_released_holds_until_its_lease_ends(caplog):
    """The outcome has the error of the handler, not that of the table."""
    entries = Faulty(release=refused())
    (failed,) = run(counting(by_id(entries)), *bodies(1, fails=True))
    assert isinstance(failed.error, ValueError)
    assert statuses(entries) == {IN_PROGRESS: 1}
    assert "could not be released" in caplog.text


def test_a_claim_holds_for_the_rest_of_the_invocation():
    """Or for the configured lease, or, without a deadline, for 30 minutes, the longest timeout."""
    leases: list[float] = []

    class Watched(InMemoryEntries):
        async def claim(self, entry, now):
            leases.append(entry.lease_ends_at - now)
            return await super().claim(entry, now)

    run(counting(by_id(Watched())), *bodies(1), seconds=30)
    assert 20 < leases.pop() <= 30
    run(counting(by_id(Watched(), lease_seconds=5)), *bodies(1))
    assert leases.pop() == 5
    asyncio.run(counting(by_id(Watched())).process(make_event({"id": 1})))
    assert leases.pop() == 1_800


def test_an_entry_of_an_unknown_status_is_a_failure():
    """Such an entry is neither completed nor available."""

    class Odd(InMemoryEntries):
        async def claim(self, entry, now):
            return replace(entry, status="PAUSED")

    (failed,) = run(counting(by_id(Odd())), *bodies(1))
    assert isinstance(failed.error, LedgerError)
    assert "PAUSED" in str(failed.error)


def test_the_attempts_to_record_completion_are_bounded(caplog):
    """If a table never accepts the write, the record fails, but the batch response is on time."""

    class TakesNothing(InMemoryEntries):
        async def complete(self, entries):
            return range(len(entries))

    (failed,) = run(counting(by_id(TakesNothing())), *bodies(1), seconds=4)
    assert isinstance(failed.error, CommitError)


async def test_if_the_loop_is_closed_during_a_handler_the_table_is_not_called():
    """The claim holds until its lease ends."""
    entries = Faulty()
    terms = by_id(entries)
    records = [Record(make_record({"id": 1}))]

    async def closed(_: Any) -> None:
        raise GeneratorExit

    async def opened() -> InMemoryEntries:
        return entries

    calls = IdempotentCalls(
        records,
        closed,
        idempotency=terms,
        key_of=lambda _: "key",
        resolve=None,
        entries=opened,
        deadline=Deadline.never(),
    )
    with pytest.raises(GeneratorExit):
        await calls([records[0]])
    assert entries.calls["release"] == 0
