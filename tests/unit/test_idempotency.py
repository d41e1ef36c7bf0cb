"""Idempotency: what was done once is not done again, and only what is known to be done is acknowledged."""

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


def test_what_was_done_is_acknowledged_and_not_done_again():
    """In another invocation, under another message id; the outcome is what the handler returned then."""
    entries = InMemoryEntries()
    handler = counting(by_id(entries))
    assert run(handler, *bodies(1, 2)) == [Done(1), Done(2)]
    assert run(handler, *bodies(2, 3, 1)) == [Done(2), Done(3), Done(1)]
    assert handler.done == {1: 1, 2: 1, 3: 1}
    assert statuses(entries) == {COMPLETED: 3}


def test_one_read_of_a_hundred_keys_filters_what_is_done():
    """What is new costs a claim each, and a share of a write."""
    entries = Faulty()
    handler = counting(by_id(entries), concurrency=100)
    run(handler, *bodies(*range(100)))
    assert entries.calls["read"] == 1
    assert entries.calls["claim"] == 100
    assert entries.calls["complete"] <= 6
    entries.calls.clear()
    assert run(handler, *bodies(*range(100))) == [Done(each) for each in range(100)]
    assert entries.calls == {"read": 1}


def test_a_single_record_is_claimed_without_a_look():
    """The claim finds out as much."""
    entries = Faulty()
    handler = counting(by_id(entries))
    (first,), (second,) = run(handler, *bodies(1)), run(handler, *bodies(1))
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert entries.calls == {"claim": 2, "complete": 1}
    assert handler.done == {1: 1}


def test_a_failure_drops_its_claim_and_runs_again():
    """Raised, returned as an outcome, or asked for."""
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


def test_what_another_invocation_holds_comes_back_when_its_lease_is_over():
    """It uses up one receive; at least a second passes."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    for each, left in ((1, 12.0), (2, 0.5), (3, None)):
        held_elsewhere(entries, terms, each, left)
    handler = counting(terms)
    outcomes = run(handler.with_settings(settler=None), *bodies(1, 2, 3, 4))
    assert [getattr(outcome, "after", "done") for outcome in outcomes] == [12.0, 1.0, None, "done"]
    assert handler.done == {4: 1}


def test_a_lease_that_is_over_is_taken_over():
    """Whoever held it is taken for dead."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    key = held_elsewhere(entries, terms, 1, -1)
    assert run(counting(terms), *bodies(1)) == [Done(1)]
    assert entries.entries[key].status == COMPLETED


def test_what_expired_is_done_again():
    """As if it had never been."""
    entries, clock = InMemoryEntries(), Clock()
    handler = counting(by_id(entries, clock=clock, expires_after_seconds=60))
    run(handler, *bodies(1, 2))
    clock.now += 62
    run(handler, *bodies(1, 2))
    assert handler.done == {1: 2, 2: 2}


@pytest.mark.parametrize("concurrency", [1, 10])
def test_the_second_of_a_key_in_a_batch_waits_for_the_first(concurrency: int):
    """Both are acknowledged, the handler ran once."""
    handler = counting(by_id(InMemoryEntries()), concurrency=concurrency)
    assert run(handler, *bodies(1, 1, 2, 1)) == [Done(1), Done(1), Done(2), Done(1)]
    assert handler.done == {1: 1, 2: 1}


def test_the_second_of_a_key_tries_itself_if_the_first_failed():
    """One after the other."""
    running = Counter()

    @fanfold.consumer(idempotency=by_id(InMemoryEntries()))
    async def handler(order: dict) -> int:
        running["now"] += 1
        running["most"] = max(running["most"], running["now"])
        await asyncio.sleep(0.001)
        running["now"] -= 1
        running["calls"] += 1
        if running["calls"] < 3:
            raise ValueError("not yet")
        return running["calls"]

    assert [type(outcome) for outcome in run(handler, *bodies(1, 1, 1, 1))] == [Failed, Failed, Done, Done]
    assert running == {"now": 0, "most": 1, "calls": 3}


def test_a_result_that_is_no_json_is_not_kept():
    """It is done all the same, and not done again."""
    handler = counting(by_id(InMemoryEntries()))

    @fanfold.consumer(idempotency=handler.settings.idempotency)
    async def odd(order: dict) -> Any:
        return {1, 2} if order["id"] == 1 else "x" * 400_000

    assert run(odd, *bodies(1, 2)) == [Done({1, 2}), Done("x" * 400_000)]
    assert run(odd, *bodies(1, 2)) == [Done(None), Done(None)]


