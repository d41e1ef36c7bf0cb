"""Tick messages, and the event of the rule that watches breakers."""

import pytest

from fanfold._base.record import records_from_event
from fanfold._breakers.ticks import breaker_of_tick, is_of_queue, is_watch, tick_body, with_watch
from fanfold.testing import make_event


def test_a_tick_message_names_its_breaker():
    """Any other text names none."""
    assert breaker_of_tick(tick_body("payments")) == "payments"
    for body in ("", "[]", "{}", '{"fanfold": "breaker-tick", "breaker": 3}', '{"breaker": "payments"}', "[" * 100_000):
        assert breaker_of_tick(body) is None


@pytest.mark.parametrize("event", [None, [], {}, {"fanfold": "other"}, make_event({"order": 1})])
def test_only_the_event_of_the_rule_is_replaced(event):
    """Every other event reaches the consumer as it is."""
    assert with_watch(event) is event
    assert not is_watch([])


def test_the_event_of_the_rule_becomes_a_batch_that_no_queue_has():
    """The consumer then handles it like a tick."""
    records = records_from_event(with_watch({"fanfold": "breaker-watch"}))
    assert is_watch(records)
    assert not is_watch(records_from_event(make_event({"order": 1})))


def test_a_queue_is_found_by_its_account_and_name():
    """The host in its URL may be any, such as that of an endpoint in a network."""
    records = records_from_event(make_event({"order": 1}))
    account, name = records[0].queue_arn.split(":")[4:]
    assert is_of_queue(records, f"https://sqs.eu-west-1.amazonaws.com/{account}/{name}")
    assert not is_of_queue(records, f"https://sqs.eu-west-1.amazonaws.com/{account}/another")
    assert not is_of_queue(records, "")
    assert not is_of_queue([], "https://queue")
