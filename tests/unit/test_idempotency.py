"""Idempotency: completed work is not repeated, and a message is acknowledged only after its completion is recorded."""

import asyncio
import re
from collections import Counter
from typing import Any

import pytest

import fanfold
from fanfold import Done, Failed, Reject, Rejected, Retrying
from fanfold._ports.idempotency import COMPLETED, Entry, Layout, result_text
from fanfold.errors import ConfigurationError
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import deliver
from idempotent import NOW, Clock, Faulty, bodies, by_id, counting, handler_of_nothing, held_elsewhere, run, statuses


def test_completed_work_is_acknowledged_and_not_repeated():
    """This holds in another invocation and for another message id; the outcome has the original return value."""
    entries = InMemoryEntries()
    handler = counting(by_id(entries))
    assert run(handler, *bodies(1, 2)) == [Done(1), Done(2)]
    assert run(handler, *bodies(2, 3, 1)) == [Done(2), Done(3), Done(1)]
    assert handler.done == {1: 1, 2: 1, 3: 1}
    assert statuses(entries) == {COMPLETED: 3}


def test_one_read_of_a_hundred_keys_finds_the_completed_ones():
    """A new key costs one claim, and a share of a batch write."""
    entries = Faulty()
    handler = counting(by_id(entries), concurrency=100)
    run(handler, *bodies(*range(100)))
    assert entries.calls["read"] == 1
    assert entries.calls["claim"] == 100
    assert entries.calls["complete"] <= 6
    entries.calls.clear()
    assert run(handler, *bodies(*range(100))) == [Done(number) for number in range(100)]
    assert entries.calls == {"read": 1}


def test_a_single_record_is_claimed_without_a_read():
    """The claim itself returns a completed entry."""
    entries = Faulty()
    handler = counting(by_id(entries))
    (first,), (second,) = run(handler, *bodies(1)), run(handler, *bodies(1))
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert entries.calls == {"claim": 2, "complete": 1}
    assert handler.done == {1: 1}


def test_a_failure_releases_its_claim():
    """The handler may raise, return an outcome, or ask for a retry."""
    entries = InMemoryEntries()

    @fanfold.consumer(idempotency=by_id(entries))
    async def handler(order: dict) -> Any:
        if order["id"] == "raises":
            raise ValueError("no")
        if order["id"] == "retries":
            raise fanfold.Retry(after=3)
        if order["id"] == "rejects":
            raise Reject("never")
        if order["id"] == "exits":
            raise SystemExit(1)
        return Failed(KeyError("no")) if order["id"] == "outcome" else ValueError("returned")

    records = bodies("raises", "retries", "rejects", "exits", "outcome", "returned")
    outcomes = run(handler, *records)
    assert [type(outcome) for outcome in outcomes] == [Failed, Retrying, Rejected, Failed, Failed, Failed]
    assert not entries.entries


def test_a_record_that_another_invocation_has_claimed_is_redelivered_after_its_lease():
    """It uses one receive, and the delay is at least one second."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    for number, left in ((1, 12.0), (2, 0.5), (3, None)):
        held_elsewhere(entries, terms, number, left)
    handler = counting(terms)
    outcomes = run(handler.with_settings(settler=None), *bodies(1, 2, 3, 4))
    assert [getattr(outcome, "after", "done") for outcome in outcomes] == [12.0, 1.0, None, "done"]
    assert handler.done == {4: 1}


def test_an_expired_lease_is_taken_over():
    """The invocation that claimed the key is assumed to be dead."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    key = held_elsewhere(entries, terms, 1, -1)
    assert run(counting(terms), *bodies(1)) == [Done(1)]
    assert entries.entries[key].status == COMPLETED


def test_work_of_an_expired_entry_is_repeated():
    """An expired entry counts as missing."""
    entries, clock = InMemoryEntries(), Clock()
    handler = counting(by_id(entries, clock=clock, expires_after_seconds=60))
    run(handler, *bodies(1, 2))
    clock.now += 62
    run(handler, *bodies(1, 2))
    assert handler.done == {1: 2, 2: 2}


@pytest.mark.parametrize("concurrency", [1, 10])
def test_a_duplicate_in_the_batch_waits_for_the_first_record(concurrency: int):
    """The handler runs once, and all duplicates are acknowledged."""
    handler = counting(by_id(InMemoryEntries()), concurrency=concurrency)
    assert run(handler, *bodies(1, 1, 2, 1)) == [Done(1), Done(1), Done(2), Done(1)]
    assert handler.done == {1: 1, 2: 1}


def test_a_duplicate_runs_if_the_first_record_failed():
    """The duplicates run one after another."""
    running = Counter()

    @fanfold.consumer(idempotency=by_id(InMemoryEntries()))
    async def handler(order: dict) -> int:
        running["now"] += 1
        running["peak"] = max(running["peak"], running["now"])
        await asyncio.sleep(0.001)
        running["now"] -= 1
        running["calls"] += 1
        if running["calls"] < 3:
            raise ValueError("not yet")
        return running["calls"]

    assert [type(outcome) for outcome in run(handler, *bodies(1, 1, 1, 1))] == [Failed, Failed, Done, Done]
    assert running == {"now": 0, "peak": 1, "calls": 3}


