"""How large an item is."""

import json
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import Binary, TypeSerializer
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.sinks.item_sizes import size_of

NUMBERS = st.integers(-(10**38) + 1, 10**38 - 1) | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=5
)
SCALARS = st.none() | st.booleans() | st.text(st.characters(exclude_categories=["Cs"])) | NUMBERS | st.binary()
SETS = (
    st.sets(NUMBERS, min_size=1, max_size=4)
    | st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4)
    | st.sets(st.binary(min_size=1), min_size=1, max_size=4)
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    SCALARS | SETS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4)
)


def as_sent(value: Any) -> str:
    """The value as the SDK sends it, but for binary values, which it sends in base64."""

    def text_of(binary: Any) -> str:
        raw = binary.value if isinstance(binary, Binary) else binary
        return "x" * (-(-len(raw) // 3) * 4)

    return json.dumps(TypeSerializer().serialize(value), default=text_of, separators=(",", ":"))


@given(value=VALUES)
@settings(max_examples=300)
def test_an_item_is_never_larger_on_the_wire_than_was_said(value):
    """What the SDK makes of any value it takes is no longer than its size says."""
    assert len(as_sent(value)) <= size_of(value).sent_bytes


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("", 0),
        ("日本", 6),
        (None, 1),
        (True, 1),
        (b"1234", 4),
        (bytearray(b"1234"), 4),
        (7, 3),
        (12345, 5),
        (Decimal("-12.5"), 4),
        ([], 3),
        (["a", "b"], 7),
        (("a",), 5),
        ({}, 3),
        ({"name": "日"}, 11),
        ({"a", "b"}, 5),
        (frozenset({1}), 6),
    ],
)
def test_an_item_is_as_large_as_the_developer_guide_counts(value, stored):
    """Texts by their UTF-8, numbers by two digits a byte, and what holds others by three bytes and one for each."""
    assert size_of(value).stored_bytes == stored


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1.5, "1.5 is a float, which DynamoDB does not keep exactly: use decimal.Decimal"),
        ({"a": [1.5]}, "1.5 is a float"),
        (object(), "a value of type object, which DynamoDB has none for"),
        (Decimal("NaN"), "NaN is no number that DynamoDB knows"),
        (Decimal("Infinity"), "Infinity is no number"),
        (10**38, "of 39 digits: DynamoDB keeps 38 digits"),
        (Decimal("1E+126"), r"the number 1.000E\+126, of 1 digits"),
        (Decimal("1E-129"), "the number 1.000E-129"),
        (set(), "a set that is empty"),
        ({1, "1"}, "not of texts alone"),
        ({True, 2}, "not of texts alone"),
        ({1: "a"}, "1 as a name, which has to be a text"),
    ],
)
def test_what_no_table_takes_is_refused(value, told):
    """A value that DynamoDB has no type for is named, wherever in the item it is."""
    with pytest.raises(TypeError, match=told):
        size_of(value)


@pytest.mark.parametrize("number", [0, Decimal("0E+999"), 10**38 - 1, Decimal("9.9E+125"), Decimal("1E-128")], ids=repr)
def test_the_numbers_at_the_edges_are_taken(number):
    """What is as long, as large and as small as can be is taken, by the SDK too."""
    assert size_of(number).stored_bytes > 0
    assert TypeSerializer().serialize(number or 0)
