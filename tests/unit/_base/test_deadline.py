"""The moments at which an invocation stops starting records and responds."""

import math

import pytest

from fanfold._base.deadline import Deadline
from fanfold.testing import ManualClock


@pytest.mark.parametrize(
    ("seconds", "requested", "margin"),
    [
        *[(900.0, None, 45.0), (60.0, None, 3.0), (20.0, None, 1.0), (10.0, None, 1.0), (2.0, None, 1.0)],
        *[(1.0, None, 0.5), (0.0, None, 0.0), (60.0, 10.0, 10.0), (60.0, 0.0, 0.0), (60.0, 50.0, 30.0)],
        (0.0, 5.0, 0.0),
    ],
)
def test_the_margin_is_five_percent_at_least_a_second_and_at_most_half(seconds, requested, margin):
    """The default margin is 5 % of the time left, but at least 1 second, and at most half the time left.

    A margin that is set is at most half the time left, too.
    """
    assert Deadline.after(seconds, margin=requested, clock=ManualClock()).margin == margin


def test_an_invocation_that_is_over_has_no_time_left():
    """A negative time left counts as 0: the deadline is now."""
    deadline = Deadline.after(-5.0, clock=ManualClock(100.0))
    assert (deadline.ends_at, deadline.stops_at, deadline.remaining()) == (100.0, 100.0, 0.0)


def test_the_margin_is_divided_into_four_moments():
    """Records stop starting a margin before the timeout; 1/2, 1/4, and 3/16 of it are left at the next moments."""
    deadline = Deadline.after(100.0, margin=8.0, clock=ManualClock(1000.0))
    assert deadline.stops_at == 1092.0
    assert deadline.cancels_at == 1096.0
    assert deadline.responds_at == 1098.0
    assert deadline.responds_without_loop_at == 1098.5
    assert deadline.ends_at == 1100.0


def test_the_time_left_shrinks_with_the_clock_to_zero():
    """The seconds left follow the clock and never fall below 0."""
    clock = ManualClock()
    deadline = Deadline.after(10.0, clock=clock)
    assert deadline.remaining() == 10.0
    clock.advance(4.0)
    assert deadline.remaining() == 6.0
    clock.advance(100.0)
    assert deadline.remaining() == 0.0


def test_the_seconds_until_a_moment_are_never_negative():
    """A moment in the past is 0 seconds away."""
    clock = ManualClock()
    deadline = Deadline.after(100.0, margin=8.0, clock=clock)
    assert deadline.until(deadline.stops_at) == 92.0
    clock.advance(95.0)
    assert deadline.until(deadline.stops_at) == 0.0
    assert deadline.until(deadline.cancels_at) == 1.0


def test_without_a_deadline_the_time_left_is_infinite():
    """The moments of such a deadline are never reached."""
    deadline = Deadline.never()
    assert deadline.remaining() == math.inf
    moments = [deadline.stops_at, deadline.cancels_at, deadline.responds_at, deadline.responds_without_loop_at]
    assert [deadline.until(moment) for moment in moments] == [None, None, None, None]


def test_a_deadline_without_a_margin_lets_records_start_until_the_end():
    """The constructor of a deadline sets no margin by default."""
    deadline = Deadline(50.0, clock=ManualClock())
    assert deadline.stops_at == deadline.responds_without_loop_at == deadline.ends_at == 50.0
