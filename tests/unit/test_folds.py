"""Ready-made folds: their outputs, and the results that they refuse."""

import csv
import io
import json
import tempfile
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pyarrow import parquet

from fanfold import folds
from fanfold._folds import excel_files, parquet_files
from fanfold._jobs.results import results_of
from fanfold.errors import ConfigurationError, SegmentError

ROWS = [
    {"name": "山田, 太郎", "points": 72.5},
    {"name": 'a "quoted"\nline', "points": 75},
    {"name": None, "points": 57},
]
RESULTS = [ROWS[:1], [], ROWS[1:]]
BY_KEY = {"a": {"m": 1, "n": 2}, "b": {"n": 5}}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, which a test can inspect."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def content(fold, results: Any = RESULTS) -> bytes:
    with fold(results).on_disk() as path:
        return path.read_bytes()


def sheets(data: bytes) -> dict[str, list[tuple[Any, ...]]]:
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book}


@pytest.mark.parametrize(
    ("fold", "results", "output"),
    [
        (folds.total(), [], 0),
        (folds.total(), [1, 2.5, 3], 6.5),
        (folds.total(), [0.1] * 10, 1.0),
        (folds.total(), [{"count": 6293}, {"count": 6203}], {"count": 12496}),
        (folds.total(decimals=True), ["0.10", "0.20"], "0.30"),
        (folds.count(), [[1, 2], [], {"a": 1}, 7], 4),
        (folds.groups(), [], {}),
        (
            folds.groups(),
            [{"b": {"n": 1}}, {"a": {"n": 2, "m": 1}}, {"b": {"n": 4}}],
            {"a": {"m": 1, "n": 2}, "b": {"n": 5}},
        ),
        (folds.groups(), [{"z": 2**60}, {"z": 1}], {"z": 2**60 + 1}),
    ],
)
def test_numbers_are_added_up(fold, results, output):
    """Results may be numbers, rows, or numbers by key of any depth."""
    assert fold(results) == output
    assert json.dumps(fold(iter(results))) == json.dumps(output)


@pytest.mark.parametrize(
    ("fold", "results", "reason"),
    [
        (folds.total(), [1, None], "result 1 is not a finite number"),
        (folds.total(), [1, {"a": 1}], "result 1 is an object, but earlier results have a number there"),
        (folds.total(), [{"a": {"b": 1}}, {"a": 1}], "result 1, 'a', is 1, but earlier results have an object there"),
        (folds.groups(), [{}, 3], "result 1 is not an object"),
        (folds.to_csv(), [[1, 2]], "row 0 has no column names"),
        (folds.to_csv(columns=["a"]), [[[1, 2]]], "row 0 has 2 values for 1 columns"),
        (folds.to_csv(), [{"a": 1}, "text"], "row 1 is neither an object nor a list: 'text'"),
        (folds.to_csv(), [{"a": 1}, {"b": 1}], "row 1 has a value for 'b', but the first row"),
        (folds.to_excel(), [{"a": "x" * 32_768}], "row 0, column 'a': a string of 32,768 characters exceeds"),
        (folds.to_excel(), [{str(n): n for n in range(16_385)}], "16,385 columns exceed the Excel limit of 16,384"),
        (folds.to_parquet(), [[1]], "row 0 is not an object: 1"),
        (folds.to_parquet(), [{"a": "x"}, {"a": 1}], "row 1, column 'a': 1 is an integer, but row 0 has a string"),
    ],
)  # fmt: skip
def test_an_unsuitable_result_is_refused_and_no_file_is_left(fold, results, reason, temporary):
    """The error is permanent, because a retry cannot fix it."""
    with pytest.raises(SegmentError, match=reason) as caught:
        fold(results)
    assert caught.value.permanent
    assert list(temporary.iterdir()) == []


