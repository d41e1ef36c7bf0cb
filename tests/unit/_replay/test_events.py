"""Reading saved events in every supported format."""

import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanfold._replay.events import read_events
from fanfold.errors import ConfigurationError, EventError
from fanfold.testing import make_event, make_fifo_record, make_record


def read(text: str | bytes):
    data = text if isinstance(text, bytes) else text.encode()
    return read_events(["-"], stdin=io.BytesIO(data))


def bodies(events):
    return [[record["body"] for record in event.records] for event in events]


def test_a_lambda_event_is_read_unchanged():
    """Every field of its records is preserved."""
    event = {"Records": [make_fifo_record({"n": 1}, group="g", message_id="a", receive_count=3)]}
    (saved,) = read(json.dumps(event))
    assert list(saved.records) == event["Records"]


def test_missing_fields_of_a_record_get_defaults():
    """A shortened event can be replayed too."""
    (saved,) = read('{"Records": [{"body": "x"}]}')
    (record,) = saved.records
    assert (record["body"], record["eventSource"], record["messageAttributes"]) == ("x", "aws:sqs", {})
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageId"] == read('{"Records": [{"body": "x"}]}')[0].records[0]["messageId"]


def test_the_output_of_receive_message_is_read():
    """Its capitalized field names are converted to those of an event."""
    attributes = {"color": {"StringValue": "blue", "DataType": "String"}}
    message = {
        "MessageId": "a",
        "ReceiptHandle": "r",
        "Body": "text",
        "Attributes": {"ApproximateReceiveCount": "4"},
        "MessageAttributes": attributes,
    }
    for document in ({"Messages": [message]}, [message]):
        ((record,),) = [event.records for event in read(json.dumps(document))]
        assert (record["messageId"], record["receiptHandle"], record["body"]) == ("a", "r", "text")
        assert record["attributes"]["ApproximateReceiveCount"] == "4"
        assert record["messageAttributes"] == {"color": {"stringValue": "blue", "dataType": "String"}}


def test_an_array_contains_events_records_or_bodies():
    """Its items determine which."""
    assert bodies(read(json.dumps([make_event(1), make_event(2, 3)]))) == [["1"], ["2", "3"]]
    assert bodies(read(json.dumps([make_record("a"), make_record("b")]))) == [["a", "b"]]
    assert bodies(read('[{"n": 1}, "text", 3]')) == [['{"n": 1}', "text", "3"]]


def test_json_lines_contain_events_or_the_bodies_of_one_event():
    """Blank lines and a byte order mark are ignored."""
    assert bodies(read('\ufeff{"n": 1}\r\n\r\n{"n": 2}\n')) == [['{"n": 1}', '{"n": 2}']]
    lines = "\n".join(json.dumps(make_event(number)) for number in (1, 2))
    events = read(lines)
    assert bodies(events) == [["1"], ["2"]]
    assert events[1].name == "standard input:2"


def test_a_single_value_that_is_not_an_event_is_a_body():
    """Such as the body that a producer sends."""
    assert bodies(read('{"order": 7}')) == [['{"order": 7}']]


S3_EVENT = {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "a.csv"}}}]}
SNS_NOTIFICATION = {"Type": "Notification", "TopicArn": "arn:aws:sns:eu-west-1:1:orders", "Message": "hello"}


@pytest.mark.parametrize("body", [S3_EVENT, SNS_NOTIFICATION, {"detail-type": "Order", "source": "shop", "detail": {}}])
def test_a_notification_that_a_service_sends_to_a_queue_is_a_body(body):
    """In an array of bodies, in JSON Lines, and in the records of an event; nothing needs to be noted."""
    text = json.dumps(body)
    for saved in (f"[{text}, {text}]", f"{text}\n{text}", json.dumps(make_event(text, text))):
        (event,) = read(saved)
        assert [record["body"] for record in event.records] == [text, text]
        assert event.note == ""


