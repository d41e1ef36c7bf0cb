"""Positions that a commit stage, a settler or a table returned."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._base.positions import checked_positions

ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers(-3, 8)
    | st.floats()
    | st.text(max_size=2)
    | st.binary(max_size=2)
    | st.just({})
)


@given(st.lists(ANYTHING, max_size=6), st.integers(0, 6), st.sampled_from([list, tuple, iter]))
def test_positions_are_used_only_if_every_one_is_an_integer_in_range(values: list[Any], count: int, kind):
    """Booleans, floats, texts and negative numbers mean nothing; one of them makes the whole collection invalid."""
    valid = all(type(value) is int and 0 <= value < count for value in values)
    if valid:
        assert checked_positions(kind(values), count) == set(values)
    else:
        with pytest.raises(ValueError, match="positions must be"):
            checked_positions(kind(values), count)


@pytest.mark.parametrize("value", [None, 1, True, "01", b"01", object()])
def test_a_value_that_is_not_a_collection_is_invalid(value: object):
    """A text is not a collection of positions either."""
    with pytest.raises(ValueError, match="positions must be a collection of integers"):
        checked_positions(value, 2)
