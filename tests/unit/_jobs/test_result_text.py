"""The result of a segment: a value that cannot be stored or folded is refused with its place and its fix."""

import json
from collections import Counter, OrderedDict
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest

from fanfold import Items, Job, folds, inmemory, run_inline
from fanfold._jobs.result_text import result_text
from fanfold.errors import SegmentError
from idempotent import opening

ROW = {"type": "items"}
HALF = "caf\ud83d"


class Color(StrEnum):
    RED = "red"


def text_of(value: Any, fold: Any = None, source: Any = ROW) -> str:
    return result_text(value, source, getattr(fold, "check", None))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [{"a": 1, "b": [1.5, "é😀", {"c": (1, 2)}]}],
        {Color.RED: Color.RED},
        OrderedDict(a=Counter(b=1)),
        [r"\ud83d", "\\ud83d"],
        "😀",
        2**200,
    ],
    ids=str,
)
def test_a_json_value_is_stored_as_is(value):
    """Subclasses of strings and dicts are JSON values, and tuples are lists."""
    assert json.loads(text_of(value)) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"a": 1}, {"name": HALF}], r"row 1, column 'name': 'caf\ud83d' has half of a surrogate pair ('\ud83d')"),
        ([{HALF: 1}], r"row 0: a key: 'caf\ud83d' has half of a surrogate pair"),
        (
            [{"a": {"b": [0, float("nan")]}}],
            "row 0, column 'a'['b'][1]: nan is not a JSON number: use None or a string",
        ),
        ({"a": float("-inf")}, "column 'a': -inf is not a JSON number"),
        ([{1: "a", "1": "b"}], "row 0: the key 1 is not a string (int): use str(key)"),
        ({"a": {None: 1}}, "column 'a': the key None is not a string (NoneType): use"),
        ([{"a": Decimal("1.5")}], "row 0, column 'a': Decimal('1.5') is not a JSON value (Decimal): use str(value)"),
        ([{"a": date(2026, 1, 2)}], "is not a JSON value (date): use value.isoformat()"),
        ([[1, {2}]], "row 0, column 1: {2} is not a JSON value (set): use a list"),
        (b"x" * 99, f"b'{'x' * 38}… is not a JSON value (bytes)"),
        ([{"a": 1 << 16_609}], "row 0, column 'a': an integer of 16,610 bits is too long for JSON: use a string"),
    ],
)
def test_another_value_is_refused_with_its_place(value, message):
    """The place is the row and the column, if the value is a list of rows."""
    with pytest.raises(SegmentError) as raised:
        text_of(value)
    assert str(raised.value).startswith("the segment handler must return a JSON value: ")
    assert message in str(raised.value)


def test_a_value_that_is_nested_too_deeply_is_refused():
    """It has no end."""
    value: list[Any] = []
    value.append(value)
    for fold in (None, folds.to_parquet(), folds.to_csv(columns=["a"]), folds.total()):
        with pytest.raises(SegmentError):
            text_of([{"a": value}], fold)


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ({"type": "s3-lines", "bucket": "b", "key": "k.csv"}, "s3://b/k.csv"),
        ({"type": "s3-json-array", "object": "s3://b/k.json"}, "s3://b/k.json"),
        ({"type": "dynamodb-scan", "table": "members"}, "members"),
    ],
)
def test_the_error_names_what_the_segment_read(source, origin):
    """That is where the value often comes from."""
    for fold, value in ((None, HALF), (folds.to_parquet(), [1])):
        with pytest.raises(SegmentError, match=rf" \(from {origin}\): "):
            text_of(value, fold, source)


