"""Event filters of an SQS mapping: the rules that AWS documents, on bodies as values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._replay.filters import matches_any, parse_pattern, parse_patterns
from fanfold.errors import ConfigurationError

ORDER = {"city": "Zürich", "price": 300, "paid": True, "note": None, "tags": ["new", "EU"], "to": {"zip": "8001"},
         "items": [{"sku": "a", "count": 2}, {"sku": "b", "count": 9}], "empty": ""}  # fmt: skip


def matches(pattern: Any, body: Any) -> bool:
    """Return whether one pattern, given as a value, matches a body, given as text or as a value."""
    text = body if isinstance(body, str) else json.dumps(body)
    return matches_any([parse_pattern(json.dumps(pattern))], text)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"city": ["Zürich"]}, True),
        ({"city": ["zürich"]}, False),
        ({"city": ["Bern", "Zürich"]}, True),
        ({"city": ["Zürich"], "paid": [True]}, True),
        ({"city": ["Zürich"], "paid": [False]}, False),
        ({"price": [300]}, True),
        ({"price": ["300"]}, False),
        ({"paid": ["true"]}, False),
        ({"note": [None]}, True),
        ({"missing": [None]}, False),
        ({"empty": [""]}, True),
        ({"city": [{"prefix": "Zü"}]}, True),
        ({"city": [{"suffix": "rich"}]}, True),
        ({"city": [{"prefix": "rich"}]}, False),
        ({"price": [{"prefix": "3"}]}, False),
        ({"city": [{"equals-ignore-case": "zÜRICH"}]}, True),
        ({"city": [{"anything-but": ["Bern"]}]}, True),
        ({"city": [{"anything-but": "Zürich"}]}, False),
        ({"price": [{"anything-but": [300, 400]}]}, False),
        ({"missing": [{"anything-but": ["x"]}]}, False),
        ({"price": [{"numeric": ["=", 300]}]}, True),
        ({"price": [{"numeric": [">", 10, "<=", 300]}]}, True),
        ({"price": [{"numeric": [">", 300, "<", 400]}]}, False),
        ({"price": [{"numeric": [">=", 300]}]}, True),
        ({"city": [{"numeric": ["=", 300]}]}, False),
        ({"city": [{"exists": True}]}, True),
        ({"note": [{"exists": True}]}, True),
        ({"city": [{"exists": False}]}, False),
        ({"missing": [{"exists": False}]}, True),
        ({"to": [{"exists": True}]}, False),
        ({"to": [{"exists": False}]}, True),
        ({"to": {"zip": ["8001"]}}, True),
        ({"to": {"zip": [{"exists": False}]}}, False),
        ({"city": {"zip": ["8001"]}}, False),
        ({"tags": ["EU"]}, True),
        ({"tags": ["US"]}, False),
        ({"items": {"sku": ["b"], "count": [9]}}, True),
        ({"items": {"sku": ["a"], "count": [9]}}, False),
        ({"$or": [{"city": ["Bern"]}, {"price": [300]}]}, True),
        ({"$or": [{"city": ["Bern"]}, {"price": [301]}]}, False),
        ({"paid": [True], "to": {"$or": [{"zip": ["1"]}, {"zip": ["8001"]}]}}, True),
        ({}, True),
    ],
)
def test_a_pattern_of_fields_matches_a_json_body(pattern: dict[str, Any], expected: bool):
    """Exact values, operators, nested fields, arrays, and alternatives."""
    assert matches({"body": pattern}, ORDER) is expected


@pytest.mark.parametrize(
    ("written", "pattern", "expected"),
    [("300", "300", True), ("300.0", "300", False), ("3.0e2", "300", False), ("3.0e2", "3.0e2", True)],
)
def test_numbers_are_compared_as_they_are_written(written: str, pattern: str, expected: bool):
    """300, 300.0 and 3.0e2 differ; the operator numeric compares their values."""
    assert matches_any([parse_pattern(f'{{"body": {{"n": [{pattern}]}}}}')], f'{{"n": {written}}}') is expected
    assert matches_any([parse_pattern('{"body": {"n": [{"numeric": ["=", 300]}]}}')], f'{{"n": {written}}}')


@pytest.mark.parametrize(
    ("body", "pattern", "expected"),
    [
        ("Result: ok", {"body": [{"prefix": "Result: "}]}, True),
        ("Result: ok", {"body": ["Result: ok"]}, True),
        ("Result: ok", {"body": [{"exists": True}]}, True),
        ("Result: ok", {"body": {"city": [{"exists": False}]}}, False),
        ('{"city": "Bern"}', {"body": [{"prefix": "{"}]}, False),
        ('[{"city": "Bern"}]', {"body": {"city": ["Bern"]}}, True),
        ("NaN", {"body": ["NaN"]}, True),
        ("[" * 100_000, {"body": [{"prefix": "["}]}, True),
    ],
)
def test_a_body_is_matched_by_patterns_of_its_kind_only(body: str, pattern: dict[str, Any], expected: bool):
    """A list of rules matches plain strings, an object matches JSON; a body of the other kind is deleted."""
    assert matches(pattern, body) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        {"messageAttributes": {"kind": {"stringValue": ["order"]}}},
        {"body": {"city": ["Zürich"]}, "attributes": {"SenderId": [{"exists": True}]}},
        {"eventSource": ["aws:sqs"]},
    ],
)
def test_a_pattern_with_another_key_than_body_matches_no_message(pattern: dict[str, Any]):
    """Filters of an SQS mapping support the body only."""
    assert not matches(pattern, ORDER)
    assert matches({"$or": [pattern, {"body": {"city": ["Zürich"]}}]}, ORDER)


def test_a_message_that_matches_one_of_several_filters_is_delivered():
    """Without filters, every message is."""
    patterns = parse_patterns([{"Pattern": '{"body": {"a": [1]}}'}, {"Pattern": '{"body": {"b": [1]}}'}])
    assert [matches_any(patterns, body) for body in ('{"a": 1}', '{"b": 1}', '{"c": 1}')] == [True, True, False]
    assert matches_any(parse_patterns([]), "anything")
    assert matches_any(parse_patterns(None), "anything")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("{", "is not a JSON object"),
        ("[1]", "is not a JSON object"),
        ('{"body": "order"}', "body of a filter pattern must be an object or a list of at least one rule, such as"),
        ('{"body": {"city": []}}', "body.city of a filter pattern must be an object or a list of at least one rule"),
        ('{"body": {"city": [["a"]]}}', "body.city of a filter pattern contains a list in a list"),
        ('{"body": {"city": [{"wildcard": "*"}]}}', 'body.city of a filter pattern has the rule {"wildcard": "*"}'),
        ('{"body": {"city": [{"prefix": "a", "suffix": "b"}]}}', "Lambda documents one of prefix, suffix"),
        ('{"body": {"city": [{"prefix": 1}]}}', 'has {"prefix": 1}, which is not valid for prefix'),
        ('{"body": {"n": [{"numeric": ["!", 1]}]}}', "which is not valid for numeric"),
        ('{"body": {"n": [{"numeric": [">", 1, "=", 2]}]}}', "which is not valid for numeric"),
        ('{"body": {"n": [{"numeric": [">"]}]}}', "which is not valid for numeric"),
        ('{"body": {"n": [{"exists": "yes"}]}}', "which is not valid for exists"),
        ('{"body": {"n": [{"anything-but": [null]}]}}', "which is not valid for anything-but"),
        ('{"$or": [{"body": ["a"]}]}', "$or of a filter pattern must be a list of at least two objects"),
        (" " * 4_097, "at most 4,096 characters, not 4,097"),
        (3, "must be a string of JSON, not int"),
    ],
)
def test_a_pattern_outside_the_documented_syntax_is_refused(pattern: object, problem: str):
    """The error names the field and the rule."""
    with pytest.raises(ConfigurationError) as error:
        parse_pattern(pattern)
    assert problem in str(error.value)


@pytest.mark.parametrize("filters", [["x"], "x", {"Pattern": "{}"}])
def test_filters_of_another_form_are_refused(filters: object):
    """The error states the form."""
    with pytest.raises(ConfigurationError, match="Filters must be of the form"):
        parse_patterns(filters)


LEAVES = st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5)


@given(st.dictionaries(st.text(min_size=1, max_size=5), LEAVES, min_size=1, max_size=4))
def test_a_body_matches_the_pattern_of_its_own_values_and_not_their_opposite(body: dict[str, Any]):
    """For any object of leaves: each value as a rule matches; anything but one of them does not."""
    fields = {name: value for name, value in body.items() if name != "$or"}
    assert matches({"body": {name: [value] for name, value in fields.items()}}, body)
    for name, value in fields.items():
        if isinstance(value, str) or type(value) is int:
            assert not matches({"body": {name: [{"anything-but": value}]}}, body)
