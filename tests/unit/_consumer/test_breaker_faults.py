"""Bad input for a breaker, and parts of it that fail or hang: one line each, and a response in time."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

import fanfold
from batches import ids, kinds
from fanfold import Breaker, Done, Failed, NotStarted
from fanfold._breakers.transitions import opened
from fanfold.errors import ConfigurationError
from fanfold.inmemory.breakers import InMemoryBreakers
from fanfold.testing import make_context, make_record
from outage_consumers import Service, batch, consumer_of, invoke, open_by_failures
from recorded_outage import BrokenTable, DownError, Outage, unavailable
from settlers import STEADY

BOTH = pytest.mark.parametrize("name", ["call", "call_here"], ids=["async", "def"])


@pytest.fixture
def outage() -> Outage:
    return Outage()


def hang(*_) -> asyncio.Future:
    return asyncio.get_running_loop().create_future()


class HangingTable:
    """A table that never responds."""

    def __getattr__(self, name: str):
        return hang


@BOTH
def test_with_a_predicate_that_raises_messages_are_processed_as_without_a_breaker(outage, name, caplog):
    """One line states it."""
    service = Service()
    breaker = outage.breaker(on=lambda error: error.status == 503)
    handler = consumer_of(getattr(service, name), outage, breaker, backoff=STEADY)
    assert kinds(invoke(handler, batch(20))) == [Failed] * 20
    handler.close()
    assert set(outage.settler.changed.values()) == {10}
    assert [line for line in caplog.messages if "predicate" in line] == [
        "breaker 'payments': its predicate `on` failed; the error does not count"
    ]


@BOTH
def test_a_predicate_that_exits_fails_its_records_only(outage, name):
    """The batch has a response, in time."""

    def exits(error: BaseException) -> bool:
        raise SystemExit

    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker(on=exits))
    result = invoke(handler, batch(3), seconds=2)
    handler.close()
    assert len(ids(result)) == 3


@BOTH
@pytest.mark.parametrize(
    "error", [unavailable(), ConfigurationError("table 'breakers': access is denied")], ids=["down", "denied"]
)
def test_without_its_table_a_breaker_works_alone(outage, name, error, caplog):
    """Healthy messages are processed; failures open it here; one line states why."""
    outage.table = BrokenTable(error)
    service = Service(is_down=False)
    handler = consumer_of(getattr(service, name), outage, outage.breaker())
    assert kinds(invoke(handler, batch(5))) == [Done] * 5
    service.error = DownError()
    for _ in range(5):
        invoke(handler, batch(10))
    service.calls.clear()
    assert kinds(invoke(handler, batch(5))) == [NotStarted] * 5
    handler.close()
    assert service.calls == []
    (line,) = (line for line in caplog.messages if "cannot be used" in line)
    assert str(error) in line


def test_a_table_that_cannot_be_opened_is_one_that_cannot_be_used(outage, caplog):
    """A missing region, for example."""

    @asynccontextmanager
    async def open_table():
        raise ConfigurationError("no region is set")
        yield

    breaker = Breaker("payments", on=DownError).simulated(open_table, outage.clock)
    handler = consumer_of(Service(is_down=False).call, outage, breaker)
    assert kinds(invoke(handler, batch(5))) == [Done] * 5
    handler.close()
    assert "decides alone for 60 s: no region is set" in caplog.text


@BOTH
def test_a_bug_in_a_table_means_no_breaker(outage, name):
    """The messages are processed as without it."""
    outage.table = BrokenTable(ZeroDivisionError())
    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker(), backoff=STEADY, concurrency=1)
    assert kinds(invoke(handler, batch(4))) == [Failed] * 4
    service.recover()
    assert kinds(invoke(handler, batch(4))) == [Done] * 4
    handler.close()
    assert set(outage.settler.changed) == {"m0", "m1", "m2", "m3"}


@BOTH
def test_a_table_that_hangs_does_not_hold_records(outage, name, monkeypatch):
    """After ten seconds, the breaker works alone."""
    monkeypatch.setattr("fanfold._breakers.shared_table.CALL_SECONDS", 0.01)
    outage.table = HangingTable()
    service = Service(is_down=False)
    handler = consumer_of(getattr(service, name), outage, outage.breaker())
    assert kinds(invoke(handler, batch(5))) == [Done] * 5
    handler.close()


@BOTH
def test_a_table_that_hangs_does_not_delay_the_response(outage, name):
    """The invocation has no time to wait for it: nothing starts, and every message is redelivered."""
    outage.table = HangingTable()
    handler = consumer_of(getattr(Service(), name), outage, outage.breaker())
    assert kinds(invoke(handler, batch(5), seconds=0.3)) == [NotStarted] * 5
    handler.close()


@BOTH
def test_a_table_that_begins_to_hang_leaves_time_to_hold_the_messages(outage, name):
    """Failures are counted in vain; the visibility timeouts are set nevertheless."""
    service = Service(is_down=False)
    handler = consumer_of(getattr(service, name), outage, outage.breaker(), concurrency=1)
    invoke(handler, batch(1))
    outage.table.count_failures = outage.table.change = outage.table.add_page = hang
    service.error = DownError()
    result = invoke(handler, batch(12), seconds=0.8)
    handler.close()
    assert len(ids(result)) == 12
    assert len(outage.settler.changed) == 12


@BOTH
def test_a_settler_that_hangs_does_not_delay_the_response(outage, name):
    """The messages keep their visibility timeouts."""
    outage.settler.change_visibility = hang
    handler = consumer_of(getattr(Service(), name), outage, outage.breaker())
    assert len(ids(invoke(handler, batch(12), seconds=0.5))) == 12
    handler.close()


def test_a_handler_that_blocks_the_event_loop_does_not_delay_the_response(outage):
    """The invocation's thread responds without the breaker."""
    release = threading.Event()

    @fanfold.consumer(breaker=outage.breaker(), settler=outage.settler)
    async def handler(body: int) -> None:
        release.wait()

    result = handler.invoke(batch(3), make_context(0.5))
    release.set()
    assert len(ids(result)) == 3
    handler.close()


