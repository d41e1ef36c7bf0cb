"""Ready-made folds: their outputs, and the results that they refuse."""

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pyarrow import parquet

from fanfold import folds
from fanfold._folds import row_files
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
        (folds.to_csv(), [{"a": 1}, "text"], 'row 1 is neither an object nor a list: "text"'),
        (folds.to_csv(), [{"a": 1}, {"b": 1}], "row 1 has a value for 'b', but the first row"),
        (folds.to_excel(), [{"a": "x" * 32_768}], "row 0 has a string of 32,768 characters"),
        (folds.to_excel(), [{str(n): n for n in range(16_385)}], "16,385 columns exceed the Excel limit of 16,384"),
        (folds.to_parquet(), [[1]], "row 0 is not an object: 1"),
        (folds.to_parquet(), [{"a": "x"}, {"a": 1}], "the rows cannot be written as Parquet"),
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
    with pytest.raises(ConfigurationError, match=r"sheet 'a/b'"):
        folds.to_excel(sheet="a/b")([{"a": 1}])


def test_more_rows_than_a_sheet_holds_continue_in_another_or_are_refused(monkeypatch):
    """Each sheet has the header; rows up to the limit are in one sheet."""
    monkeypatch.setattr(row_files, "EXCEL_ROWS", 3)
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
    monkeypatch.setattr(row_files, "PARQUET_GROUP_ROWS", 2)
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
