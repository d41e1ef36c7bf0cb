"""Fairness inside a batch, and a limit for each tenant, from the decorator to the response."""

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from batches import fifo_event, ids, kinds
from fanfold import Done, Failed, NotStarted, Record
from fanfold.observers import BatchCallbacks
from fanfold.testing import make_context, make_event, make_record


class Silent:
    """An observer of nothing: its handlers run on threads that tasks wait for."""

    def batch_started(self, records: Any, batch: Any) -> BatchCallbacks:
        return BatchCallbacks()


def event_of(*tenants: str | None) -> dict[str, Any]:
    """Return a batch of a standard queue with a message group for each record that has a tenant."""
    records = []
    for number, tenant in enumerate(tenants):
        record = make_record({"tenant": tenant, "n": number}, message_id=f"message-{number}")
        if tenant is not None:
            record["attributes"]["MessageGroupId"] = tenant
        records.append(record)
    return make_event(records=records)


def started(event: Any, **changes: Any) -> list[int]:
    """Return the order in which records start, one at a time."""
    order: list[int] = []

    @fanfold.consumer(concurrency=1, **changes)
    async def handler(body: dict[str, Any]) -> None:
        order.append(body["n"])

    assert handler(event, make_context(10))["batchItemFailures"] == []
    handler.close()
    return order


def test_tenants_take_turns():
    """Each round has a record of every tenant."""
    assert started(event_of("a", "a", "a", "b", "b", "c"), fair=True) == [0, 3, 5, 1, 4, 2]
    assert started(event_of("a", "a", "b")) == [0, 1, 2]


def test_a_tenant_can_be_a_field_of_the_body_or_what_a_function_returns():
    """Otherwise it is the message group."""
    event = make_event({"n": 0, "shop": 1}, {"n": 1, "shop": 1}, {"n": 2, "shop": 2})
    assert started(event, fair=True, tenant="shop") == [0, 2, 1]
    assert started(event, fair=True, tenant=lambda record: record.body[-2]) == [0, 2, 1]


def test_a_fifo_queue_keeps_its_order():
    """Its message groups are not tenants."""
    event = fifo_event(("a", {"n": 0}), ("a", {"n": 1}), ("b", {"n": 2}))
    assert started(event, fair=True, tenant_concurrency=1) == started(event) == [0, 1, 2]


def test_a_record_whose_tenant_is_unknown_fails_alone():
    """The tenant function raises, or returns what cannot be a key."""

    def tenant_of(record: Record) -> Any:
        if record.message_id == "message-0":
            raise KeyError("shop")
        return [] if record.message_id == "message-1" else record.message_id

    @fanfold.consumer(fair=True, tenant=tenant_of)
    def handler(body: int) -> None: ...

    result = handler.invoke(make_event(0, 1, 2), make_context(10))
    handler.close()
    assert kinds(result) == [Failed, Failed, Done]
    assert ids(result) == ["message-0", "message-1"]


class Places:
    """Counts the records in flight of each tenant."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.lock = threading.Lock()

    def enter(self, tenant: str) -> None:
        with self.lock:
            self.running[tenant] += 1
            self.most[tenant] = max(self.most[tenant], self.running[tenant])

    def leave(self, tenant: str) -> None:
        with self.lock:
            self.running[tenant] -= 1


@pytest.mark.parametrize("kind", ["async", "def", "def that returns a coroutine"])
@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from("aaab"), min_size=1, max_size=25), st.integers(1, 3), st.integers(1, 8))
def test_no_tenant_has_more_records_in_flight_than_its_limit_and_every_record_runs(kind, tenants, limit, concurrency):
    """With any batch, limit and concurrency."""
    places, release = Places(), threading.Event()

    async def run(tenant: str) -> None:
        places.enter(tenant)
        await asyncio.sleep(0)
        places.leave(tenant)

    if kind == "async":

        @fanfold.consumer(concurrency=concurrency, tenant_concurrency=limit)
        async def handler(body: dict[str, Any]) -> None:
            await run(body["tenant"])
    elif kind == "def":

        @fanfold.consumer(concurrency=concurrency, tenant_concurrency=limit)
        def handler(body: dict[str, Any]) -> None:
            places.enter(body["tenant"])
            release.wait(0.0005)
            places.leave(body["tenant"])
    else:

        @fanfold.consumer(concurrency=concurrency, tenant_concurrency=limit)
        def handler(body: dict[str, Any]) -> Any:
            return run(body["tenant"])

    result = handler.invoke(event_of(*tenants), make_context(20))
    handler.close()
    assert kinds(result) == [Done] * len(tenants)
    assert max(places.most.values()) <= limit


def test_the_limit_of_a_tenant_is_used_while_it_has_records():
    """Both records of one tenant run at the same time, alongside one of another."""
    together = asyncio.Barrier(3)

    @fanfold.consumer(concurrency=10, tenant_concurrency=2)
    async def handler(body: dict[str, Any]) -> None:
        if body["n"] in {0, 1, 3}:
            await together.wait()

    result = handler.invoke(event_of("a", "a", "a", "b"), make_context(10))
    handler.close()
    assert kinds(result) == [Done] * 4


def test_a_record_that_times_out_frees_the_place_of_its_tenant():
    """The next record of the tenant runs."""

    @fanfold.consumer(concurrency=2, tenant_concurrency=1, timeout=0.2)
    async def handler(body: dict[str, Any]) -> None:
        if body["n"] == 0:
            await asyncio.sleep(30)

    result = handler.invoke(event_of("a", "a"), make_context(10))
    handler.close()
    assert kinds(result) == [Failed, Done]


@pytest.mark.parametrize("settings", [{}, {"observers": [Silent()]}, {"chunk_size": 1}])
def test_a_thread_that_still_runs_keeps_the_place_of_its_tenant(settings):
    """Its record has timed out, and the records of another tenant go on."""
    places, release = Places(), threading.Event()

    def run(bodies: Any) -> None:
        (body,) = bodies if isinstance(bodies, list) else (bodies,)
        places.enter(body["tenant"])
        release.wait(20 if body["n"] == 0 else 0.02)
        places.leave(body["tenant"])

    def plain(body: dict[str, Any]) -> None:
        run(body)

    def of_lists(bodies: list[dict[str, Any]]) -> None:
        run(bodies)

    handler = fanfold.consumer(concurrency=3, tenant_concurrency=1, timeout=0.1, **settings)(
        of_lists if "chunk_size" in settings else plain
    )
    result = handler.invoke(event_of("a", "a", *"bbbbbbbbbb"), make_context(10))
    most = dict(places.most)
    release.set()
    handler.close()
    assert most == {"a": 1, "b": 1}
    assert kinds(result)[:2] == [Failed, NotStarted]


def test_lists_are_cut_within_a_tenant():
    """A list has records of one tenant."""
    lists: list[list[int]] = []

    @fanfold.consumer(chunk_size=2, concurrency=1, fair=True)
    async def handler(bodies: list[dict[str, Any]]) -> None:
        lists.append([body["n"] for body in bodies])

    handler(event_of("a", "b", "a", "a"), make_context(10))
    handler.close()
    assert lists == [[0, 2], [1], [3]]
