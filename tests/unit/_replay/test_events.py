"""Reading saved events in every form people have them."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._replay.events import read_events
from fanfold.errors import ConfigurationError, EventError
from fanfold.testing import make_event, make_fifo_record, make_record


def read(text: str | bytes):
    data = text if isinstance(text, bytes) else text.encode()
    return read_events(["-"], stdin=io.BytesIO(data))


def bodies(events):
    return [[record["body"] for record in event.records] for event in events]


def test_a_lambda_event_is_read_as_it_is():
    """Every field of its records is kept."""
    event = {"Records": [make_fifo_record({"n": 1}, group="g", message_id="a", receive_count=3)]}
    (saved,) = read(json.dumps(event))
    assert list(saved.records) == event["Records"]


def test_what_is_missing_in_a_record_is_filled_in():
    """So that a shortened event can be replayed too."""
    (saved,) = read('{"Records": [{"body": "x"}]}')
    (record,) = saved.records
    assert (record["body"], record["eventSource"], record["messageAttributes"]) == ("x", "aws:sqs", {})
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageId"] == read('{"Records": [{"body": "x"}]}')[0].records[0]["messageId"]


def test_the_output_of_receive_message_is_read():
    """Its names begin with capitals; its attributes become those of an event."""
    attributes = {"colour": {"StringValue": "blue", "DataType": "String"}}
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
        assert record["messageAttributes"] == {"colour": {"stringValue": "blue", "dataType": "String"}}


def test_an_array_holds_events_records_or_bodies():
    """Told by its items."""
    assert bodies(read(json.dumps([make_event(1), make_event(2, 3)]))) == [["1"], ["2", "3"]]
    assert bodies(read(json.dumps([make_record("a"), make_record("b")]))) == [["a", "b"]]
    assert bodies(read('[{"n": 1}, "text", 3]')) == [['{"n": 1}', "text", "3"]]


def test_lines_hold_events_or_the_bodies_of_one():
    """Blank lines and a byte order mark are no trouble."""
    assert bodies(read('\ufeff{"n": 1}\r\n\r\n{"n": 2}\n')) == [['{"n": 1}', '{"n": 2}']]
    lines = "\n".join(json.dumps(make_event(number)) for number in (1, 2))
    events = read(lines)
    assert bodies(events) == [["1"], ["2"]]
    assert events[1].name == "standard input:2"


def test_one_value_that_is_no_event_is_one_body():
    """Such as what a producer sends."""
    assert bodies(read('{"order": 7}')) == [['{"order": 7}']]


def test_a_folder_gives_its_files_in_the_order_of_their_names(tmp_path):
    """Other files in it are left alone."""
    for name, number in (("b.json", 2), ("a.jsonl", 1), ("notes.txt", 3)):
        (tmp_path / name).write_text(json.dumps(make_event(number)), encoding="utf-8")
    assert bodies(read_events([str(tmp_path)])) == [["1"], ["2"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("  \n ", "is empty"),
        ("{", "is not JSON"),
        ('{"n": 1}\n{', "line 2"),
        (b"\xff\xfe{", "not UTF-8"),
        ("[]", "empty array"),
        ('{"Records": []}', "'Records' is empty"),
        ('{"Records": {}}', "'Records' is no array"),
        ('{"Messages": []}', "'Messages' is empty"),
        ('{"Records": [3]}', "record 0 is no object but int"),
        ('{"Records": [{"body": "a"}, {}]}', "record 1 has no body"),
        ('{"Records": [{"body": {"n": 1}}]}', "is no text but dict"),
        ('{"Records": [{"eventSource": "aws:s3", "s3": {}}]}', "comes from 'aws:s3'"),
        ('{"Records": [{"EventSource": "aws:sns", "Sns": {}}]}', "comes from 'aws:sns'"),
    ],
)
def test_what_is_no_event_is_refused_in_one_clear_line(text, words):
    """With the place and the fault."""
    with pytest.raises(EventError, match=words) as error:
        read(text)
    assert "standard input" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_source_that_is_not_there_is_named(tmp_path):
    """A file, and a folder without events."""
    with pytest.raises(ConfigurationError, match="there is no file"):
        read_events([str(tmp_path / "missing.json")])
    with pytest.raises(ConfigurationError, match="holds no"):
        read_events([str(tmp_path)])


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(given=st.lists(TEXTS, min_size=1, max_size=5))
def test_every_body_survives_saving_and_reading(given):
    """As an event, as lines of events, and as an array of texts."""
    event = make_event(*given)
    assert bodies(read(json.dumps(event))) == [given]
    assert bodies(read(json.dumps(event, ensure_ascii=False))) == [given]
    assert bodies(read("\n".join([json.dumps(event)] * 2))) == [given, given]
    assert bodies(read(json.dumps(given))) == [given]


@given(text=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_read_gives_records_or_a_clear_error(text):
    """Never another exception, and never an event without records."""
    try:
        events = read(text)
    except EventError:
        return
    assert events
    assert all(isinstance(record["body"], str) for event in events for record in event.records)
    assert all(event.records for event in events)
