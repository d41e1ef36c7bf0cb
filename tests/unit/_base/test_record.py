"""The records of an event."""

import pytest

from fanfold._base.record import Record, records_from_event
from fanfold.errors import EventError
from fanfold.testing import make_event, make_record


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in make_record("body", message_id="m-1").items() if key != name}


def test_records_are_in_batch_order():
    """The records of an event are in the order in which Lambda delivers them."""
    records = records_from_event(make_event("first", "second", "third"))
    assert [record.body for record in records] == ["first", "second", "third"]


def test_an_empty_batch_has_no_records():
    """An event with an empty list is a batch without records."""
    assert list(records_from_event({"Records": []})) == []


def test_a_record_is_a_view_of_the_event():
    """The message is not copied."""
    raw = make_record("body")
    assert records_from_event({"Records": [raw]})[0].raw is raw


def test_a_record_has_the_fields_that_lambda_delivers():
    """Each property returns the corresponding field of the message."""
    raw = make_record("text", message_id="m-1", receive_count=3, queue_arn="arn:aws:sqs:eu-west-1:1:orders")
    record = Record(raw)
    assert (record.message_id, record.body, record.receive_count) == ("m-1", "text", 3)
    assert record.receipt_handle == "receipt-of-m-1-3"
    assert record.queue_arn == "arn:aws:sqs:eu-west-1:1:orders"


def test_the_attributes_of_a_record_are_those_of_the_message():
    """The system attributes and the message attributes are two mappings."""
    sent = {"tenant": {"stringValue": "a", "dataType": "String"}}
    record = Record(make_record(attributes={"MessageGroupId": "g"}, message_attributes=sent))
    assert record.attributes["MessageGroupId"] == "g"
    assert record.message_attributes == sent


def test_a_message_without_attributes_has_empty_ones():
    """Fields that a hand-written event omits are empty."""
    record = Record({"messageId": "m-1", "body": "", "attributes": None, "messageAttributes": None})
    assert (record.attributes, record.message_attributes) == ({}, {})
    assert (record.receipt_handle, record.queue_arn, record.receive_count) == ("", "", 1)


@pytest.mark.parametrize(
    ("text", "count"), [("1", 1), ("7", 7), (7, 7), ("0", 1), ("", 1), ("many", 1), ("-2", 1), ("²", 1)]
)
def test_a_receive_count_is_at_least_one(text, count):
    """A count that is not an integer of at least 1 counts as the first delivery."""
    record = Record({"messageId": "m-1", "body": "", "attributes": {"ApproximateReceiveCount": text}})
    assert record.receive_count == count


def test_the_repr_of_a_record_does_not_contain_its_body():
    """A record in a log line shows the message id, but never the body."""
    assert repr(Record(make_record("secret", message_id="m-1"))) == "Record(message_id='m-1', receive_count=1)"


@pytest.mark.parametrize("event", [{}, {"Records": None}, {"Records": {}}, {"Records": "x"}, [], None, "text", 7])
def test_an_event_without_records_is_refused(event):
    """The error tells the user to connect the function to a queue."""
    with pytest.raises(
        EventError, match="no list under 'Records': connect this function to an SQS queue with an event"
    ):
        records_from_event(event)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("text", "record 1 of the event is a str, not an object"),
        (None, "record 1 of the event is a NoneType, not an object"),
        (make_record() | {"eventSource": "aws:sns"}, "record 1 of the event comes from 'aws:sns', not from 'aws:sqs'"),
        (without("eventSource"), "record 1 of the event comes from None, not from 'aws:sqs'"),
        (without("messageId"), "record 1 of the event has no messageId"),
        (make_record() | {"messageId": ""}, "record 1 of the event has no messageId"),
        (make_record() | {"messageId": 7}, "record 1 of the event has no messageId"),
        (without("body"), "record 1 of the event (message m-1) has no body"),
        (make_record() | {"body": None}, "record 1 of the event (message message-0) has no body"),
        (make_record() | {"body": {"a": 1}}, "record 1 of the event (message message-0) has no body"),
    ],
)
def test_one_malformed_record_refuses_the_whole_batch(raw, message):
    """The error names the position of the malformed record, and no records are returned."""
    with pytest.raises(EventError) as raised:
        records_from_event({"Records": [make_record("good"), raw]})
    assert str(raised.value) == message


def test_an_event_error_is_not_permanent():
    """A refused batch is redelivered, because the cause may be the deployment instead of the messages."""
    assert EventError.permanent is False


@pytest.mark.parametrize("name", ["message_id", "body", "raw"])
def test_a_record_cannot_be_changed(name: str):
    """The handler, the observers, and the batch response all see what Lambda delivered."""
    (record,) = records_from_event(make_event(1))
    with pytest.raises(AttributeError, match="is immutable"):
        setattr(record, name, "other")
    with pytest.raises(AttributeError, match="is immutable"):
        delattr(record, name)
