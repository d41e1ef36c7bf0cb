"""Durations and lists of numbers as texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._base.readable import duration_text, first_ranges_text, ranges_text
from fanfold.cli.arguments import segments_of


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.25, "250 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (7.24, "7.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (90, "1 min 30 s"),
        (3_599, "59 min 59 s"),
        (3_599.7, "1 h"),
        (7_500, "2 h 5 min"),
        (86_399, "1 d"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_has_one_or_two_units(seconds: float, text: str):
    """A value that is rounded up to the next unit is written in that unit."""
    assert duration_text(seconds) == text


@given(st.sets(st.integers(0, 200), min_size=1))
def test_ranges_are_read_as_the_same_segments(numbers: set[int]):
    """The option ``--only`` of a command accepts the text."""
    text = ranges_text(sorted(numbers), characters=10_000)
    assert text is not None
    assert segments_of(text) == numbers


@pytest.mark.parametrize(("numbers", "text"), [([], ""), ([3], "3"), ([3, 4, 5, 7, 9, 10], "3-5,7,9-10")])
def test_successive_numbers_are_a_range(numbers: list[int], text: str):
    """Single numbers stay single."""
    assert ranges_text(numbers, characters=100) == text


def test_a_list_that_is_too_long_is_cut_or_refused():
    """A command must not name a part of the segments only."""
    numbers = range(0, 1_000, 2)
    assert ranges_text(numbers, characters=100) is None
    assert first_ranges_text(numbers, characters=12) == "0, 2, 4, …"
    assert first_ranges_text([1, 2, 5], characters=12) == "1-2, 5"