def test_a_result_that_is_not_json_is_not_stored():
    """The work still counts as completed and is not repeated."""
    handler = counting(by_id(InMemoryEntries()))

    @fanfold.consumer(idempotency=handler.settings.idempotency)
    async def odd(order: dict) -> Any:
        return {1, 2} if order["id"] == 1 else "x" * 400_000

    assert run(odd, *bodies(1, 2)) == [Done({1, 2}), Done("x" * 400_000)]
    assert run(odd, *bodies(1, 2)) == [Done(None), Done(None)]


def test_an_unreadable_result_is_none():
    """Another program may have written the entry."""
    assert Entry("key", COMPLETED, 0, result="no JSON").value() is None
    assert Entry("key", COMPLETED, 0, result='{"a": 1}').value() == {"a": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": "id"}, "key must be a `def` function"),
        ({"key": handler_of_nothing}, "key must be a `def` function"),
        ({"expires_after_seconds": 0}, "expires_after_seconds must be"),
        ({"lease_seconds": True}, "lease_seconds must be"),
        ({"hash_function": "md6"}, "hash_function must be"),
        ({"hash_function": "shake_128"}, "hash_function must be"),
        ({"table": 5}, "table must be a string or None, not 5"),
        ({"prefix": b"p"}, "prefix must be a string or None, not b'p'"),
        ({"layout": {"key_attr": "pk"}}, "layout must be a fanfold.idempotency.Layout or None, not {'key_attr': 'pk'}"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str):
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=f"^Idempotency: {re.escape(message)}"):
        Idempotency(**{"key": lambda body: body, **settings})


def test_two_attributes_of_one_name_are_refused():
    """One attribute would overwrite the other."""
    with pytest.raises(ConfigurationError, match="'status'"):
        Layout(data_attr="status")
    Layout(key_attr="pk", sort_key_attr="sk")


def test_a_table_is_required(monkeypatch):
    """Its name is in the settings or in the environment."""
    terms = Idempotency(lambda order: order["id"])
    with pytest.raises(ConfigurationError, match="FANFOLD_IDEMPOTENCY_TABLE"):
        _ = terms.table
    (failed,) = run(counting(terms), *bodies(1))
    assert isinstance(failed.error, ConfigurationError)
    monkeypatch.setenv("FANFOLD_IDEMPOTENCY_TABLE", "from-the-environment")
    assert terms.table == "from-the-environment"
    assert Idempotency(lambda order: order, table="given").table == "given"


def test_idempotency_and_a_custom_commit_are_refused_together():
    """Both would decide which messages are acknowledged."""

    async def commit(done, batch):
        return range(len(done))

    with pytest.raises(ConfigurationError, match="idempotency and commit cannot be combined"):
        fanfold.consumer(idempotency=by_id(InMemoryEntries()), commit=commit)(handler_of_nothing)
    with pytest.raises(ConfigurationError, match="idempotency must be"):
        fanfold.consumer(idempotency="table")(handler_of_nothing)


def test_deliver_keeps_the_entries_in_memory():
    """`deliver` reads no table; a store in the settings is used."""
    handler = counting(Idempotency(lambda order: order["id"], table="no-such-table"))
    assert deliver(handler, {"id": 1}, {"id": 1}).outcomes == [Done(1), Done(1)]
    entries = InMemoryEntries()
    handler = counting(by_id(entries))
    deliver(handler, {"id": 1})
    deliver(handler, {"id": 1})
    assert handler.done == {1: 1}


def test_an_expired_entry_in_the_read_does_not_count():
    """The claim replaces it."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    for number in (1, 2):
        key = terms.key_for({"id": number}, handler_of_nothing)
        entries.entries[key] = Entry(key, COMPLETED, int(NOW) - 1)
    assert run(counting(terms), *bodies(1, 2)) == [Done(1), Done(2)]


def test_a_key_that_is_read_twice_is_processed_once():
    """This holds in a batch with more keys than one read returns."""
    handler = counting(by_id(Faulty()), concurrency=1)
    run(handler, *bodies(*range(5)))
    assert run(handler, *bodies(*range(150), 0)) == [*(Done(number) for number in range(150)), Done(0)]
    assert handler.done == dict.fromkeys(range(150), 1)


def test_settings_keep_their_values():
    """A lease may be a fraction of a second, and a table may have other attribute names."""
    terms = Idempotency(str, table="t", lease_seconds=0.5, layout=Layout(key_attr="pk"))
    assert (terms.lease_seconds, terms.layout.key_attr) == (0.5, "pk")
    assert Idempotency(str, table="t").layout == Layout()


def test_a_result_is_stored_with_sorted_keys():
    """Powertools writes results in the same way."""
    assert result_text({"b": 1, "a": 2}) == '{"a": 2, "b": 1}'