@pytest.mark.parametrize(
    ("fold", "row", "message"),
    [
        (folds.to_csv(), "text", "row 1 is neither an object nor a list: 'text'"),
        (folds.to_csv(columns=["a"]), [1, 2], "row 1 has 2 values for 1 columns"),
        (folds.to_excel(), {"a": "x" * 32_768}, "row 1, column 'a': a string of 32,768 characters exceeds the Excel"),
        (folds.to_excel(), {"a": ["x" * 32_768]}, "row 1, column 'a': a string of 32,772 characters exceeds the Excel"),
        (folds.to_excel(), dict.fromkeys(map(str, range(16_385))), "16,385 columns exceed the Excel limit of 16,384"),
        (folds.to_excel(types={"a": "date"}), {"a": "1899-12-31"}, "column 'a': 1899-12-31T00:00:00 is outside of the"),
        (
            folds.to_excel(types={"a": "date"}),
            {"a": "2026-02-30"},
            "row 1, column 'a': '2026-02-30' is not a valid date",
        ),
        (folds.to_excel(), {"a": Decimal(1)}, "column 'a': a Decimal needs a declared type: types={'a': 'decimal'}"),
        (folds.to_parquet(), {"a": time(1)}, "row 1, column 'a': a time needs a declared type: types={'a': 'time'}"),
        (folds.to_parquet(), {"a": datetime(2026, 1, 1, tzinfo=UTC)}, "types={'a': 'timestamp'}"),
        (folds.to_parquet(), {"n": 2**63}, "row 1, column 'n': 9223372036854775808 has more than 64 bits: declare it"),
        (folds.to_parquet(), {"q": {"m": [-(2**63) - 1]}}, "row 1, column 'q'['m'][0]: -9223372036854775809 has more"),
        (folds.to_parquet(), {"n": "x"}, "row 1, column 'n': 'x' is a string, but row 0 has an integer: return values"),
        (folds.to_parquet(), {"n": 1 << 16_609}, "row 1, column 'n': an integer of 16,610 bits has more than 64 bits"),
        (folds.to_excel(), {"n": 1 << 16_609}, "row 1, column 'n': Exceeds the limit"),
        (folds.to_parquet(), {"n": True}, "row 1, column 'n': True is a boolean, but row 0 has an integer"),
        (folds.to_parquet(), {"n": 0.5, "m": 1}, None),
        (folds.to_parquet(), {"w": 0.5}, "row 1, column 'w': 0.5 is a float, but the integer of row 0 is not an exact"),
        (
            folds.to_parquet(types={"a": "decimal"}),
            {"a": 0.5},
            "row 1, column 'a': 0.5 is not a valid decimal: return a",
        ),
        (folds.to_parquet(types={"a": "decimal"}), {"a": "1e-39"}, "has more than 38 digits before or after the point"),
        (folds.to_parquet(types={"a": "datetime"}), {"a": "2026-01-01T00:00Z"}, "it must have no offset, or declare"),
        (
            folds.to_parquet(types={"a": "timestamp"}),
            {"a": "2026-01-01"},
            "it must have an offset, or declare 'datetime'",
        ),
        (
            folds.to_parquet(types={"a": "number"}),
            {"a": 2**53 + 1},
            "9007199254740993 is not a valid number: an integer",
        ),
        (folds.to_parquet(types={"a": "boolean"}), {"a": 1}, "row 1, column 'a': 1 is not a valid boolean"),
        (folds.to_parquet(types={"a": "integer"}), {"a": True}, "row 1, column 'a': True is not a valid integer"),
        (folds.to_parquet(columns=["n"]), {"n": 1, "a": {"other": "x"}}, None),
    ],
)
def test_a_row_that_the_fold_cannot_write_is_refused_by_the_segment(fold, row, message):
    """The fold itself would fail the whole run after all segments."""
    rows = [{"n": 1, "w": 2**53 + 1}, row] if "columns" not in str(message) else [row]
    if isinstance(row, list):
        rows = [{"a": 1}, row]
    if message is None:
        assert json.loads(text_of(rows, fold)) == rows
        return
    with pytest.raises(SegmentError) as raised:
        text_of(rows, fold)
    assert message in str(raised.value)
    assert str(raised.value).startswith("the fold cannot use the result: ")


