"""A copy of a message that replaces it in its queue."""

from typing import Any

import pytest

from fanfold import Record
from fanfold._base.dead_letter import DELIVERIES_ATTRIBUTE
from fanfold._base.message_copy import FIRST_SENT_ATTRIBUTE, attributes_of_copy, first_sent, may_be_copied
from fanfold.testing import make_fifo_record, make_record

SENT = 1_767_225_600.5
SENT_TEXT = "1767225600500"


def text(value: str) -> dict[str, Any]:
    return {"stringValue": value, "dataType": "String"}


def record(sent: Any = SENT_TEXT, receive_count: int = 5, **attributes: str) -> Record:
    raw = make_record("body", receive_count=receive_count, attributes={"SentTimestamp": sent})
    return Record(
        {**raw, "messageAttributes": {name.replace("_", "-"): text(value) for name, value in attributes.items()}}
    )


def test_a_message_was_first_sent_when_sqs_received_it():
    """In seconds since 1970."""
    assert first_sent(record()) == SENT


def test_a_copy_was_first_sent_when_the_first_message_was():
    """Copies of copies would go on for ever."""
    assert first_sent(record(fanfold_first_sent="1767000000000")) == 1_767_000_000


@pytest.mark.parametrize("sent", ["", "soon", None, 5, "-5"])
def test_a_time_that_is_not_known_allows_no_copy(sent):
    """It is not limited by the budget."""
    assert first_sent(record(sent)) is None
    assert not may_be_copied(record(sent), SENT, 1e9)


def test_a_message_may_be_copied_until_the_budget_ends():
    """Seconds after the first sending."""
    assert may_be_copied(record(), SENT + 99, 100)
    assert not may_be_copied(record(), SENT + 100, 100)
    assert not may_be_copied(record(fanfold_first_sent="1767000000000"), SENT, 1_000)


def test_a_copy_needs_room_for_two_attributes():
    """SQS accepts ten; those of an earlier copy are replaced."""
    eight = {f"a{number}": "x" for number in range(8)}
    assert may_be_copied(record(**eight), SENT, 100)
    assert not may_be_copied(record(**eight, one_more="x"), SENT, 100)
    added = {
        FIRST_SENT_ATTRIBUTE.replace("-", "_"): SENT_TEXT,
        DELIVERIES_ATTRIBUTE.replace("-", "_"): "5",
    }
    assert may_be_copied(record(**eight, **added), SENT, 100)


def test_a_message_of_a_fifo_queue_is_not_copied():
    """Its group would lose its order."""
    assert not may_be_copied(Record(make_fifo_record("body", group="a")), 0, 1e12)


def test_a_copy_has_the_attributes_of_the_message_and_two_more():
    """The deliveries so far, and the time of the first sending."""
    copy = attributes_of_copy(record(kind="order"))
    assert copy == {
        "kind": text("order"),
        DELIVERIES_ATTRIBUTE: text("5"),
        FIRST_SENT_ATTRIBUTE: text(SENT_TEXT),
    }


def test_a_copy_of_a_copy_adds_its_deliveries_and_keeps_the_first_time():
    """Five receives before, and five of this one."""
    first = record(receive_count=5)
    copied = Record({**record("1767226500500").raw, "messageAttributes": attributes_of_copy(first)})
    second = attributes_of_copy(copied)
    assert second[FIRST_SENT_ATTRIBUTE] == text(SENT_TEXT)
    assert second[DELIVERIES_ATTRIBUTE] == text("10")
    assert len(second) == 2