def test_rows_as_csv():
    """Rows are in segment order and quoted where necessary; None is empty, and lists and dicts are JSON."""
    file = folds.to_csv("members.csv")(RESULTS)
    assert (file.name, file.rows, file.content_type) == ("members.csv", 3, "text/csv; charset=utf-8")
    with file.on_disk() as path:
        rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))
    assert rows == [{"name": row["name"] or "", "points": str(row["points"])} for row in ROWS]
    assert content(folds.to_csv(columns=["b", "a"]), [{"a": [1], "b": True, "c": 0}, [[2, 3]]]) == (
        b"b,a\r\ntrue,[1]\r\n2,3\r\n"
    )
    assert content(folds.to_csv(columns=["a"]), []) == b"a\r\n"
    assert content(folds.to_csv(), []) == b""


def test_rows_as_json_lines():
    """Each value is one line."""
    lines = content(folds.to_json_lines(), [*RESULTS, 7]).decode().splitlines()
    assert [json.loads(line) for line in lines] == [*ROWS, 7]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('[{"a":[1,"],"]},2]', ['{"a":[1,"],"]}', "2"]),
        ("[[],[[]]]", ["[]", "[[]]"]),
        ("[]", []),
        ("7", ["7"]),
        ('{"a":"ü"}', ['{"a":"ü"}']),
        ('["\\u00fc","\\n"]', ['"ü"', '"\\n"']),
        ("[1, 2]", ["1", "2"]),
        ("[1 ,2]", ["1", "2"]),
        ('{"a":\n1}', ['{"a":1}']),
        (" [1]", ["1"]),
    ],
)
def test_the_rows_of_a_result_are_copied_as_they_are_or_encoded_again(text, lines):
    """Either way, each row is one line, and characters are not escaped."""
    with results_of([text, "null"]) as results:
        assert content(folds.to_json_lines(), results).decode().splitlines() == [*lines, "null"]
        assert folds.to_json_lines()(results).rows == len(lines) + 1


@pytest.mark.parametrize("make", [folds.to_csv, folds.to_excel, folds.to_parquet])
@pytest.mark.parametrize("columns", ["name", [1, 2]])
def test_columns_that_are_not_a_list_of_names_are_refused_when_the_job_is_defined(make, columns):
    """A string would be treated as one column per letter."""
    with pytest.raises(ConfigurationError, match=r"^columns must be a list of names, .* not "):
        make(columns=columns)


def test_rows_as_an_excel_sheet():
    """Strings and numbers keep their types; numbers that Excel would round are strings."""
    odd = {"text": "=1+1", "url": "https://a.example", "long": 2**60, "list": [1], "not": float("nan"), "yes": True}
    assert sheets(content(folds.to_excel(sheet="members"), [odd, {"text": None, "yes": False}]))["members"] == [
        ("text", "url", "long", "list", "not", "yes"),
        ("=1+1", "https://a.example", str(2**60), "[1]", "nan", True),
        (None, None, None, None, None, False),
    ]
    assert sheets(content(folds.to_excel(columns=["a"]), []))["rows"] == [("a",)]
    with pytest.raises(ConfigurationError, match=r"sheet \"'a'\""):
        folds.to_excel(sheet="'a'")([{"a": 1}])


def test_more_rows_than_a_sheet_holds_continue_in_another_or_are_refused(monkeypatch):
    """Each sheet has the header; rows up to the limit are in one sheet."""
    monkeypatch.setattr(excel_files, "EXCEL_ROWS", 3)
    rows = [{"n": n} for n in range(5)]
    assert sheets(content(folds.to_excel(), rows)) == {
        "rows": [("n",), (0,), (1,)],
        "rows 2": [("n",), (2,), (3,)],
        "rows 3": [("n",), (4,)],
    }
    assert list(sheets(content(folds.to_excel(split=False), rows[:2]))) == ["rows"]
    with pytest.raises(SegmentError, match="more than 2 rows exceed the limit of an Excel sheet"):
        folds.to_excel(split=False)(rows)


