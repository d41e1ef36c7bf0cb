"""From an event to its records."""

import pytest

from fanfold._base.record import Record, records_from_event
from fanfold.errors import EventError
from fanfold.testing import make_event, make_record


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in make_record("body", message_id="m-1").items() if key != name}


def test_records_come_in_batch_order():
    """The records of an event stand in the order in which Lambda delivers them."""
    records = records_from_event(make_event("first", "second", "third"))
    assert [record.body for record in records] == ["first", "second", "third"]


def test_an_empty_batch_has_no_records():
    """An event with an empty list is a batch of none."""
    assert list(records_from_event({"Records": []})) == []


def test_a_record_is_a_view_on_the_event():
    """Nothing of a message is copied."""
    raw = make_record("body")
    assert records_from_event({"Records": [raw]})[0].raw is raw


def test_a_record_tells_what_lambda_delivers():
    """Each property is the field of the message that bears its meaning."""
    raw = make_record("text", message_id="m-1", receive_count=3, queue_arn="arn:aws:sqs:eu-west-1:1:orders")
    record = Record(raw)
    assert (record.message_id, record.body, record.receive_count) == ("m-1", "text", 3)
    assert record.receipt_handle == "receipt-of-m-1-3"
    assert record.queue_arn == "arn:aws:sqs:eu-west-1:1:orders"


def test_the_attributes_of_a_record_are_those_of_the_message():
    """What SQS says of a message and what its sender added are two mappings."""
    sent = {"tenant": {"stringValue": "a", "dataType": "String"}}
    record = Record(make_record(attributes={"MessageGroupId": "g"}, message_attributes=sent))
    assert record.attributes["MessageGroupId"] == "g"
    assert record.message_attributes == sent


def test_a_message_without_attributes_has_empty_ones():
    """Fields that a hand-written event leaves out read as empty."""
    record = Record({"messageId": "m-1", "body": "", "attributes": None, "messageAttributes": None})
    assert (record.attributes, record.message_attributes) == ({}, {})
    assert (record.receipt_handle, record.queue_arn, record.receive_count) == ("", "", 1)


@pytest.mark.parametrize(
    ("told", "count"), [("1", 1), ("7", 7), (7, 7), ("0", 1), ("", 1), ("many", 1), ("-2", 1), ("²", 1)]
)
def test_a_receive_count_is_at_least_one(told, count):
    """A count that is no number from 1 reads as the first delivery."""
    record = Record({"messageId": "m-1", "body": "", "attributes": {"ApproximateReceiveCount": told}})
    assert record.receive_count == count


def test_the_text_of_a_record_does_not_show_its_body():
    """A record in a log line names the message, never what is in it."""
    assert repr(Record(make_record("secret", message_id="m-1"))) == "Record(message_id='m-1', receive_count=1)"


@pytest.mark.parametrize("event", [{}, {"Records": None}, {"Records": {}}, {"Records": "x"}, [], None, "text", 7])
def test_what_is_no_batch_is_refused(event):
    """An event without a list of records is refused with a hint at what is missing."""
    with pytest.raises(EventError, match="no list under 'Records': is this function connected to an SQS queue"):
        records_from_event(event)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("text", "record 1 of the event is no object but str"),
        (None, "record 1 of the event is no object but NoneType"),
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
def test_one_malformed_record_refuses_the_whole_batch(raw, told):
    """A record that could not be answered for is named by its place, and none of the batch is returned."""
    with pytest.raises(EventError) as raised:
        records_from_event({"Records": [make_record("good"), raw]})
    assert str(raised.value) == told


def test_an_event_error_is_not_permanent():
    """A batch that was refused comes back: the fault may be one of the deployment, not of the messages."""
    assert EventError.permanent is False


@pytest.mark.parametrize("name", ["message_id", "body", "raw"])
def test_a_record_cannot_be_changed(name: str):
    """What is answered, and what the next who sees it gets, is what Lambda delivered."""
    (record,) = records_from_event(make_event(1))
    with pytest.raises(AttributeError, match="is not to be changed"):
        setattr(record, name, "other")
    with pytest.raises(AttributeError, match="is not to be changed"):
        delattr(record, name)
