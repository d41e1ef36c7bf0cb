"""Tick messages, and the event of the rule that watches breakers."""

import pytest

from fanfold import Record
from fanfold._base.record import records_from_event
from fanfold._breakers.ticks import breaker_of_tick, is_of_queue, is_watch, tick_body, with_watch
from fanfold.testing import make_event, make_record

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/ticks"


def test_a_tick_message_names_its_breaker():
    """Its name may have any characters."""
    assert breaker_of_tick(tick_body('payments "é"')) == 'payments "é"'


@pytest.mark.parametrize(
    "body",
    ["", "no JSON", "[]", "null", "[" * 100_000, '{"breaker": "a"}', '{"fanfold": "breaker-tick", "breaker": 5}'],
)
def test_another_message_is_no_tick(body):
    """It names no breaker."""
    assert breaker_of_tick(body) is None


def test_the_event_of_the_rule_is_a_batch_that_stands_for_it():
    """Any other event is unchanged."""
    records = records_from_event(with_watch({"fanfold": "breaker-watch"}))
    assert is_watch(records)
    for event in (make_event(1), {}, None, [], {"fanfold": "other"}):
        assert with_watch(event) is event
    assert not is_watch([Record(make_record(1))])
    assert not is_watch([])


def test_a_batch_of_the_tick_queue_is_recognized_by_its_url():
    """By account and name."""
    ticks = Record(make_record(1, queue_arn="arn:aws:sqs:eu-west-1:123456789012:ticks"))
    other = Record(make_record(1, queue_arn="arn:aws:sqs:eu-west-1:123456789012:orders"))
    assert is_of_queue([ticks], URL)
    assert not is_of_queue([other], URL)
    assert not is_of_queue([ticks], "")
    assert not is_of_queue([], URL)