def test_rows_as_parquet(tmp_path, monkeypatch):
    """The type of a column is the common type of all its values in all rows."""
    monkeypatch.setattr(parquet_files, "PARQUET_GROUP_ROWS", 2)
    rows = [{"a": 1, "b": None}, {"a": 2}, {"a": 2.5, "c": [1]}, {"b": "x"}, {"a": None}]
    (tmp_path / "some").write_bytes(content(folds.to_parquet(), rows))
    table = parquet.read_table(tmp_path / "some")
    assert [str(field.type) for field in table.schema] == ["double", "string", "list<element: int64>"]
    assert table.to_pylist() == [{name: row.get(name) for name in "abc"} for row in rows]
    (tmp_path / "few").write_bytes(content(folds.to_parquet(columns=["b", "none"]), rows))
    assert parquet.read_table(tmp_path / "few").to_pylist()[3] == {"b": "x", "none": None}
    (tmp_path / "empty").write_bytes(content(folds.to_parquet(columns=["a"]), []))
    assert parquet.read_table(tmp_path / "empty").num_rows == 0


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "output.json", "markers.json", "x" * 129])
def test_an_invalid_file_name_is_refused_when_the_job_is_defined(name):
    """The error does not wait until a run is folded."""
    for fold in (folds.to_csv, folds.to_json_lines, folds.to_excel, folds.to_parquet):
        with pytest.raises(ConfigurationError, match="an output file cannot be named"):
            fold(name)


DATES = {
    "decimal": Decimal("12.30"),
    "date": date(2026, 2, 28),
    "time": time(13, 5, 7),
    "datetime": datetime.fromisoformat("2026-02-28T13:05:07"),
    "timestamp": datetime(2026, 2, 28, 13, 5, 7, tzinfo=timezone(timedelta(hours=2))),
}
TEXTS = {kind: str(value) if kind == "decimal" else value.isoformat() for kind, value in DATES.items()}
TYPES = {kind: kind for kind in DATES}


EARLIEST = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
"""A time that is before year 1 in UTC."""


@pytest.mark.parametrize(("row", "types"), [(DATES, None), (DATES, TYPES), (TEXTS, TYPES)])
def test_decimals_dates_and_times_are_real_in_a_sheet(row, types):
    """They are numbers and dates with a format, from values or from the texts of a segment; a timestamp is in UTC."""
    sheet = openpyxl.load_workbook(io.BytesIO(content(folds.to_excel(types=types), [row, dict.fromkeys(row)]))).active
    (cells,) = sheet.iter_rows(min_row=2, max_row=2)
    assert [cell.value for cell in cells] == [
        12.3,
        datetime.fromisoformat("2026-02-28"),
        time(13, 5, 7),
        datetime.fromisoformat("2026-02-28T13:05:07"),
        datetime.fromisoformat("2026-02-28T11:05:07"),
    ]
    assert [cell.number_format for cell in cells] == [
        "General", "yyyy-mm-dd", "hh:mm:ss", "yyyy-mm-dd hh:mm:ss", "yyyy-mm-dd hh:mm:ss"
    ]  # fmt: skip
    assert sheet.column_dimensions["D"].width > 18


@pytest.mark.parametrize(("row", "types"), [(DATES, None), (DATES, TYPES), (TEXTS, TYPES)])
def test_decimals_dates_and_times_are_exact_in_parquet(row, types, tmp_path):
    """Their columns have Arrow's types, and no value loses a digit."""
    (tmp_path / "file").write_bytes(content(folds.to_parquet(types=types), [row, dict.fromkeys(row)]))
    table = parquet.read_table(tmp_path / "file")
    assert [str(field.type) for field in table.schema] == [
        "decimal128(4, 2)", "date32[day]", "time64[us]", "timestamp[us]", "timestamp[us, tz=UTC]"
    ]  # fmt: skip
    assert table.to_pylist() == [DATES, dict.fromkeys(DATES)]


