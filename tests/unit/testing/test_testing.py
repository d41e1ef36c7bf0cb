"""The tools in ``fanfold.testing``."""

import json

import pytest

import fanfold
from fanfold._base.record import is_fifo, records_from_event
from fanfold._ports.enqueue import enqueue
from fanfold._ports.queue import Message
from fanfold.errors import ConfigurationError
from fanfold.inmemory import InMemoryQueue
from fanfold.testing import (
    Faulty,
    ManualClock,
    Ok,
    Partial,
    Throttled,
    deliver,
    make_context,
    make_event,
    make_extended_record,
    make_fair_record,
    make_fifo_record,
    make_record,
    make_sns_record,
)


async def no_sleep(seconds: float) -> None: ...


def test_make_event_takes_bodies_and_records():
    """Bodies get numbered message IDs."""
    event = make_event({"a": 1}, "text", records=[make_record(None, message_id="mine")])
    records = records_from_event(event)
    assert [(record.message_id, record.body) for record in records] == [
        ("message-0", '{"a": 1}'),
        ("message-1", "text"),
        ("mine", "null"),
    ]


def test_deliver_refuses_a_handler_that_is_not_a_consumer():
    """The error names the handler and the decorator to use."""
    with pytest.raises(
        ConfigurationError, match=r"deliver needs a handler decorated with @fanfold\.consumer, or .*, not <f"
    ):
        deliver(test_deliver_refuses_a_handler_that_is_not_a_consumer, {})  # type: ignore[arg-type]


def test_a_fifo_record_has_a_group_and_a_fifo_queue():
    """The record has the attributes that Lambda delivers."""
    (record,) = records_from_event(make_event(records=[make_fifo_record(1, group="g", message_id="m")]))
    assert is_fifo([record])
    assert record.attributes["MessageGroupId"] == "g"
    assert record.attributes["SequenceNumber"].isdecimal()


def test_a_fair_record_has_a_tenant_and_a_standard_queue():
    """Its message group ID is the tenant."""
    (record,) = records_from_event(make_event(records=[make_fair_record(1, tenant="t")]))
    assert not is_fifo([record])
    assert record.attributes["MessageGroupId"] == "t"


@pytest.mark.parametrize(("legacy", "name"), [(False, "ExtendedPayloadSize"), (True, "SQSLargePayloadSize")])
def test_an_extended_record_points_to_its_payload(legacy: bool, name: str):
    """Both the current and the legacy format are supported."""
    (record,) = records_from_event(
        make_event(records=[make_extended_record("bucket", "key", size_bytes=7, legacy=legacy)])
    )
    assert json.loads(record.body)[1] == {"s3BucketName": "bucket", "s3Key": "key"}
    assert record.message_attributes[name]["stringValue"] == "7"


def test_an_sns_record_wraps_its_message():
    """The message is a string inside the notification."""
    (record,) = records_from_event(make_event(records=[make_sns_record({"a": 1})]))
    assert json.loads(json.loads(record.body)["Message"]) == {"a": 1}


def test_a_manual_clock_moves_only_by_advance():
    """It cannot go back."""
    clock = ManualClock(5)
    context = make_context(10, clock=clock)
    clock.advance(4)
    assert context.get_remaining_time_in_millis() == 6000
    clock.advance(100)
    assert context.get_remaining_time_in_millis() == 0
    with pytest.raises(ValueError, match="seconds must be at least 0, not -1"):
        clock.advance(-1)


async def test_a_faulty_queue_follows_its_script():
    """``enqueue`` retries refused messages, and sends no accepted message twice."""
    inner = InMemoryQueue()
    queue = Faulty(inner, [Throttled(), Partial(3), Ok(), Partial(0)])
    assert await enqueue(queue, [Message(str(n)) for n in range(15)], concurrency=1, sleep=no_sleep) == 15
    received = [*await queue.receive(), *await queue.receive()]
    assert sorted(int(message.body) for message in received) == list(range(15))
    await queue.delete([message.receipt_handle for message in received[:10]])
    assert len(inner) == 5


def test_deliver_closes_its_event_loop_and_lifespan():
    """Two deliveries in a row succeed, and leave no event loop open."""
    handler = fanfold.consumer(lambda body: body * 2)
    assert deliver(handler, 2).outcomes == [fanfold.Done(4)]
    assert deliver(handler, 3).outcomes == [fanfold.Done(6)]


def test_deliver_calls_no_queue(monkeypatch):
    """Even with credentials and a dead-letter queue set, a test of a handler never reaches AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("FANFOLD_DEAD_LETTER_QUEUE_URL", "http://127.0.0.1:1/dead")

    @fanfold.consumer(backoff=fanfold.Backoff())
    async def handler(number) -> None:
        raise fanfold.Reject("no") if number else ValueError("later")

    result = deliver(handler, 0, 1)
    assert [type(outcome).__name__ for outcome in result.outcomes] == ["Failed", "Rejected"]
    assert result.response == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