@pytest.mark.parametrize(
    ("value", "service"),
    [
        (S3_EVENT, "S3"),
        ({"detail-type": "Order", "source": "shop", "detail": {}}, "EventBridge"),
        ({"requestContext": {"http": {}}, "routeKey": "$default"}, "API Gateway"),
        ({"requestContext": {"elb": {}}, "httpMethod": "GET"}, "an Application Load Balancer"),
        ({"eventSource": "aws:kafka", "records": {}}, "Kafka"),
        ({"awslogs": {"data": ""}}, "CloudWatch Logs"),
    ],
)
def test_an_event_of_another_service_becomes_a_body_with_a_note(value, service):
    """The note names the file and the service, because the user may have saved the wrong event."""
    (event,) = read(json.dumps(value))
    assert json.loads(event.records[0]["body"]) == value
    assert event.note == f"standard input is an event of {service}: it is replayed as the body of one SQS message"


KEYS = st.sampled_from(
    ["Records", "Messages", "eventSource", "EventSource", "body", "Body", "messageId", "requestContext"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["aws:s3", "aws:sqs"])


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)))
@example({"Records": [{"eventSource": []}]})
@example({"Records": [{"EventSource": {}}]})
def test_any_json_becomes_records_or_an_error(value):
    """Each record has the text of a body and an id."""
    try:
        events = read(json.dumps(value))
    except EventError:
        return
    for event in events:
        assert event.records
        assert all(isinstance(record["body"], str) and record["messageId"] for record in event.records)


def test_a_body_of_the_users_own_is_not_noted():
    """Its keys may be those of a service, as long as it does not have them all."""
    for body in ({"source": "web", "detail": "x"}, SNS_NOTIFICATION, {"requestContext": "x", "id": 3}):
        assert read(json.dumps(body))[0].note == ""


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path):
    """Files with other suffixes are ignored."""
    for name, number in (("b.json", 2), ("a.jsonl", 1), ("notes.txt", 3)):
        (tmp_path / name).write_text(json.dumps(make_event(number)), encoding="utf-8")
    assert bodies(read_events([str(tmp_path)])) == [["1"], ["2"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("  \n ", "is empty"),
        ("{", "is neither JSON nor JSON Lines"),
        ('{"n": 1}\n{', "line 2"),
        (b"\xff\xfe{", "not UTF-8"),
        ("[]", "is an empty array"),
        ('{"Records": []}', "'Records' is empty"),
        ('{"Records": {}}', "'Records' is not an array"),
        ('{"Messages": []}', "'Messages' is empty"),
        ('{"Records": [3]}', "record 0 must be an object, not int"),
        ('{"Records": [{"body": "a"}, {}]}', "record 1 has no body"),
        ('{"Records": [{"body": {"n": 1}}]}', "must be a string, not dict"),
        ('{"Records": [{"body": "a"}, {"eventSource": "aws:s3", "s3": {}}]}', "record 1 is of S3: only events of SQS"),
        ('{"Records": [{"eventSource": "aws:kinesis"}]}', "record 0 is of Kinesis Data Streams"),
        ('{"Records": [{"eventSource": "aws:odd"}]}', "record 0 is of aws:odd"),
        ('{"Records": [{"cf": {}}]}', "record 0 is of CloudFront"),
        ('{"Records": [{"EventSource": "aws:sns", "Sns": {}}]}', "record 0 is of SNS: only events of SQS"),
    ],
)
def test_an_invalid_event_is_reported_in_one_line(text, message):
    """The line names the place and the problem."""
    with pytest.raises(EventError, match=message) as error:
        read(text)
    assert "standard input" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_source_is_named_in_the_error(tmp_path):
    """A missing file, and a folder without events."""
    with pytest.raises(ConfigurationError, match=r"missing\.json does not exist"):
        read_events([str(tmp_path / "missing.json")])
    with pytest.raises(ConfigurationError, match=r"contains no \*\.json"):
        read_events([str(tmp_path)])


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_every_body_survives_saving_and_reading(texts):
    """As an event, as JSON Lines of events, and as an array of strings."""
    event = make_event(*texts)
    assert bodies(read(json.dumps(event))) == [texts]
    assert bodies(read(json.dumps(event, ensure_ascii=False))) == [texts]
    assert bodies(read("\n".join([json.dumps(event)] * 2))) == [texts, texts]
    assert bodies(read(json.dumps(texts))) == [texts]


@given(text=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_input_gives_records_or_an_event_error(text):
    """No other exception is raised, and no event is without records."""
    try:
        events = read(text)
    except EventError:
        return
    assert events
    assert all(isinstance(record["body"], str) for event in events for record in event.records)
    assert all(event.records for event in events)
