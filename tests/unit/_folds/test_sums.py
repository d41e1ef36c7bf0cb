"""Exact sums, independent of the order."""

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
    total = Sum()
    for value in values:
        total.add(value, decimals=decimals)
    return total.value()


@given(st.lists(st.integers()))
def test_integers_keep_every_digit(values):
    """Sums of integers are exact at any size; the sum of no numbers is 0."""
    assert added(values) == sum(values)
    assert isinstance(added(values), int)


@given(st.lists(st.one_of(FINITE, st.integers(-(10**30), 10**30)), max_size=30), st.randoms(use_true_random=False))
def test_a_sum_of_floats_is_rounded_once(values, chance):
    """The sum is the float nearest to the exact sum, in any order."""
    exact = sum(map(Fraction, values), Fraction(0))
    shuffled = chance.sample(values, len(values))
    assert added(values) == added(shuffled) == (exact if exact.denominator == 1 and _whole(values) else float(exact))


def _whole(values) -> bool:
    return all(isinstance(value, int) for value in values)


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**60), max_value=10**60, places=12)))
def test_decimal_strings_are_added_exactly(values):
    """The sum is a string, so that it stays exact in JSON."""
    total = added([str(value) for value in values], decimals=True)
    assert Fraction(total) == sum(map(Fraction, values), Fraction(0))
    assert isinstance(total, str) is bool(values)


def test_decimals_and_other_numbers_add_up():
    """A single string makes the sum a string; every number is added exactly."""
    assert added(["0.10", 2, "0.20"], decimals=True) == "2.30"
    assert added(["1", 0.5], decimals=True) == "1.5"
    assert added(["1E+3"], decimals=True) == "1000"


@pytest.mark.parametrize("value", [None, True, "1", [], math.nan, math.inf])
def test_a_value_that_is_not_a_number_is_refused(value):
    """A string is refused unless decimals are enabled."""
    with pytest.raises(SegmentError, match="result 3 is not a finite number"):
        Sum().add(value, where="result 3")


@pytest.mark.parametrize("text", ["", "one", "NaN", "Infinity", "1e99999"])
def test_a_string_that_is_not_a_decimal_is_refused(text):
    """A decimal with an excessive exponent is refused too."""
    with pytest.raises(SegmentError, match="is not a finite number"):
        Sum().add(text, decimals=True)


def test_a_sum_that_cannot_be_represented_is_an_error():
    """A sum above the largest float, and a decimal with too many digits, are never rounded."""
    with pytest.raises(SegmentError, match="exceeds the largest float"):
        added([1.7e308, 1.7e308])
    with pytest.raises(SegmentError, match="exceeds the largest float"):
        added([10**400, 0.5])
    with pytest.raises(SegmentError, match="more than 2,000 digits"):
        added(["1e1500", "1e-1500"], decimals=True)


def test_a_partial_sum_above_the_largest_float_is_refused():
    """It is refused even if later numbers would reduce the sum again."""
    with pytest.raises(SegmentError, match="exceeds the largest float"):
        added([1.7e308, 1.7e308, -1.7e308])


def test_a_decimal_sum_is_a_decimal():
    """A decimal string of DynamoDB can be added up."""
    assert Decimal(added(["12.30", "-0.30"], decimals=True)) == Decimal("12.00")