def test_a_column_of_decimals_has_as_many_digits_as_its_values(tmp_path):
    """Integers may be among them; no value is rounded."""
    values = [Decimal("1E+37"), Decimal("1E-38"), 7, "-0.5", None]
    (tmp_path / "file").write_bytes(
        content(folds.to_parquet(types={"n": "decimal"}), [{"n": value} for value in values])
    )
    column = parquet.read_table(tmp_path / "file")["n"]
    assert str(column.type) == "decimal256(76, 38)"
    assert column.to_pylist() == [Decimal("1E+37"), Decimal("1E-38"), Decimal(7), Decimal("-0.5"), None]


def test_lists_and_objects_have_columns_of_lists_and_structs(tmp_path):
    """An object has the members of all objects at its place."""
    rows = [{"a": [{"x": 1}, {"y": [None, "z"]}], "b": {}}, {"a": None, "b": {"c": True}}]
    (tmp_path / "file").write_bytes(content(folds.to_parquet(), rows))
    table = parquet.read_table(tmp_path / "file")
    assert [str(field.type) for field in table.schema] == [
        "list<element: struct<x: int64, y: list<element: string>>>", "struct<c: bool>"
    ]  # fmt: skip
    assert table.to_pylist() == [
        {"a": [{"x": 1, "y": None}, {"x": None, "y": [None, "z"]}], "b": {"c": None}},
        {"a": None, "b": {"c": True}},
    ]


def test_a_declared_column_without_values_has_its_type(tmp_path):
    """A file of an empty run has the columns of any other run."""
    types = {**TYPES, "s": "string", "i": "integer", "f": "number", "b": "boolean"}
    (tmp_path / "file").write_bytes(content(folds.to_parquet(columns=list(types), types=types), []))
    assert [str(field.type) for field in parquet.read_table(tmp_path / "file").schema] == [
        "decimal128(38, 0)", "date32[day]", "time64[us]", "timestamp[us]", "timestamp[us, tz=UTC]",
        "string", "int64", "double", "bool",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (Decimal(1234567890123456), "1234567890123456"),
        (Decimal(123456789012345000), 1.23456789012345e17),
        (Decimal("1E-400"), "1E-400"),
        (Decimal("NaN"), "NaN"),
        (1e308, "1e+308"),
        (0.0, 0),
        ("a\x00\ufffe\r_x0041_", "a_x0000__xFFFE__x000D__x005F_x0041_"),
    ],
)
def test_a_value_that_a_cell_cannot_hold_is_a_string(value, cell):
    """Characters that XML lacks are escaped as Excel itself does."""
    assert sheets(content(folds.to_excel(), [{"a": value}]))["rows"][1] == (cell,)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("=1+1", "'=1+1"),
        ("+49 (30) 1", "'+49 (30) 1"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("\uff1d1", "'\uff1d1"),
        ("a=1", "a=1"),
        ("'=1", "'=1"),
        ("-1.5", "-1.5"),
        ("+1e-7", "+1e-7"),
        (-1.5, "-1.5"),
        (Decimal(-1), "-1"),
        ("", ""),
        (None, ""),
    ],
)
def test_formulas_in_csv_are_escaped_on_request(text, escaped):
    """A spreadsheet program would evaluate them, and send data elsewhere; numbers stay numbers."""
    rows = [{"a": text, "=b": 1}]
    lines = csv.reader(io.StringIO(content(folds.to_csv(escape_formulas=True), rows).decode(), newline=""))
    assert list(lines) == [["a", "'=b"], [escaped, "1"]]
    lines = csv.reader(io.StringIO(content(folds.to_csv(), rows).decode(), newline=""))
    assert next(lines) == ["a", "=b"]


