"""Idempotency: what was done once is not done again, and only what is known to be done is acknowledged."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import json
import re
import threading
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig
from hypothesis import given
from hypothesis import strategies as st

import fanfold
from fanfold import Done, Failed, NotStarted, Record, Reject, Rejected, Retrying
from fanfold._base.deadline import Deadline
from fanfold._consumer.idempotent_calls import IdempotentCalls
from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS, Entry, Layout, is_missing, key_of, result_text
from fanfold.errors import CommitError, ConfigurationError, LedgerError, ServiceError
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries, InMemoryStore
from fanfold.testing import deliver, make_context, make_event, make_extended_record, make_fifo_record, make_record
from powertools_store import InProcess

NOW = 1_800_000_000.0
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


class Clock:
    """A wall clock moved by hand."""

    now = NOW

    def __call__(self) -> float:
        return self.now


class Faulty(InMemoryEntries):
    """Entries whose operations can be made to fail, and which counts them."""

    def __init__(self, **faults: list[Exception | None]) -> None:
        super().__init__()
        self.faults = faults
        self.calls: Counter[str] = Counter()

    def _step(self, name: str) -> None:
        self.calls[name] += 1
        script = self.faults.get(name)
        if script and (fault := script.pop(0)) is not None:
            raise fault

    async def read(self, keys):
        self._step("read")
        return await super().read(keys)

    async def claim(self, entry, now):
        self._step("claim")
        return await super().claim(entry, now)

    async def complete(self, entries):
        self._step("complete")
        return await super().complete(entries)

    async def release(self, key, owner):
        self._step("release")
        await super().release(key, owner)


class LeavingOver(InMemoryEntries):
    """Entries that take one of several at a time, as a throttled table does."""

    async def complete(self, entries):
        await super().complete(entries[:1])
        return range(1, len(entries))


class Stuck(InMemoryEntries):
    """Entries that nothing is ever written to once it is done."""

    async def complete(self, entries):
        await asyncio.Event().wait()


def throttled(times: int = 1) -> list[Exception | None]:
    return [ServiceError("too many requests", code="ThrottlingException", transient=True)] * times


def refused(times: int = 1) -> list[Exception | None]:
    return [ServiceError("no", code="ValidationException", transient=False)] * times


def opening(entries: Any) -> Any:
    @asynccontextmanager
    async def open_entries():
        yield entries

    return open_entries


def by_id(entries: Any, **terms: Any) -> Idempotency:
    chosen = {"prefix": "orders", "clock": Clock(), **terms}
    return Idempotency(lambda order: order["id"], open_entries=opening(entries), **chosen)


def run(handler: Any, *records: Any, seconds: float = 30.0) -> Any:
    try:
        return handler.invoke(make_event(records=records), make_context(seconds)).outcomes
    finally:
        handler.close()


def bodies(*ids: Any, **more: Any) -> list[Any]:
    return [make_record({"id": each, **more}, message_id=f"m-{number}") for number, each in enumerate(ids)]


def counting(idempotency: Idempotency, **settings: Any) -> Any:
    """Return a consumer that counts how often it did what for which order."""

    @fanfold.consumer(idempotency=idempotency, **settings)
    async def handler(order: dict) -> Any:
        handler.done[order["id"]] += 1
        await asyncio.sleep(0)
        if order.get("fails"):
            raise ValueError("no")
        return order["id"]

    handler.done = Counter()
    return handler


def statuses(entries: InMemoryEntries) -> Counter[str]:
    return Counter(entry.status for entry in entries.entries.values())


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
        key = terms.key_for({"id": each}, handler_of_nothing)
        entries.entries[key] = Entry(key, IN_PROGRESS, int(NOW) + 60, left and NOW + left, "other")
    handler = counting(terms)
    outcomes = run(handler.with_settings(settler=None), *bodies(1, 2, 3, 4))
    assert [getattr(outcome, "after", "done") for outcome in outcomes] == [12.0, 1.0, None, "done"]
    assert handler.done == {4: 1}


async def handler_of_nothing(order: dict) -> None:
    """Do nothing."""


def test_a_lease_that_is_over_is_taken_over():
    """Whoever held it is taken for dead."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    key = terms.key_for({"id": 1}, handler_of_nothing)
    entries.entries[key] = Entry(key, IN_PROGRESS, int(NOW) + 60, NOW - 1, "dead")
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

    outcomes = run(handler, *bodies(1, 1, 1, 1))
    assert [type(outcome) for outcome in outcomes] == [Failed, Failed, Done, Done]
    assert running == {"now": 0, "most": 1, "calls": 3}


