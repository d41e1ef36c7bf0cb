"""The size of an item, in storage and on the wire."""

import json
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import Binary
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.aws.attribute_values import ToPlain, ToTyped
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
    """Return a value as the SDK sends it, with binaries replaced by text of the length of their base64."""

    def text_of(binary: Any) -> str:
        raw = binary.value if isinstance(binary, Binary) else binary
        return "x" * (-(-len(raw) // 3) * 4)

    return json.dumps(ToTyped().serialize(value), default=text_of, separators=(",", ":"))


@given(value=VALUES)
@settings(max_examples=300)
def test_an_item_is_never_larger_on_the_wire_than_its_computed_size(value):
    """The SDK's encoding of any supported value is at most as long as the computed size."""
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
def test_the_stored_size_follows_the_developer_guide(value, stored):
    """Strings count their UTF-8 bytes, numbers two digits per byte, containers three bytes and one per element."""
    assert size_of(value).stored_bytes == stored


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "DynamoDB cannot represent the float 1.5 exactly: use decimal.Decimal"),
        ({"a": [1.5]}, "cannot represent the float 1.5"),
        (object(), "DynamoDB does not support values of type object"),
        (Decimal("NaN"), "DynamoDB stores only finite numbers, not NaN"),
        (Decimal("Infinity"), "DynamoDB stores only finite numbers, not Infinity"),
        (10**38 + 1, "DynamoDB stores numbers of at most 38 digits, from .* of 39 digits"),
        (Decimal("1E+126"), r"not 1.000E\+126 of 1 digits"),
        (Decimal("9.9E-131"), "from 1E-130 .* not 9.900E-131"),
        ({"a": {"b": [0, 1.5]}}, r"attribute 'a'\['b'\]\[1\]: DynamoDB cannot represent the float 1.5"),
        ({"a": "\ud83d"}, r"attribute 'a': '\\ud83d' has half of a surrogate pair"),
        ({"\ud83d": 1}, r"an attribute name: '\\ud83d' has half of a surrogate pair"),
        (set(), "a set must not be empty"),
        ({1, "1"}, "must contain only strings, only numbers, or only bytes"),
        ({True, 2}, "must contain only strings, only numbers, or only bytes"),
        ({1: "a"}, "an attribute name must be a string, not 1"),
    ],
)
def test_an_unsupported_value_is_refused(value, message):
    """The error names the value at any depth of the item."""
    with pytest.raises(TypeError, match=message):
        size_of(value)


EXTREMES = [
    0,
    Decimal("0E+999"),
    10**38 - 1,
    10**125,
    Decimal("9.9E+125"),
    Decimal("-1E-130"),
    Decimal("1." + "0" * 60),
]


@pytest.mark.parametrize("number", EXTREMES, ids=repr)
def test_the_extreme_numbers_are_supported_and_exact(number):
    """The longest, the largest, and the smallest numbers are accepted and read as they were written."""
    assert size_of(number).stored_bytes > 0
    typed = ToTyped().serialize(number)
    assert ToPlain().deserialize(typed) == number
    assert len(Decimal(typed["N"]).as_tuple().digits) <= 38


DIGITS = st.from_regex(r"\A-?[1-9][0-9]{0,37}\Z")


@given(digits=DIGITS, exponent=st.integers(-170, 130), zeros=st.integers(0, 60))
@settings(max_examples=300)
def test_every_number_in_the_range_is_exact_and_any_other_is_refused(digits, exponent, zeros):
    """Trailing zeros are not significant."""
    number = Decimal(f"{digits}{'0' * zeros}E{exponent - zeros}")
    if not -130 <= number.adjusted() <= 125:
        with pytest.raises(TypeError, match="from 1E-130 to"):
            ToTyped().serialize(number)
        return
    typed = ToTyped().serialize({"a": [number], "b": {number}})
    assert ToPlain().deserialize(typed) == {"a": [number], "b": {number}}
    assert size_of(number).sent_bytes >= len(json.dumps(ToTyped().serialize(number), separators=(",", ":")))