@pytest.mark.parametrize(
    ("fold", "results", "reason"),
    [
        (folds.to_csv(), [{"a": 1}, {"a": "\ud83d"}], "row 1, column 'a': .* has half of a surrogate pair"),
        (folds.to_csv(), [{"\ud83d": 1}], r"column '\\ud83d': .* has half of a surrogate pair"),
        (folds.to_json_lines(), [1, {"a": ["\ud83d"]}], r"row 1, column 'a'\[0\]: not a JSON value: .* surrogate pair"),
        (folds.to_json_lines(), [[{"a": float("nan")}]], "row 0, column 'a': not a JSON value: nan is not a JSON"),
        (folds.to_json_lines(), [{1: 1, "1": 2}], "row 0: not a JSON value: the key 1 is not a string"),
        (folds.to_excel(), [{"x" * 32_768: 1}], "column 'x+'…: a name of 32,768 characters exceeds the Excel limit"),
        (folds.to_excel(), [{"a": time(1, tzinfo=UTC)}], "row 0, column 'a': 01:00:00.00:00 has an offset"),
        (folds.to_excel(), [{"a": date(1899, 12, 31)}], "row 0, column 'a': .* is outside of the dates of Excel"),
        (folds.to_excel(), [{"a": datetime.max}], "row 0, column 'a': .* is outside of the dates of Excel"),  # noqa: DTZ901
        (folds.to_excel(), [{"a": datetime.max.replace(tzinfo=UTC)}], "is outside of the dates of Excel"),
        (folds.to_parquet(), [{"a": 1}, {"a": date(2026, 1, 1)}], "row 1, column 'a': 2026-01-01 is a date, but row 0"),
        (
            folds.to_parquet(),
            [{"a": DATES["date"]}, {"a": DATES["datetime"]}],
            "row 1, column 'a': .* is a datetime, but",
        ),
        (
            folds.to_parquet(),
            [{"a": DATES["timestamp"]}, {"a": DATES["datetime"]}],
            "is a datetime, but row 0 has a tim",
        ),
        (folds.to_parquet(), [{"a": Decimal("NaN")}], "row 0, column 'a': NaN is not a finite number"),
        (folds.to_parquet(), [{"a": {}}, {"a": None}], "row 0, column 'a': an empty object, as in every other row"),
        (folds.to_excel(), [{"a": EARLIEST}], "row 0, column 'a': .* is outside of the dates of Excel"),
        (folds.to_excel(types={"a": "date"}), [{"a": DATES["datetime"]}], "row 0, column 'a': .* is not a valid date"),
        (folds.to_excel(types={"a": "time"}), [{"a": "13:05Z"}], "row 0, column 'a': '13:05Z' is not a valid time"),
        (folds.to_parquet(), [{"a": EARLIEST}], "row 0, column 'a': .* is before year 1 or after year 9999 in UTC"),
        (
            folds.to_parquet(),
            [{"a": 0.5}, {"a": 2**53 + 1}],
            "row 1, column 'a': 9007199254740993 is not an exact float",
        ),
        (folds.to_parquet(), [{"a": b"x"}], "row 0, column 'a': b'x' has no Parquet type .bytes."),
    ],
)
def test_a_value_that_reaches_the_fold_nevertheless_is_refused_with_its_place(fold, results, reason, temporary):
    """The values of a fold in a program were never checked by a segment."""
    with pytest.raises(SegmentError, match=reason):
        fold(results)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (folds.to_excel, {"types": {"a": "money"}}, "types: 'a' must be one of string, .*, timestamp, not 'money'"),
        (
            folds.to_excel,
            {"types": {"a": ["date"]}},
            "types: 'a' must be one of string, .*, timestamp, not \\['date'\\]",
        ),
        (
            folds.to_parquet,
            {"types": ["a"]},
            r"types must be a dict, such as \{'price': 'decimal'\}, or None, not \['a'\]",
        ),
        (folds.to_parquet, {"types": {1: "date"}}, "types must be a dict"),
        (folds.to_excel, {"sheet": "a/b"}, "sheet must be a name of 1 to 31 characters without .*, not 'a/b'"),
        (folds.to_excel, {"sheet": ["a"]}, "sheet must be a name"),
        (folds.to_excel, {"split": 2}, "split must be True or False, not 2"),
        (folds.to_csv, {"escape_formulas": 1}, "escape_formulas must be True or False, not 1"),
    ],
)
def test_invalid_settings_are_refused_when_the_job_is_defined(make, settings, message):
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=message):
        make(**settings)