def test_a_message_without_a_key_is_rejected_and_nothing_is_written():
    """None, an empty text, a list of nothing; a number is one, 0 too."""
    entries = InMemoryEntries()
    outcomes = run(counting(by_id(entries)), *bodies(None, "", [None], {"a": None}, 0, 1.5))
    assert outcomes[:4] == [Rejected("the message has no idempotency key")] * 4
    assert outcomes[4:] == [Done(0), Done(1.5)]
    assert len(entries.entries) == 2


def test_what_the_key_function_raises_is_its_records_failure():
    """And what it returns that no key can be made of; others are not touched."""
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


def test_a_claim_that_cannot_be_made_is_a_failure_and_the_handler_does_not_run():
    """A throttle is tried again first."""
    handler = counting(by_id(Faulty(claim=[*throttled(2), None, *refused()])), concurrency=1)
    done, failed = run(handler, *bodies(1, 2))
    assert done == Done(1)
    assert isinstance(failed.error, ServiceError)
    assert handler.done == {1: 1}


def test_a_look_that_fails_leaves_it_to_the_claims(caplog):
    """It only saves requests."""
    entries = Faulty(read=[RuntimeError("a bug")])
    handler = counting(by_id(entries))
    assert run(handler, *bodies(1, 2)) == [Done(1), Done(2)]
    assert "2 keys could not be looked up" in caplog.text


def test_what_is_done_but_not_written_down_is_not_acknowledged(caplog):
    """A throttle is tried again; what the table leaves over, too."""
    handler = counting(by_id(Faulty(complete=[*throttled(2), None])))
    assert run(handler, *bodies(1)) == [Done(1)]
    assert run(counting(by_id(LeavingOver())), *bodies(1, 2, 3, 4)) == [Done(1), Done(2), Done(3), Done(4)]
    (failed,) = run(counting(by_id(Faulty(complete=refused()))), *bodies(1))
    assert isinstance(failed.error, CommitError)
    assert "1 records are done, but it could not be written down" in caplog.text


def test_what_is_not_written_down_in_time_is_not_acknowledged():
    """The answer does not wait for the table."""
    (failed,) = run(counting(by_id(Stuck())), *bodies(1), seconds=0.4)
    assert isinstance(failed.error, CommitError)


def test_a_claim_that_cannot_be_dropped_holds_until_its_lease_is_over(caplog):
    """The failure is the handler's, not the table's."""
    entries = Faulty(release=refused())
    (failed,) = run(counting(by_id(entries)), *bodies(1, fails=True))
    assert isinstance(failed.error, ValueError)
    assert statuses(entries) == {IN_PROGRESS: 1}
    assert "could not be dropped" in caplog.text


def test_a_claim_holds_for_the_rest_of_the_invocation():
    """Or as long as is said; where there is no end, for 15 minutes."""
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
    assert leases.pop() == 900


def test_an_entry_of_an_unknown_status_is_a_failure():
    """It is neither done nor free."""

    class Odd(InMemoryEntries):
        async def claim(self, entry, now):
            return replace(entry, status="PAUSED")

    (failed,) = run(counting(by_id(Odd())), *bodies(1))
    assert isinstance(failed.error, LedgerError)
    assert "PAUSED" in str(failed.error)


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

    @fanfold.consumer(idempotency=by_id(entries))
    def handler(order: dict) -> int:
        return 1 // order["id"]

    done, failed, again = run(handler, *bodies(1, 0, 1))
    assert (done, again) == (Done(1), Done(1))
    assert isinstance(failed.error, ZeroDivisionError)
    assert statuses(entries) == {COMPLETED: 1}


