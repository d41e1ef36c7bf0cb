"""When an invocation has to stop, and when it has to answer."""

import math

import pytest

from fanfold._base.deadline import Deadline
from fanfold.testing import ManualClock


@pytest.mark.parametrize(
    ("seconds", "wanted", "margin"),
    [
        *[(900.0, None, 45.0), (60.0, None, 3.0), (20.0, None, 1.0), (10.0, None, 1.0), (2.0, None, 1.0)],
        *[(1.0, None, 0.5), (0.0, None, 0.0), (60.0, 10.0, 10.0), (60.0, 0.0, 0.0), (60.0, 50.0, 30.0)],
        (0.0, 5.0, 0.0),
    ],
)
def test_the_margin_is_five_percent_at_least_a_second_and_at_most_half(seconds, wanted, margin):
    """Without a margin set, 5 % of the time left is kept, 1 second if that is more, half the time if that is less.

    A margin that was set is kept, but never leaves less than half the time for work.
    """
    assert Deadline.after(seconds, margin=wanted, clock=ManualClock()).margin == margin


def test_an_invocation_that_is_over_has_no_time_left():
    """Less than no time left is none: the deadline is now."""
    deadline = Deadline.after(-5.0, clock=ManualClock(100.0))
    assert (deadline.ends_at, deadline.stops_at, deadline.remaining()) == (100.0, 100.0, 0.0)


def test_the_margin_is_divided_into_four_moments():
    """Starting ends a whole margin before the end; cancelling a half, answering a quarter, giving up an eighth."""
    deadline = Deadline.after(100.0, margin=8.0, clock=ManualClock(1000.0))
    assert deadline.stops_at == 1092.0
    assert deadline.cancels_at == 1096.0
    assert deadline.responds_at == 1098.0
    assert deadline.responds_without_loop_at == 1098.5
    assert deadline.ends_at == 1100.0


def test_what_remains_shrinks_with_the_clock_to_nothing():
    """The seconds left follow the clock and never fall below 0."""
    clock = ManualClock()
    deadline = Deadline.after(10.0, clock=clock)
    assert deadline.remaining() == 10.0
    clock.advance(4.0)
    assert deadline.remaining() == 6.0
    clock.advance(100.0)
    assert deadline.remaining() == 0.0


def test_the_seconds_until_a_moment_are_never_below_nothing():
    """A moment that is past is 0 seconds away."""
    clock = ManualClock()
    deadline = Deadline.after(100.0, margin=8.0, clock=clock)
    assert deadline.until(deadline.stops_at) == 92.0
    clock.advance(95.0)
    assert deadline.until(deadline.stops_at) == 0.0
    assert deadline.until(deadline.cancels_at) == 1.0


def test_a_deadline_that_never_comes_is_never_near():
    """Without a deadline the time left is infinite and no moment of it comes."""
    deadline = Deadline.never()
    assert deadline.remaining() == math.inf
    moments = [deadline.stops_at, deadline.cancels_at, deadline.responds_at, deadline.responds_without_loop_at]
    assert [deadline.until(moment) for moment in moments] == [None, None, None, None]


def test_a_deadline_without_a_margin_lets_records_start_until_the_end():
    """A deadline made by hand keeps no margin unless told to."""
    deadline = Deadline(50.0, clock=ManualClock())
    assert deadline.stops_at == deadline.responds_without_loop_at == deadline.ends_at == 50.0