def test_a_result_that_something_else_wrote_is_done():
    """Whatever it is."""
    assert Entry("key", COMPLETED, 0, result="no JSON").value() is None
    assert Entry("key", COMPLETED, 0, result='{"a": 1}').value() == {"a": 1}


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"key": "id"}, "key must be a plain function"),
        ({"key": handler_of_nothing}, "key must be a plain function"),
        ({"expires_after_seconds": 0}, "expires_after_seconds must be"),
        ({"lease_seconds": True}, "lease_seconds must be"),
        ({"hash_function": "md6"}, "hash_function must be"),
        ({"hash_function": "shake_128"}, "hash_function must be"),
        ({"table": 5}, "table must be a text or None, not 5"),
        ({"prefix": b"p"}, "prefix must be a text or None, not b'p'"),
        ({"layout": {"key_attr": "pk"}}, "layout must be a fanfold.idempotency.Layout or None, not {'key_attr': 'pk'}"),
    ],
)
def test_impossible_terms_are_refused(terms: dict[str, Any], words: str):
    """By name."""
    with pytest.raises(ConfigurationError, match=f"^Idempotency: {re.escape(words)}"):
        Idempotency(**{"key": lambda body: body, **terms})


def test_two_attributes_of_one_name_are_refused():
    """One would overwrite the other."""
    with pytest.raises(ConfigurationError, match="'status'"):
        Layout(data_attr="status")
    Layout(key_attr="pk", sort_key_attr="sk")


def test_a_table_has_to_be_named(monkeypatch):
    """In the settings or in the environment."""
    terms = Idempotency(lambda order: order["id"])
    with pytest.raises(ConfigurationError, match="FANFOLD_IDEMPOTENCY_TABLE"):
        _ = terms.table
    (failed,) = run(counting(terms), *bodies(1))
    assert isinstance(failed.error, ConfigurationError)
    monkeypatch.setenv("FANFOLD_IDEMPOTENCY_TABLE", "from-the-environment")
    assert terms.table == "from-the-environment"
    assert Idempotency(lambda order: order, table="given").table == "given"


def test_idempotency_and_a_commit_of_ones_own_are_refused_together():
    """Each says what may be acknowledged."""

    async def commit(done, batch):
        return range(len(done))

    with pytest.raises(ConfigurationError, match="idempotency and commit cannot be combined"):
        fanfold.consumer(idempotency=by_id(InMemoryEntries()), commit=commit)(handler_of_nothing)
    with pytest.raises(ConfigurationError, match="idempotency must be"):
        fanfold.consumer(idempotency="table")(handler_of_nothing)


def test_a_delivery_in_a_test_remembers_in_this_process():
    """No table is asked; a store of its own is kept."""
    handler = counting(Idempotency(lambda order: order["id"], table="no-such-table"))
    assert deliver(handler, {"id": 1}, {"id": 1}).outcomes == [Done(1), Done(1)]
    entries = InMemoryEntries()
    kept = counting(by_id(entries))
    deliver(kept, {"id": 1})
    deliver(kept, {"id": 1})
    assert kept.done == {1: 1}


def test_what_has_expired_is_not_filtered_by_the_look():
    """The claim takes its place."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    for each in (1, 2):
        key = terms.key_for({"id": each}, handler_of_nothing)
        entries.entries[key] = Entry(key, COMPLETED, int(NOW) - 1)
    assert run(counting(terms), *bodies(1, 2)) == [Done(1), Done(2)]


def test_a_key_that_is_looked_up_twice_is_done_once():
    """In a batch of more records than are looked up at once."""
    handler = counting(by_id(Faulty()), concurrency=1)
    run(handler, *bodies(*range(5)))
    assert run(handler, *bodies(*range(150), 0)) == [*(Done(each) for each in range(150)), Done(0)]
    assert handler.done == dict.fromkeys(range(150), 1)


def test_terms_are_as_they_are_given():
    """Parts of a second, and a table's own names."""
    terms = Idempotency(str, table="t", lease_seconds=0.5, layout=Layout(key_attr="pk"))
    assert (terms.lease_seconds, terms.layout.key_attr) == (0.5, "pk")
    assert Idempotency(str, table="t").layout == Layout()


def test_a_result_is_kept_with_its_names_in_order():
    """As Powertools writes it."""
    assert result_text({"b": 1, "a": 2}) == '{"a": 2, "b": 1}'