@pytest.mark.parametrize(
    ("fold", "value", "message"),
    [
        (folds.total(), [1], "the result is not a finite number: '[1]'"),
        (folds.total(), {"a": {"b": "1"}}, "the result, 'a', 'b', is not a finite number: '1'"),
        (folds.total(), Decimal(1), "the result is not a finite number: '1'"),
        (folds.groups(), 1, "the result is not an object with numbers by key: 1"),
        (folds.groups(decimals=True), {"a": "x"}, "the result, 'a', is not a finite number: 'x'"),
    ],
)
def test_a_value_that_cannot_be_added_is_refused_by_the_segment(fold, value, message):
    """The error names the keys that lead to it."""
    with pytest.raises(SegmentError) as raised:
        text_of(value, fold)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("fold", "value", "stored"),
    [
        (folds.to_csv(), [{"a": Decimal("1.10"), "b": date(2026, 1, 2)}], [{"a": "1.10", "b": "2026-01-02"}]),
        (folds.to_csv(columns=["a"]), [[time(1, 2)]], [["01:02:00"]]),
        (folds.to_csv(), {"a": datetime(2026, 1, 2, 3, tzinfo=UTC)}, {"a": "2026-01-02T03:00:00+00:00"}),
        (folds.to_excel(types={"a": "decimal"}), ({"a": Decimal("1.10"), "b": 1},), [{"a": "1.10", "b": 1}]),
        (folds.to_excel(columns=["a"], types={"a": "decimal"}), [[Decimal(1)]], [["1"]]),
        (
            folds.to_parquet(types={"a": "date"}),
            [{"a": date(2026, 1, 2)}, {"a": None}],
            [{"a": "2026-01-02"}, {"a": None}],
        ),
        (folds.to_parquet(columns=["a"]), [{"a": 1, "b": Decimal(1)}], [{"a": 1, "b": "1"}]),
        (folds.to_excel(columns=["a"]), [{"a": 1, "b": Decimal(1)}], [{"a": 1, "b": "1"}]),
        (folds.to_csv(columns=["a"]), [{"a": 1, "b": Decimal(1)}], [{"a": 1, "b": "1"}]),
        (folds.total(decimals=True), {"a": {"b": Decimal("0.10")}}, {"a": {"b": "0.10"}}),
        (folds.groups(decimals=True), {"a": Decimal(1)}, {"a": "1"}),
        (folds.count(), [1, {"a": 2}], [1, {"a": 2}]),
    ],
)
def test_decimals_dates_and_times_are_stored_as_text(fold, value, stored):
    """JSON has none; the fold knows from the declared types which texts they are."""
    assert json.loads(text_of(value, fold)) == stored


async def test_a_segment_with_a_misfit_fails_alone_and_the_others_are_kept():
    """After a fix, only that segment is processed again, and the fold succeeds."""
    job = Job("rows", backend=opening(inmemory.backend()))
    job.source(lambda params: Items(["1.10", "x", "2.20"]))
    job.fold(folds.to_parquet(types={"price": "decimal"}))

    @job.segment
    async def rows(items, ctx):
        return [{"price": item} async for item in items]

    ended = await run_inline(job)
    assert ended.failed == {
        1: "SegmentError: the fold cannot use the result: row 0, column 'price': 'x' is not a valid decimal: return a "
        "Decimal, an integer, or their text"
    }
    assert ended.done == 2


async def test_the_fold_does_not_check_results_that_are_combined_first():
    """It receives what ``combine`` returns."""
    job = Job("rows", backend=opening(inmemory.backend()))
    job.source(lambda params: Items(["a", "b"]))
    job.fold(folds.to_parquet())
    job.combine(lambda results: [{"all": list(results)}])

    @job.segment
    async def text(items, ctx):
        return "".join([item async for item in items])

    assert job.result_check() is None
    assert "not an object" in str(await failure_of(job))


async def failure_of(job: Job) -> SegmentError:
    with pytest.raises(SegmentError) as raised:
        await run_inline(job)
    return raised.value
