"""Tick messages and paused mappings, in whole consumers."""

import asyncio
from contextlib import asynccontextmanager

import pytest

import fanfold
from batches import ids, kinds
from fanfold import Done, NotStarted, Retrying
from fanfold._breakers.ticks import tick_body
from fanfold._ports.breakers import CLOSED, OPEN
from fanfold._ports.queue import Refusal
from fanfold.inmemory import InMemoryQueue
from fanfold.testing import make_event, make_record
from outage_consumers import Service, batch, consumer_of, invoke, open_by_failures
from recorded_outage import DownError, Outage

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/ticks"


class Mappings:
    """Mappings that note each change."""

    def __init__(self) -> None:
        self.changes: list[tuple[list[str], bool]] = []

    async def set_enabled(self, function: str, queue_arns: list[str], enabled: bool) -> bool:
        self.changes.append((list(queue_arns), enabled))
        return True


class Refusing(InMemoryQueue):
    """A queue that refuses every message."""

    async def send(self, messages):
        return [Refusal(0, "no", final=True)]


@pytest.fixture
def outage(monkeypatch) -> Outage:
    """An outage with a queue of ticks, and mappings."""
    outage = Outage()
    outage.queue, outage.mappings = InMemoryQueue(clock=outage.clock), Mappings()

    @asynccontextmanager
    async def open_queue(url):
        assert url == URL
        yield outage.queue

    @asynccontextmanager
    async def open_mappings():
        yield outage.mappings

    monkeypatch.setenv("FANFOLD_BREAKER_QUEUE_URL", URL)
    monkeypatch.setattr("fanfold._consumer.environment._open_queue", open_queue)
    monkeypatch.setattr("fanfold._consumer.environment._open_mappings", open_mappings)
    return outage


def circuit_of(outage: Outage):
    return asyncio.run(outage.circuit())


def tick(body: str, receive_count: int = 1):
    arn = "arn:aws:sqs:eu-west-1:123456789012:ticks"
    return make_event(
        records=[{**make_record("", message_id="tick", queue_arn=arn, receive_count=receive_count), "body": body}]
    )


def test_a_breaker_that_opens_sends_a_tick_message(outage):
    """And notes that in its circuit."""
    handler = consumer_of(Service().call, outage, outage.breaker())
    open_by_failures(handler, Service())
    handler.close()
    (message,) = outage.queue.messages()
    assert message.body == tick_body("payments")
    assert circuit_of(outage).tick_at == outage.clock()


def test_a_tick_message_that_the_queue_refuses_is_one_line(outage, caplog):
    """The breaker opens nevertheless."""
    outage.queue = Refusing()
    handler = consumer_of(Service().call, outage, outage.breaker())
    invoke(handler, batch(10))
    handler.close()
    assert f"breaker 'payments': the tick message could not be sent: queue {URL}: no" in caplog.messages
    assert (circuit_of(outage).state, circuit_of(outage).tick_at) == (OPEN, 0)


def test_a_tick_is_renewed_while_the_service_is_down_and_deleted_when_it_is_back(outage):
    """By the visibility timeout; the probe function closes the breaker, and the messages are released."""
    service = Service()

    async def probe() -> None:
        if service.error is not None:
            raise service.error

    handler = consumer_of(service.call, outage, outage.breaker(probe=probe))
    open_by_failures(handler, service)
    outage.clock.advance(30)
    (outcome,) = invoke(handler, tick(tick_body("payments"))).outcomes
    assert isinstance(outcome, Retrying)
    assert outcome.after == 30
    assert outage.settler.changed["tick"] == 30
    outage.clock.advance(30)
    service.recover()
    assert ids(invoke(handler, tick(tick_body("payments")))) == []
    handler.close()
    assert circuit_of(outage).state == CLOSED
    assert list(outage.settler.changed.values()).count(0) == 5


@pytest.mark.parametrize(
    ("body", "receive_count", "outcome"),
    [("no tick", 1, Done), (tick_body("unknown"), 1, Retrying), (tick_body("unknown"), 100, Done)],
)
def test_a_tick_of_no_breaker_is_deleted_in_the_end(outage, body, receive_count, outcome, caplog):
    """Its breaker may be one of blocks that no handler has entered so far; one line names it."""
    handler = consumer_of(Service().call, outage, outage.breaker())
    assert kinds(invoke(handler, tick(body, receive_count))) == [outcome]
    handler.close()
    assert f"a tick message names no breaker that is in use here: {body}" in caplog.messages


def test_a_tick_of_a_breaker_of_blocks_is_handled_before_its_first_block(outage):
    """The process has created the breaker."""
    of_blocks = fanfold.Breaker("of-blocks", on=DownError)
    handler = consumer_of(Service().call, outage, outage.breaker())
    assert kinds(invoke(handler, tick(tick_body("of-blocks")))) == [Done]
    handler.close()
    assert of_blocks.name == "of-blocks"


def test_the_mapping_is_paused_while_the_service_is_down(outage, monkeypatch):
    """The event of the rule probes, and enables it."""
    monkeypatch.setenv("FANFOLD_BREAKER_PAUSES_MAPPING", "true")
    service = Service()

    async def probe() -> None:
        if service.error is not None:
            raise service.error

    handler = consumer_of(service.call, outage, outage.breaker(probe=probe))
    assert ids(invoke(handler, {"Records": []})) == []
    open_by_failures(handler, service)
    invoke(handler, batch(3))
    assert {enabled for _, enabled in outage.mappings.changes} == {False}
    outage.clock.advance(30)
    service.recover()
    invoke(handler, {"fanfold": "breaker-watch"})
    handler.close()
    assert outage.mappings.changes[-1][1] is True
    assert (circuit_of(outage).state, circuit_of(outage).paused) == (CLOSED, "")


def test_a_mapping_is_not_paused_without_a_probe_function(outage, monkeypatch, caplog):
    """Nothing would find out that the service is back; one line states it."""
    monkeypatch.setenv("FANFOLD_BREAKER_PAUSES_MAPPING", "true")
    service = Service()
    handler = consumer_of(service.call, outage, outage.breaker())
    open_by_failures(handler, service)
    assert kinds(invoke(handler, batch(3))) == [NotStarted] * 3
    handler.close()
    assert outage.mappings.changes == []
    assert "breaker 'payments': its mapping is not paused, because that needs a function as `probe`" in caplog.messages