def test_in_a_fifo_group_what_is_held_keeps_back_what_follows():
    """What is done lets it go on."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    key = terms.key_for({"id": 2}, handler_of_nothing)
    entries.entries[key] = Entry(key, IN_PROGRESS, int(NOW) + 60, None, "other")
    handler = counting(terms)
    records = [
        make_fifo_record({"id": each}, group="g", message_id=f"m-{number}") for number, each in enumerate([1, 1, 2, 3])
    ]
    done, again, held, behind = run(handler, *records)
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
    key = terms.key_for({"id": 2}, handler_of_nothing)
    entries.entries[key] = Entry(key, IN_PROGRESS, int(NOW) + 60, None, "other")

    @fanfold.consumer(idempotency=terms, chunk_size=10)
    async def handler(orders: list[dict]) -> None:
        raise ValueError("no")

    assert [type(outcome) for outcome in run(handler, *bodies(1, 2, 3))] == [Failed, Retrying, Failed]
    assert list(entries.entries) == [key]


def test_the_key_of_a_large_payload_is_made_of_the_payload():
    """It is fetched first; no record's key is taken for another's."""
    store = InMemoryStore()
    store.fill("bucket", {"one": b'{"id": 1}', "two": b'{"id": 2}'})
    handler = counting(by_id(InMemoryEntries()), large_payloads=opening(store))
    records = [make_extended_record("bucket", name, size_bytes=9) for name in ("one", "two", "one", "gone")]
    assert run(handler, *records, *bodies(2))[:3] == [Done(1), Done(2), Done(1)]
    assert handler.done == {1: 1, 2: 1}


def test_two_records_of_one_message_id_are_told_apart_by_their_bodies():
    """An id says nothing of what is to be done."""
    handler = counting(by_id(InMemoryEntries()))
    records = [make_record({"id": each}, message_id="same") for each in (1, 2)]
    run(handler, *records)
    assert handler.done == {1: 1, 2: 1}


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


def test_the_handlers_name_is_the_keys_prefix(monkeypatch):
    """As Powertools has it; another may be given."""
    terms = Idempotency(lambda body: body, table="t")
    name = f"{__name__}.handler_of_nothing"
    assert terms.key_for("a", handler_of_nothing).startswith(f"test-func.{name}#")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    assert terms.key_for("a", handler_of_nothing).startswith(f"orders.{name}#")
    assert Idempotency(lambda body: body, prefix="p").key_for("a", handler_of_nothing).startswith("p#")


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

    with pytest.raises(ConfigurationError, match="either idempotency or a commit"):
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


def test_the_key_is_given_the_body_as_the_handler_gets_it():
    """A record, a text, a list's item."""
    seen: list[Any] = []

    def key(body: Any) -> str:
        seen.append(body)
        return "key"

    terms = Idempotency(key, prefix="", open_entries=opening(InMemoryEntries()))

    @fanfold.consumer(idempotency=terms)
    async def of_record(record: Record) -> None: ...

    @fanfold.consumer(idempotency=terms)
    async def of_text(text: str) -> None: ...

    @fanfold.consumer(idempotency=terms, chunk_size=2)
    async def of_list(bodies: list[dict]) -> None: ...

    for handler in (of_record, of_text, of_list):
        run(handler, make_record({"id": 1}))
    assert [type(each) for each in seen] == [Record, str, dict]
    assert json.loads(seen[1]) == seen[2] == {"id": 1}


def test_what_is_no_json_but_can_be_a_key_is_one():
    """Enumerations by their values, dates as ISO 8601 has them; the same as Powertools'."""
    values = [Color.RED, dt.date(2026, 11, 25), dt.time(1, 2), Decimal("1.10"), UUID(int=7), PurePosixPath("a/b")]
    texts = ["red", "2026-11-25", "01:02:00", "1.10", str(UUID(int=7)), "a/b"]
    for value, text in zip(values, texts, strict=True):
        assert key_of("p", {"a": value}) == key_of("p", {"a": text}) == f"p#{theirs()._generate_hash({'a': value})}"


