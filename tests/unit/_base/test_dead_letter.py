"""The reason of a dead letter."""

import json

import pytest

from fanfold import Record
from fanfold._base.dead_letter import ATTRIBUTE, REASON_CHARACTERS, reason_attribute, reason_in
from fanfold.testing import make_record


def dead_letter(value: str | None) -> Record:
    attribute = {"dataType": "String"} if value is None else {"dataType": "String", "stringValue": value}
    return Record(make_record("body", message_attributes={ATTRIBUTE: attribute}))


def test_a_reason_includes_the_id_queue_and_receive_count_of_the_message():
    """SQS does not keep them when a message is sent to another queue."""
    record = Record(make_record("body", message_id="m", receive_count=3))
    assert json.loads(reason_attribute(record, "no such customer")) == {
        "reason": "no such customer",
        "message_id": "m",
        "queue": "arn:aws:sqs:eu-west-1:123456789012:orders",
        "receive_count": 3,
    }


def test_attributes_beyond_the_limit_are_kept_with_the_reason():
    """A message may have ten attributes, and the reason is one of them."""
    extra = {"tenth": {"dataType": "String", "stringValue": "ü"}}
    assert json.loads(reason_attribute(Record(make_record()), "why", extra))["attributes"] == extra


def test_without_attributes_there_is_no_attributes_key():
    """An empty mapping adds no key either."""
    assert "attributes" not in json.loads(reason_attribute(Record(make_record()), "why", {}))


def test_a_reason_is_read_back_as_it_was_written():
    """A reason may contain any characters."""
    reason = 'naïve 日本語 🜁 "quoted"\n\\'
    assert reason_in(dead_letter(reason_attribute(Record(make_record()), reason))) == reason


def test_a_long_reason_is_truncated():
    """The attribute counts towards the size of the message."""
    text = reason_attribute(Record(make_record()), "x" * 1_000_000)
    assert len(text) < REASON_CHARACTERS + 200
    assert reason_in(dead_letter(text)) == "x" * 2_000


def test_a_reason_is_plain_ascii_on_the_wire():
    """SQS accepts every character of the encoded reason."""
    assert reason_attribute(Record(make_record()), "\x00\x1f\ud800 ü").isascii()


def test_a_dead_letter_that_sqs_moved_has_no_reason():
    """The redrive policy of SQS adds no attribute."""
    assert reason_in(Record(make_record("body"))) is None


@pytest.mark.parametrize(
    "value", [None, "", "{", "[" * 100_000, "[]", '"text"', "null", "{}", '{"reason": 5}', '{"reason": null}']
)
def test_an_attribute_in_another_format_is_ignored(value: str | None):
    """Another program may set an attribute of that name."""
    assert reason_in(dead_letter(value)) is None
