"""``last="copy"``: a copy replaces a message that has no receive left, and the original is deleted only after it."""

import asyncio

import pytest

import fanfold
from batches import ids, kinds
from fanfold import Backoff, Done, Failed, NotStarted, Record, Retrying
from fanfold._base.message_copy import FIRST_SENT_ATTRIBUTE, first_sent
from fanfold._base.outcome import acknowledges
from fanfold._breakers.transitions import opened
from fanfold._ports.queue import Message, Refusal
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.testing import make_event
from outage_consumers import Service, batch, consumer_of, fifo_batch, invoke, message, open_by_failures
from recorded_outage import START, CopyingSettler, DownError, Outage
from settlers import STEADY, AcceptingAll


@pytest.fixture
def outage() -> Outage:
    """An outage that began ten minutes ago."""
    outage = Outage()
    asyncio.run(outage.change(lambda circuit: opened(circuit, outage.clock(), probe_every=30)))
    asyncio.run(outage.change(lambda circuit: circuit._replace(probe_due=START + 1e6)))
    outage.clock.advance(600)
    return outage


def copying(outage: Outage, service: Service | None = None, **settings):
    breaker = outage.breaker(last="copy", **settings.pop("of_breaker", {}))
    return consumer_of((service or Service()).call, outage, breaker, **settings)


def test_a_message_on_its_last_receive_is_replaced_by_a_copy(outage):
    """After a quarter of the outage; the original is acknowledged, and no handle of it is stored."""
    service = Service()
    handler = copying(outage, service)
    result = invoke(handler, make_event(records=[message(0), message(1, receive_count=5), message(2, receive_count=9)]))
    handler.close()
    assert service.calls == []
    assert outage.settler.copies == [("m1", 150), ("m2", 150)]
    assert kinds(result) == [NotStarted, Retrying, Retrying]
    assert [outcome.copied for outcome in result.outcomes[1:]] == [True, True]
    assert result.outcomes[1].after == 150
    assert ids(result) == ["m0"]
    assert set(outage.settler.changed) == {"m0"}
    (page,) = asyncio.run(outage.pages())
    assert len(page) == 1


def test_a_message_with_one_receive_left_is_held(outage):
    """It is not copied yet, and held as one with two receives left: its copy has all of them."""
    handler = copying(outage)
    result = invoke(handler, batch(20, receive_count=4))
    handler.close()
    assert kinds(result) == [NotStarted] * 20
    assert outage.settler.copies == []
    assert min(outage.settler.changed.values()) < 10_000


def test_a_message_whose_copy_could_not_be_sent_is_redelivered(outage):
    """The original is not acknowledged unless SQS has accepted its copy."""
    outage.settler.fail_copies = ServiceError("access to the queue is denied", code="X", transient=False)
    handler = copying(outage)
    result = invoke(handler, batch(3, receive_count=5))
    handler.close()
    assert kinds(result) == [NotStarted] * 3
    assert ids(result) == ["m0", "m1", "m2"]


def test_a_message_whose_copy_is_refused_is_redelivered(outage, caplog):
    """The others are not affected; one line names it."""
    outage.settler = CopyingSettler("m1")
    handler = copying(outage)
    result = invoke(handler, batch(3, receive_count=5))
    handler.close()
    assert kinds(result) == [Retrying, NotStarted, Retrying]
    assert ids(result) == ["m1"]
    assert "the queue refused a copy of m1: no" in caplog.messages


def test_a_settler_that_cannot_copy_is_one_line_and_the_messages_are_redelivered(outage, caplog):
    """A custom one without ``send_copies``."""
    outage.settler = AcceptingAll()
    handler = copying(outage)
    result = invoke(handler, batch(3, receive_count=5))
    handler.close()
    assert ids(result) == ["m0", "m1", "m2"]
    lines = [line for line in caplog.messages if "copies" in line]
    assert lines == [
        "copies of messages on their last receive could not be sent: the settler of this consumer cannot send copies"
    ]


def test_a_settler_that_hangs_acknowledges_nothing(outage):
    """The response is in time, and the originals are redelivered."""

    async def hang(_) -> None:
        await asyncio.Event().wait()

    outage.settler.send_copies = hang
    handler = copying(outage)
    result = invoke(handler, batch(3, receive_count=5), seconds=0.4)
    handler.close()
    assert ids(result) == ["m0", "m1", "m2"]


def test_a_settler_that_returns_an_impossible_refusal_acknowledges_nothing(outage):
    """Nobody knows which copies were accepted."""

    async def odd(copies):
        return [Refusal(7, "no", final=True)]

    outage.settler.send_copies = odd
    handler = copying(outage)
    result = invoke(handler, batch(3, receive_count=5))
    handler.close()
    assert ids(result) == ["m0", "m1", "m2"]


def test_copies_are_limited_by_the_budget_from_the_first_sending(outage):
    """Otherwise a long outage would be an endless stream of copies; then the message is tried."""
    service = Service()
    handler = copying(outage, service, of_breaker={"outage_budget": 599})
    result = invoke(handler, batch(1, receive_count=5))
    handler.close()
    assert service.calls == [0]
    assert outage.settler.copies == []
    assert kinds(result) == [Failed]