def test_an_error_at_the_end_of_a_batch_acknowledges_what_is_done(outage, monkeypatch, caplog):
    """A bug in the code that holds messages back."""

    def call(body: int) -> None:
        if body == 1:
            raise DownError

    monkeypatch.setattr("fanfold._consumer.held_records.HeldRecords._held", 0)
    handler = consumer_of(call, outage, outage.breaker())
    assert ids(invoke(handler, batch(3))) == ["m1"]
    handler.close()
    assert "a breaker failed; messages are redelivered after their visibility timeout" in caplog.messages


@pytest.mark.parametrize(
    "attributes", [{"ApproximateReceiveCount": "x"}, {"SentTimestamp": None}, {"ApproximateReceiveCount": None}, None]
)
def test_records_with_odd_attributes_are_held_like_others(outage, attributes):
    """Their receives are not known."""
    asyncio.run(outage.change(lambda circuit: opened(circuit, outage.clock(), probe_every=30)))
    record = {**make_record("body", message_id="odd"), "attributes": attributes, "messageAttributes": None}
    handler = consumer_of(Service().call, outage, outage.breaker(last="copy"))
    result = invoke(handler, {"Records": [record, make_record("body", message_id="usual")]})
    handler.close()
    assert ids(result) == ["odd", "usual"]
    assert set(outage.settler.changed) == {"odd", "usual"}


@pytest.mark.parametrize("probe", [lambda: DownError, lambda: 1 / 0, hang])
def test_a_probe_that_is_wrong_is_a_probe(outage, probe, monkeypatch):
    """One that raises or hangs has failed; whatever it returns, one that returns has succeeded."""
    monkeypatch.setattr("fanfold._breakers.keeper.PROBE_SECONDS", 0.01)
    service = Service()
    handler = consumer_of(service.call, outage, outage.breaker(probe=probe))
    open_by_failures(handler, service)
    outage.clock.advance(30)
    service.recover()
    result = invoke(handler, batch(2))
    handler.close()
    assert set(kinds(result)) <= {Done, NotStarted}


def test_a_breaker_without_a_table_needs_no_sdk(outage):
    """On a laptop, and in tests: its state is in memory."""
    service = Service()
    handler = consumer_of(service.call, outage, Breaker("payments", on=DownError), concurrency=1)
    invoke(handler, batch(20))
    assert len(service.calls) == 5
    assert kinds(invoke(handler, batch(3))) == [NotStarted] * 3
    handler.close()


def test_a_table_that_cannot_be_reached_is_one_line(outage, monkeypatch, caplog):
    """The table of the environment variable, with the SDK; nothing listens at its endpoint."""
    monkeypatch.setenv("FANFOLD_BREAKER_TABLE", "breakers")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    handler = consumer_of(Service(is_down=False).call, outage, Breaker("payments", on=DownError))
    assert kinds(invoke(handler, batch(3))) == [Done] * 3
    handler.close()
    lines = [line for line in caplog.messages if "its table cannot be used" in line]
    assert len(lines) == 1
    assert "\n" not in lines[0]


def test_the_table_in_memory_is_one_for_all_batches():
    """And closed with the environment."""
    opened_tables: list[InMemoryBreakers] = []

    @asynccontextmanager
    async def open_table():
        opened_tables.append(InMemoryBreakers())
        yield opened_tables[0]

    outage = Outage()
    breaker = Breaker("payments", on=DownError).simulated(open_table, outage.clock)
    handler = consumer_of(Service(is_down=False).call, outage, breaker)
    for _ in range(3):
        invoke(handler, batch(3))
    handler.close()
    assert len(opened_tables) == 1
