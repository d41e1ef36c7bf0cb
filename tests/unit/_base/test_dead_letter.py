"""The reason a dead letter carries."""

import json

import pytest

from fanfold import Record
from fanfold._base.dead_letter import ATTRIBUTE, REASON_CHARACTERS, reason_attribute, reason_in
from fanfold.testing import make_record


def dead_letter(value: str | None) -> Record:
    attribute = {"dataType": "String"} if value is None else {"dataType": "String", "stringValue": value}
    return Record(make_record("body", message_attributes={ATTRIBUTE: attribute}))


def test_a_reason_comes_with_the_message_it_is_of():
    """Its id, its queue and how often it was delivered are lost otherwise."""
    record = Record(make_record("body", message_id="m", receive_count=3))
    assert json.loads(reason_attribute(record, "no such customer")) == {
        "reason": "no such customer",
        "message_id": "m",
        "queue": "arn:aws:sqs:eu-west-1:123456789012:orders",
        "receive_count": 3,
    }


def test_attributes_that_found_no_place_are_kept_with_the_reason():
    """A message may have ten, and the reason is one of them."""
    extra = {"tenth": {"dataType": "String", "stringValue": "ü"}}
    assert json.loads(reason_attribute(Record(make_record()), "why", extra))["attributes"] == extra


def test_no_attributes_leave_no_trace():
    """Neither none nor an empty mapping."""
    assert "attributes" not in json.loads(reason_attribute(Record(make_record()), "why", {}))


def test_a_reason_is_read_back_as_it_was_written():
    """Whatever characters it holds."""
    reason = 'naïve 日本語 🜁 "quoted"\n\\'
    assert reason_in(dead_letter(reason_attribute(Record(make_record()), reason))) == reason


def test_a_long_reason_is_cut():
    """The attribute counts towards the size of the message."""
    text = reason_attribute(Record(make_record()), "x" * 1_000_000)
    assert len(text) < REASON_CHARACTERS + 200
    assert reason_in(dead_letter(text)) == "x" * 2_000


def test_a_reason_is_plain_ascii_on_the_wire():
    """Every character of it is one that SQS takes."""
    assert reason_attribute(Record(make_record()), "\x00\x1f\ud800 ü").isascii()


def test_a_dead_letter_that_the_queue_itself_moved_has_no_reason():
    """SQS's own redrive gives none."""
    assert reason_in(Record(make_record("body"))) is None


@pytest.mark.parametrize(
    "value", [None, "", "{", "[" * 100_000, "[]", '"text"', "null", "{}", '{"reason": 5}', '{"reason": null}']
)
def test_what_is_no_reason_of_ours_is_none(value: str | None):
    """An attribute of that name may be anyone's."""
    assert reason_in(dead_letter(value)) is None
