"""A value that a ready-made fold cannot write is refused where the segment returns it; every other value is written."""

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from fanfold import folds
from fanfold._jobs.result_text import result_text
from fanfold.errors import SegmentError

TEXTS = st.text(max_size=6)
HALVES = st.sampled_from(["\ud83d", "a\udc00", "\udfff\ud800"])
"""Half a surrogate pair, or two halves in the wrong order."""
INTEGERS = st.integers() | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1])
OFFSETS = st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))])
MOMENTS = st.datetimes(timezones=OFFSETS)
DATETIMES = st.datetimes() | MOMENTS
DECIMALS = st.decimals() | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=4
)
SCALARS = (
    st.none() | st.booleans() | INTEGERS | st.floats() | TEXTS | HALVES | st.dates() | st.times() | DATETIMES | DECIMALS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS | st.integers(), inner, max_size=2)
)
NAMES = ("a", "b")
COLUMNS = {
    "any": VALUES,
    "integer": st.none() | INTEGERS,
    "number": st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    "string": st.none() | TEXTS,
    "boolean": st.none() | st.booleans(),
    "decimal": st.none() | DECIMALS | st.integers(-(10**9), 10**9) | st.from_regex(r"\A-?[0-9]{1,9}\.[0-9]{1,9}\Z"),
    "date": st.none() | st.dates() | st.dates().map(date.isoformat),
    "time": st.none() | st.times() | st.times().map(time.isoformat),
    "datetime": st.none() | st.datetimes() | st.datetimes().map(datetime.isoformat),
    "timestamp": st.none() | MOMENTS | MOMENTS.map(datetime.isoformat),
}
CLASSES: dict[str, Any] = {"date": date, "time": time, "datetime": datetime, "timestamp": datetime}
PLACE = re.compile(r"row \d+, column '[ab]'")


@st.composite
def typed_rows(draw: st.DrawFn) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return types of the columns, and rows that are likely to have them."""
    kinds = [draw(st.sampled_from(list(COLUMNS))) for _ in NAMES]
    row = st.fixed_dictionaries({name: COLUMNS[kind] for name, kind in zip(NAMES, kinds, strict=True)})
    types = {name: kind for name, kind in zip(NAMES, kinds, strict=True) if kind != "any"}
    return types, draw(st.lists(row, min_size=1, max_size=4))


def stored(rows: Any, fold: Any) -> Any:
    """Return a segment's result as the fold receives it, or None if it is refused with its place."""
    try:
        text = result_text(rows, {"type": "items"}, getattr(fold, "check", None))
    except SegmentError as error:
        refusal = str(error)
    else:
        return json.loads(text)
    assert PLACE.search(refusal), refusal
    return None


def content(fold: Any, results: Sequence[Any]) -> bytes:
    with fold(results).on_disk() as path:
        return path.read_bytes()


@given(rows=st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, VALUES)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=100)
def test_what_a_segment_may_return_is_written_as_csv(rows):
    """A value is its text, and None an empty field."""
    fold = folds.to_csv(columns=NAMES)
    result = stored(rows, fold)
    if result is None:
        return
    written = list(csv.reader(io.StringIO(content(fold, [result, result]).decode(), newline="")))
    assert written[0] == list(NAMES)
    assert len(written) == 1 + 2 * len(rows)
    for row, fields in zip([*rows, *rows], written[1:], strict=True):
        for name, field in zip(NAMES, fields, strict=True):
            if isinstance(row[name], str | Decimal | int) and not isinstance(row[name], bool):
                assert field == str(row[name])


@given(rows=st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, VALUES)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=100)
def test_what_a_segment_may_return_is_written_as_json_lines(rows):
    """Each value is read as it was written."""
    fold = folds.to_json_lines()
    result = stored(rows, fold)
    if result is not None:
        lines = content(fold, [result]).decode().split("\n")[:-1]
        assert [json.loads(line) for line in lines] == result == json.loads(json.dumps(rows))


@given(typed=typed_rows())
@settings(deadline=None, max_examples=150)
def test_what_a_segment_may_return_is_written_as_parquet(typed):
    """Integers, decimals, dates, and times are exact; a column of two kinds is refused with its place."""
    types, rows = typed
    fold = folds.to_parquet(types=types)
    result = stored(rows, fold)
    if result is None:
        return
    if has_empty_object(result):  # other segments might have members there
        return
    table = parquet.read_table(io.BytesIO(content(fold, [result, result])))
    for row, written in zip([*rows, *rows], table.to_pylist(), strict=True):
        for name, kind in types.items():
            assert written[name] == expected(row[name], kind)