def test_a_message_of_a_fifo_queue_is_tried(outage):
    """A copy would lose its place in its group."""
    service = Service()
    handler = copying(outage, service)
    result = invoke(handler, fifo_batch("a", receive_count=5))
    handler.close()
    assert service.calls == [0]
    assert ids(result) == ["m0"]
    assert outage.settler.copies == []


def test_a_failure_on_the_last_receive_is_copied_although_the_breaker_is_closed():
    """30 % of calls failing do not open a breaker, and must not use up receives; the copy comes in half a minute."""
    outage = Outage()

    def call(body: int) -> None:
        if body == 1:
            raise ConnectionError
        if body == 2:
            raise ValueError

    handler = consumer_of(call, outage, outage.breaker(last="copy", on=ConnectionError), backoff=STEADY, concurrency=1)
    result = invoke(handler, batch(3, receive_count=5))
    handler.close()
    assert kinds(result) == [Done, Retrying, Failed]
    assert list(map(acknowledges, result.outcomes)) == [True, True, False]
    assert outage.settler.copies == [("m1", 30)]
    assert outage.settler.changed == {"m2": 60}


def test_the_last_record_of_an_outage_that_fails_is_copied():
    """It was started before the breaker opened."""
    outage = Outage()
    handler = copying(outage)
    result = invoke(handler, batch(8, receive_count=5))
    handler.close()
    assert len(outage.settler.copies) == 8
    assert ids(result) == []
    assert asyncio.run(outage.pages()) == []


def test_copies_are_sent_in_calls_of_ten(outage):
    """And each original is acknowledged."""
    handler = copying(outage)
    assert ids(invoke(handler, batch(25, receive_count=5))) == []
    handler.close()
    assert len(outage.settler.copies) == 25


def test_nothing_is_acknowledged_by_a_copy_that_another_record_has(outage):
    """Positions do not shift: only the second of three messages is on its last receive."""
    handler = copying(outage)
    event = make_event(records=[message(0, 2), message(1, 5), message(2, 3)])
    result = invoke(handler, event)
    handler.close()
    assert [acknowledges(outcome) for outcome in result.outcomes] == [False, True, False]


async def test_a_copy_in_the_queue_has_the_time_of_the_first_sending_and_all_receives():
    """It is delivered after its delay, as a new message; the original is deleted by the mapping."""
    outage = Outage()
    queue = InMemoryQueue(visibility_timeout=30, max_receive_count=5, clock=outage.clock)
    outage.settler = InMemorySettler(queue)
    await queue.send([Message("0")])
    (sent,) = queue.messages()
    sent.record["attributes"]["SentTimestamp"] = str(round(START * 1_000))
    await outage.change(lambda circuit: opened(circuit, outage.clock(), probe_every=1_000))
    outage.clock.advance(600)
    sent.receive_count = 4
    (received,) = queue.take(1)
    event = {
        "Records": [{**received.as_record(), "eventSource": "aws:sqs", "eventSourceARN": message(0)["eventSourceARN"]}]
    }
    handler = copying(outage)
    result = await handler.process(event)
    assert ids(result) == []
    queue.remove(received.handle)
    assert queue.take(1) == []
    outage.clock.advance(150)
    (copy,) = queue.take(1)
    assert copy.receive_count == 1
    assert copy.message_id != received.message_id
    assert copy.attributes[FIRST_SENT_ATTRIBUTE] == str(round(START * 1_000))
    assert first_sent(Record(copy.as_record())) == START


def test_a_handler_cannot_claim_that_a_copy_was_sent(outage):
    """Only a breaker can."""

    @fanfold.consumer(settler=outage.settler)
    def handler(body: int) -> Retrying:
        return Retrying(5, copied=True)

    assert ids(invoke(handler, batch(1))) == ["m0"]
    handler.close()


def test_a_backoff_applies_to_messages_that_are_not_copied():
    """A failure that does not count for the breaker."""
    outage = Outage()
    service = Service()
    service.error = ValueError("bad")
    handler = copying(outage, service, backoff=Backoff(base=10, jitter=0))
    result = invoke(handler, batch(1, receive_count=5))
    handler.close()
    assert ids(result) == ["m0"]
    assert outage.settler.copies == []


def test_copies_and_a_commit_stage():
    """A message that is copied is not committed; a message that is done is, before it is acknowledged."""
    outage = Outage()
    committed: list[int] = []

    async def commit(done, _):
        committed.extend(value for _, value in done)
        return range(len(done))

    @fanfold.consumer(breaker=outage.breaker(last="copy"), settler=outage.settler, commit=commit, concurrency=1)
    async def handler(body: int) -> int:
        if body == 1:
            raise DownError
        return body

    result = invoke(handler, batch(3, receive_count=5))
    handler.close()
    assert kinds(result) == [Done, Retrying, Done]
    assert ids(result) == []
    assert committed == [0, 2]
    assert outage.settler.copies == [("m1", 30)]


def test_a_setting_other_than_the_two_is_refused():
    """When the breaker is created."""
    with pytest.raises(ConfigurationError, match="last must be 'try' or 'copy', not 'keep'"):
        Outage().breaker(last="keep")


def test_the_service_that_recovers_is_called_for_copies():
    """A copy is a message like any."""
    outage, service = Outage(), Service()
    handler = copying(outage, service)
    open_by_failures(handler, service)
    outage.clock.advance(30)
    service.recover()
    assert kinds(invoke(handler, batch(3, receive_count=5))) == [Done] * 3
    handler.close()
    assert outage.settler.copies == []
