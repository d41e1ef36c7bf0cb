"""A breaker together with each setting that also decides what starts, or what is acknowledged."""

import asyncio
import threading
from typing import Any

import pytest

import fanfold
from batches import ids, kinds
from fanfold import Auto, Backoff, Done, Failed, NotStarted
from fanfold._ports.breakers import CLOSED, OPEN
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries
from fanfold.observers import BatchCallbacks
from fanfold.testing import make_event
from idempotent import opening
from outage_consumers import Service, batch, consumer_of, fifo_batch, invoke, message
from recorded_outage import DownError, Outage

BOTH = pytest.mark.parametrize("name", ["call", "call_here"], ids=["async", "def"])
SETTINGS: dict[str, dict[str, Any]] = {
    "auto": {"concurrency": Auto(minimum=2, maximum=20)},
    "fair": {"fair": True},
    "tenant_concurrency": {"tenant_concurrency": 2},
    "starts_per_second": {"starts_per_second": 5_000},
    "timeout": {"timeout": 30},
    "memory_share": {"memory_share": 0.9},
    "backoff": {"backoff": Backoff(base=1)},
    "reject_on": {"reject_on": (ValueError,)},
}


@pytest.fixture
def outage() -> Outage:
    return Outage()


def circuit_of(outage: Outage):
    return asyncio.run(outage.circuit())


def tenants(count: int) -> dict[str, Any]:
    records = [message(number) for number in range(count)]
    for number, record in enumerate(records):
        record["attributes"]["MessageGroupId"] = f"tenant-{number % 3}"
    return make_event(records=records)


@BOTH
@pytest.mark.parametrize("setting", SETTINGS)
def test_an_outage_and_a_recovery_with_each_setting(outage, name, setting):
    """Few calls, every message held; then every message done, and the held ones released."""
    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker(), **SETTINGS[setting])
    assert len(ids(invoke(handler, tenants(40)))) == 40
    assert 5 <= len(service.calls) <= 8
    assert len(outage.settler.changed) == 40
    assert all(seconds >= 30 for seconds in outage.settler.changed.values())
    assert circuit_of(outage).state == OPEN
    outage.clock.advance(30)
    service.recover()
    assert kinds(invoke(handler, tenants(40))) == [Done] * 40
    handler.close()
    assert circuit_of(outage).state == CLOSED
    assert list(outage.settler.changed.values()).count(0) == 40


def test_a_record_that_is_held_has_no_idempotency_entry(outage):
    """The breaker comes before the claim; a record that failed has given its claim up."""
    entries, service = InMemoryEntries(), Service()
    idempotency = Idempotency(str, prefix="p", open_entries=opening(entries))

    @fanfold.consumer(breaker=outage.breaker(), settler=outage.settler, idempotency=idempotency, concurrency=1)
    async def handler(body: int) -> None:
        await service.call(body)

    assert len(ids(invoke(handler, batch(10)))) == 10
    outage.clock.advance(30)
    service.recover()
    service.calls.clear()
    assert ids(invoke(handler, batch(10))) == []
    assert ids(invoke(handler, batch(10))) == []
    handler.close()
    assert sorted(service.calls) == list(range(10))


def test_a_result_that_could_not_be_committed_is_not_a_failure_of_the_service(outage):
    """Its message is redelivered, and the breaker stays closed."""

    async def commit(done, _):
        raise DownError

    @fanfold.consumer(breaker=outage.breaker(), settler=outage.settler, commit=commit)
    async def handler(body: int) -> int:
        return body

    assert len(ids(invoke(handler, batch(20)))) == 20
    handler.close()
    assert circuit_of(outage).version == 0


def test_what_is_committed_in_an_outage_is_acknowledged(outage):
    """The others are held."""
    committed: list[int] = []

    async def commit(done, _):
        committed.extend(value for _, value in done)
        return range(len(done))

    @fanfold.consumer(breaker=outage.breaker(share=0.1), settler=outage.settler, commit=commit, concurrency=1)
    async def handler(body: int) -> int:
        if body >= 4:
            raise DownError
        return body

    result = invoke(handler, batch(20))
    handler.close()
    assert committed == [0, 1, 2, 3]
    assert ids(result) == [f"m{number}" for number in range(4, 20)]
    assert set(outage.settler.changed) == set(ids(result))


def test_observers_see_the_outcomes_of_held_records(outage):
    """As of records that were not started."""
    seen: list[Any] = []

    class Observer:
        def batch_started(self, records: Any, batch: Any) -> BatchCallbacks:
            return BatchCallbacks(batch_ended=seen.append)

    handler = consumer_of(Service().call, outage, outage.breaker(), observers=[Observer()], concurrency=1)
    invoke(handler, batch(8))
    handler.close()
    (ended,) = seen
    assert [type(outcome) for outcome in ended.outcomes] == [Failed] * 5 + [NotStarted] * 3


def crash(body: int) -> None:
    raise DownError(body)


def test_worker_processes_and_a_breaker(outage):
    """The error of a process counts by its type."""
    handler = fanfold.consumer(breaker=outage.breaker(), settler=outage.settler, processes=1)(crash)
    result = invoke(handler, batch(12))
    handler.close()
    assert len(ids(result)) == 12
    assert NotStarted in kinds(result)
    assert circuit_of(outage).state == OPEN


@pytest.mark.parametrize("on_threads", [False, True], ids=["async", "def"])
def test_a_handler_that_times_out_counts_if_its_error_is_one_of_the_breakers(outage, on_threads):
    """A service that hangs is down."""
    release = threading.Event()

    async def wait(body: int) -> None:
        await asyncio.Event().wait() if body else None

    def wait_here(body: int) -> None:
        release.wait() if body else None

    settings = {"timeout": 0.005, "concurrency": 10}
    handler = consumer_of(wait_here if on_threads else wait, outage, outage.breaker(on=TimeoutError), **settings)
    assert kinds(invoke(handler, batch(1))) == [Done]
    result = invoke(handler, batch(40, first=1), seconds=1)
    release.set()
    handler.close()
    failed = kinds(result).count(Failed)
    assert 5 <= failed <= 20
    assert kinds(result).count(NotStarted) == 40 - failed
    assert len(outage.settler.changed) == 40
    assert circuit_of(outage).state == OPEN


def test_a_thread_that_returns_after_its_timeout_shows_nothing(outage):
    """Its record has failed, and counts once."""
    release, returned = threading.Event(), threading.Semaphore(0)

    def call(body: int) -> None:
        release.wait()
        returned.release()

    handler = consumer_of(call, outage, outage.breaker(on=TimeoutError), timeout=0.005)
    invoke(handler, batch(1))
    release.set()
    returned.acquire()
    assert kinds(invoke(handler, batch(1))) == [Done]
    handler.close()
    assert circuit_of(outage).failures == 1


def test_lists_of_a_fifo_queue_are_held_by_group(outage):
    """One delay for each group."""

    @fanfold.consumer(breaker=outage.breaker(), settler=outage.settler, chunk_size=2, concurrency=1)
    async def handler(bodies: list[int]) -> None:
        raise DownError

    invoke(handler, fifo_batch(*"abcdefaabbff"))
    handler.close()
    changed = outage.settler.changed
    assert len(changed) == 12
    assert len({changed["m0"], changed["m6"], changed["m7"]}) == 1
    assert len({changed["m5"], changed["m10"], changed["m11"]}) == 1