def has_empty_object(value: Any) -> bool:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value == {} or any(map(has_empty_object, members))


def expected(value: Any, kind: str) -> Any:
    """Return the value that Parquet gives for a value of a declared type."""
    if value is None:
        return None
    if kind == "decimal":
        return Decimal(value)
    if isinstance(value, str) and kind in CLASSES:
        return CLASSES[kind].fromisoformat(value)
    return value


@given(data=st.data(), kinds=st.tuples(*[st.sampled_from([kind for kind in COLUMNS if kind != "any"])] * 2))
@settings(deadline=None, max_examples=150)
def test_the_fold_never_refuses_what_the_segments_of_declared_types_returned(data, kinds):
    """Segments do not know each other's values, so each has to be checked alone."""
    types = dict(zip(NAMES, kinds, strict=True))
    fold = folds.to_parquet(types=types)
    row = st.fixed_dictionaries({name: COLUMNS[kind] for name, kind in types.items()})
    results = [stored([data.draw(row)], fold) for _ in range(4)]
    accepted = [result for result in results if result is not None]
    if accepted:
        assert parquet.read_table(io.BytesIO(content(fold, accepted))).num_rows == len(accepted)


@given(typed=typed_rows())
@settings(deadline=None, max_examples=60)
def test_what_a_segment_may_return_is_written_to_a_sheet(typed):
    """Strings, booleans, numbers, and dates have their types; numbers that a cell cannot hold are strings."""
    types, rows = typed
    fold = folds.to_excel(columns=NAMES, types=types)
    result = stored(rows, fold)
    if result is None:
        return
    sheet = openpyxl.load_workbook(io.BytesIO(content(fold, [result]))).active
    assert sheet is not None
    for number, row in enumerate(rows, 2):
        for column, name in enumerate(NAMES, 1):
            assert_cell(row[name], sheet.cell(number, column).value, types.get(name))


def assert_cell(value: Any, cell: Any, kind: str | None) -> None:
    value = expected(value, kind) if kind in CLASSES else value
    if value is None or value == "":
        assert cell is None
    elif kind in {"datetime", "timestamp"}:
        value = value if kind == "datetime" else value.astimezone(UTC).replace(tzinfo=None)
        assert abs(cell - value) <= timedelta(milliseconds=1)
    elif kind == "date":
        assert cell == datetime.combine(value, time())
    elif kind == "boolean":
        assert cell is value
    elif kind in {"integer", "decimal"}:
        assert Decimal(str(cell)) == Decimal(value)


@pytest.mark.parametrize(
    "fold",
    [folds.to_csv(), folds.to_json_lines(), folds.to_excel(), folds.to_parquet(), folds.total(), None],
    ids=["csv", "json lines", "excel", "parquet", "total", "another"],
)
@given(
    before=st.integers(0, 3),
    wrong=HALVES
    | st.sampled_from([float("nan"), float("inf"), {1: 1, "1": 2}, {2: 1}, {None: 1}, b"", {1, 2}, object()]),
    nested=st.sampled_from([lambda value: value, lambda value: [value], lambda value: {"x": [0, value]}]),
)
@settings(deadline=None, max_examples=25)
def test_what_json_cannot_represent_is_refused_whatever_the_fold(fold, before, wrong, nested):
    """The error names the row and the column, except for ``total``, which takes no rows."""
    rows = [*[{"a": 1}] * before, {"a": nested(wrong)}]
    with pytest.raises(SegmentError) as raised:
        result_text(rows, {"type": "items"}, getattr(fold, "check", None))
    if not isinstance(fold, type(folds.total())):
        assert f"row {before}, column 'a'" in str(raised.value)


@given(
    results=st.lists(st.lists(DECIMALS.filter(Decimal.is_finite) | st.integers(), min_size=1, max_size=3), max_size=3)
)
@settings(deadline=None, max_examples=60)
def test_decimals_of_segments_are_added_exactly(results):
    """A segment returns the decimals themselves."""
    fold: Any = folds.total(decimals=True)
    texts = [
        result_text(dict(zip("abc", result, strict=False)), {"type": "items"}, fold.check)
        for result in results
        if all(abs(Decimal(value).adjusted()) < 900 for value in result)
    ]
    sums = fold(map(json.loads, texts)) or {}
    for name in sums:
        values = [json.loads(text).get(name, 0) for text in texts]
        assert Decimal(sums[name]) == sum(map(Decimal, values), Decimal(0)) or len(str(sums[name])) > 28
