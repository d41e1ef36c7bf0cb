"""How long messages stay invisible while a circuit is open."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold import Record
from fanfold._breakers.hold_times import (
    LEAST_SECONDS,
    MOST_SECONDS,
    UNKNOWN_RECEIVES,
    copy_seconds,
    hold_seconds,
    hold_seconds_alone,
    receives_left,
    tick_seconds,
)
from fanfold.testing import make_record

HOUR = 3_600.0
SQS_LIMIT = 43_200
draws = st.floats(0, 1, exclude_max=True)
times = st.floats(-1e6, 1e6)


def record(receive_count: int) -> Record:
    return Record(make_record("body", receive_count=receive_count))


@pytest.mark.parametrize(("receive_count", "left"), [(1, 4), (4, 1), (5, 0), (9, 0)])
def test_receives_left_after_a_delivery(receive_count, left):
    """None are left at the last receive, and beyond it if the maximum was lowered."""
    assert receives_left(record(receive_count), 5) == left


def test_receives_left_are_a_guess_without_a_maximum():
    """The queue's redrive policy is not known."""
    assert receives_left(record(9), None) == UNKNOWN_RECEIVES


@given(st.integers(0, 20), times, draws)
def test_a_message_stays_invisible_from_thirty_seconds_to_what_sqs_accepts(left, rest, draw):
    """SQS refuses a visibility timeout that ends more than 12 hours after the receive."""
    assert LEAST_SECONDS <= math.ceil(hold_seconds(left, rest, draw)) <= SQS_LIMIT - 900


@given(st.integers(0, 20), times, st.floats(0, 1e6))
def test_without_a_table_the_limits_are_the_same(left, rest, age):
    """Also for an outage that lasts for days."""
    assert LEAST_SECONDS <= math.ceil(hold_seconds_alone(left, rest, age)) <= SQS_LIMIT - 900


@given(st.floats(0, 1e6))
def test_a_copy_is_delayed_from_thirty_seconds_to_what_sqs_accepts(age):
    """SQS accepts up to 900 seconds."""
    assert LEAST_SECONDS <= copy_seconds(age) <= 900


def test_a_copy_is_delayed_for_a_quarter_of_the_outage():
    """It cannot be made visible earlier."""
    assert [copy_seconds(age) for age in (0, 120, 1_000, 3_600, 9_000)] == [30, 30, 250, 900, 900]


def test_the_last_spare_receive_is_used_at_the_end_of_the_budget():
    """The random number has no effect."""
    assert {hold_seconds(1, 2 * HOUR, draw) for draw in (0.0, 0.5, 0.99)} == {2 * HOUR}
    assert hold_seconds(0, 2 * HOUR, 0.5) == 2 * HOUR
    assert hold_seconds(1, 24 * HOUR, 0.5) == MOST_SECONDS
    assert hold_seconds(1, -5, 0.5) == LEAST_SECONDS


def test_the_logarithm_of_the_time_is_uniform():
    """On every time scale, some messages are redelivered, and find out whether the service is back."""
    assert hold_seconds(2, 3_000, 0) == pytest.approx(30)
    assert hold_seconds(2, 3_000, 0.5) == pytest.approx(300)
    assert hold_seconds(2, 3_000, 0.999_999) == pytest.approx(3_000, rel=1e-4)
    drawn = random.Random(1)
    logs = sorted(math.log10(hold_seconds(4, 3_000, drawn.random()) / 30) for _ in range(2_000))
    assert [round(logs[index], 1) for index in (200, 1_000, 1_800)] == [0.2, 1.0, 1.8]


def test_what_the_other_receives_cannot_cover_is_the_shortest_time():
    """With two receives left of a budget of 20 hours, the first time is at least 8 hours: the second is 12 hours."""
    assert hold_seconds(2, 20 * HOUR, 0.0) == pytest.approx(8 * HOUR)
    assert hold_seconds(3, 20 * HOUR, 0.0) == LEAST_SECONDS
    assert hold_seconds(2, 40 * HOUR, 0.7) == MOST_SECONDS  # the budget is longer than the receives can cover


def test_a_used_up_budget_leaves_the_shortest_time():
    """The messages are tried again soon, until their receives are used up."""
    assert hold_seconds(3, 0, 0.9) == hold_seconds(3, -100, 0.0) == LEAST_SECONDS


@given(st.integers(2, 12), st.floats(30, 12 * HOUR), draws)
def test_the_receives_that_are_left_outlast_the_budget(left, rest, draw):
    """If a message with two or more receives left is invisible for a time, the rest of the budget can be covered."""
    seconds = hold_seconds(left, rest, draw)
    assert rest - seconds <= SQS_LIMIT * (left - 1) + 1e-6


def test_without_a_table_the_ages_at_which_messages_return_are_a_geometric_series():
    """From 30 seconds to the budget; the execution environment that could release the messages may be gone."""
    ages = [0.0]
    for left in (4, 3, 2, 1):
        ages.append(ages[-1] + hold_seconds_alone(left, 480 - ages[-1], ages[-1]))
    assert ages == pytest.approx([0, 30, 75.6, 190.5, 480], rel=0.001)


def test_with_a_tick_messages_are_held_for_longer():
    """They need not return early to find out whether the service is back: at least a tenth of what remains."""
    assert hold_seconds(3, 6_000, 0.0, has_tick=True) == 600
    assert hold_seconds(3, 6_000, 0.0) == LEAST_SECONDS
    assert hold_seconds(3, 60, 0.0, has_tick=True) == LEAST_SECONDS
    assert hold_seconds(1, 6_000, 0.0, has_tick=True) == 6_000


@given(st.integers(1, 500), st.floats(60, 12 * HOUR), st.floats(30, 1e5))
def test_the_probes_of_a_tick_last_for_the_budget(messages, budget, age):
    """From the second hour on, as many as there are messages that can be probes."""
    age += HOUR
    last = max(age, budget)
    for left in range(messages, 0, -1):
        age += tick_seconds(left, budget, age)
    assert age == pytest.approx(last)


def test_in_the_first_hour_a_tick_probes_at_least_after_each_tenth_of_the_outage():
    """Even if the receives will not last for the budget then."""
    assert tick_seconds(1, 12 * HOUR, 900) == pytest.approx(90)
    assert tick_seconds(1, 12 * HOUR, HOUR) == pytest.approx(11 * HOUR)
    assert tick_seconds(1_000, 12 * HOUR, 900) < 90


def test_a_tick_without_messages_has_no_interval():
    """Then only a probe function can find out whether the service is back."""
    assert tick_seconds(0, 1_000, 10) == 0
    assert tick_seconds(5, 1_000, 2_000) == 0