class Color(enum.Enum):
    """A kind of value bodies may be validated to."""

    RED = "red"


def theirs() -> InProcess:
    """Powertools' own way to a key."""
    store = InProcess()
    store.configure(IdempotencyConfig(), "handler", key_prefix="p")
    return store


@given(JSON, st.sampled_from(["md5", "sha256"]))
def test_keys_are_those_of_powertools(value: Any, hash_function: str):
    """For every JSON value; and so is what counts as none."""
    store = InProcess()
    store.configure(IdempotencyConfig(hash_function=hash_function), "handler", key_prefix="p")
    assert is_missing(value) == store.is_missing_idempotency_key(value)
    if not is_missing(value):
        assert key_of("p", value, hash_function) == store._get_hashed_idempotency_key(value)


def test_every_attempt_to_write_down_is_bounded(caplog):
    """A table that takes nothing for ever costs the acknowledgement, not the answer."""

    class TakesNothing(InMemoryEntries):
        async def complete(self, entries):
            return range(len(entries))

    (failed,) = run(counting(by_id(TakesNothing())), *bodies(1), seconds=4)
    assert isinstance(failed.error, CommitError)


def test_what_has_expired_is_not_filtered_by_the_look():
    """The claim takes its place."""
    entries = InMemoryEntries()
    terms = by_id(entries)
    for each in (1, 2):
        key = terms.key_for({"id": each}, handler_of_nothing)
        entries.entries[key] = Entry(key, COMPLETED, int(NOW) - 1)
    assert run(counting(terms), *bodies(1, 2)) == [Done(1), Done(2)]


async def test_a_loop_that_is_closed_under_a_handler_asks_the_table_for_nothing():
    """Its claim holds until its lease is over."""
    entries = Faulty()
    terms = by_id(entries)
    records = [Record(make_record({"id": 1}))]

    async def closed(_: Any) -> None:
        raise GeneratorExit

    async def opened() -> InMemoryEntries:
        return entries

    once = IdempotentCalls(
        records,
        closed,
        idempotency=terms,
        key_of=lambda _: "key",
        resolve=None,
        entries=opened,
        deadline=Deadline.never(),
    )
    with pytest.raises(GeneratorExit):
        await once([records[0]])
    assert entries.calls["release"] == 0


def test_a_key_that_is_looked_up_twice_is_done_once():
    """In a batch of more records than are looked up at once."""
    handler = counting(by_id(Faulty()), concurrency=1)
    run(handler, *bodies(*range(5)))
    assert run(handler, *bodies(*range(150), 0)) == [*(Done(each) for each in range(150)), Done(0)]
    assert handler.done == dict.fromkeys(range(150), 1)


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
    held = terms.key_for({"id": 2}, handler_of_nothing)
    entries.entries[held] = Entry(held, IN_PROGRESS, int(NOW) + 60, None, "other")
    given = []

    @fanfold.consumer(idempotency=terms, chunk_size=10)
    async def handler(orders: list[dict]) -> None:
        given.extend(orders)

    def outcomes(*numbers: int | None) -> list[Any]:
        records = [make_fifo_record({"id": each}, group="g", message_id=f"m-{at}") for at, each in enumerate(numbers)]
        return [type(outcome) for outcome in run(handler, *records)]

    assert outcomes(1, 2, 3) == [Done, Retrying, NotStarted]
    assert statuses(entries) == {COMPLETED: 1, IN_PROGRESS: 1}
    assert outcomes(4, None, 5) == [Done, Rejected, NotStarted]
    assert given == [{"id": 1}, {"id": 4}]


def test_terms_are_as_they_are_given():
    """Parts of a second, and a table's own names."""
    terms = Idempotency(str, table="t", lease_seconds=0.5, layout=Layout(key_attr="pk"))
    assert (terms.lease_seconds, terms.layout.key_attr) == (0.5, "pk")
    assert Idempotency(str, table="t").layout == Layout()


def test_a_result_is_kept_with_its_names_in_order():
    """As Powertools writes it."""
    assert result_text({"b": 1, "a": 2}) == '{"a": 2, "b": 1}'
