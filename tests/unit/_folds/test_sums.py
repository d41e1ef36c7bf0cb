"""Sums that lose nothing, whatever the order."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._folds.sums import Sum
from fanfold.errors import SegmentError

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


def added(values, *, decimals: bool = False):
    found = Sum()
    for value in values:
        found.add(value, decimals=decimals)
    return found.value()


@given(st.lists(st.integers()))
def test_whole_numbers_keep_every_digit(values):
    """However large they are; of none it is 0."""
    assert added(values) == sum(values)
    assert isinstance(added(values), int)


@given(st.lists(st.one_of(FINITE, st.integers(-(10**30), 10**30)), max_size=30), st.randoms(use_true_random=False))
def test_numbers_with_a_fraction_are_rounded_once(values, chance):
    """The sum is the number nearest to the exact one, in any order."""
    exact = sum(map(Fraction, values), Fraction(0))
    shuffled = chance.sample(values, len(values))
    assert added(values) == added(shuffled) == (exact if exact.denominator == 1 and _whole(values) else float(exact))


def _whole(values) -> bool:
    return all(isinstance(value, int) for value in values)


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**60), max_value=10**60, places=12)))
def test_decimals_written_as_text_are_added_exactly(values):
    """And the sum is a text, so that it stays exact in JSON."""
    found = added([str(value) for value in values], decimals=True)
    assert Fraction(found) == sum(map(Fraction, values), Fraction(0))
    assert isinstance(found, str) is bool(values)


def test_decimals_and_other_numbers_add_up():
    """One text among them makes the sum one; every part counts with what it exactly is."""
    assert added(["0.10", 2, "0.20"], decimals=True) == "2.30"
    assert added(["1", 0.5], decimals=True) == "1.5"
    assert added(["1E+3"], decimals=True) == "1000"


@pytest.mark.parametrize("value", [None, True, "1", [], math.nan, math.inf])
def test_what_is_no_number_is_named(value):
    """A text is none, unless decimals are asked for."""
    with pytest.raises(SegmentError, match="result 3 is no number that can be added up"):
        Sum().add(value, where="result 3")


@pytest.mark.parametrize("text", ["", "one", "NaN", "Infinity", "1e99999"])
def test_a_text_that_is_no_decimal_is_named(text):
    """Nor is one with more digits than anybody means."""
    with pytest.raises(SegmentError, match="no number that can be added up"):
        Sum().add(text, decimals=True)


def test_what_cannot_be_held_is_an_error_and_never_rounded():
    """A sum over the largest number with a fraction, and a decimal of too many digits."""
    with pytest.raises(SegmentError, match="larger than"):
        added([1.7e308, 1.7e308])
    with pytest.raises(SegmentError, match="larger than"):
        added([10**400, 0.5])
    with pytest.raises(SegmentError, match="more than 2,000 digits"):
        added(["1e1500", "1e-1500"], decimals=True)


def test_a_sum_that_passes_the_largest_number_on_its_way_is_refused():
    """Rather than wrong: what is added later might bring it back."""
    with pytest.raises(SegmentError, match="larger than"):
        added([1.7e308, 1.7e308, -1.7e308])


def test_a_decimal_sum_is_a_decimal():
    """As DynamoDB wrote it."""
    assert Decimal(added(["12.30", "-0.30"], decimals=True)) == Decimal("12.00")
