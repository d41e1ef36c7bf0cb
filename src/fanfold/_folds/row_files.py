"""Write rows to a file in constant memory: CSV, JSON Lines, Parquet, Excel.

A row is a dict or, for CSV and Excel, a list. If a format cannot represent a row, the error names the row; no row is
changed or left out.
"""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from fanfold._folds.output_file import File, temporary_file
from fanfold.errors import ConfigurationError, MissingExtraError, SegmentError

EXCEL_ROWS: Final = 1_048_576
"""Maximum rows of a sheet, the header included (Excel specifications and limits)."""
EXCEL_COLUMNS: Final = 16_384
"""Maximum columns of a sheet (Excel specifications and limits)."""
EXCEL_CHARACTERS: Final = 32_767
"""Maximum characters of a cell (Excel specifications and limits)."""
EXCEL_WIDTH: Final = 9
"""Minimum width of a column, characters."""
EXCEL_DIGITS: Final = 15
"""Maximum significant digits of a number (Excel specifications and limits)."""
PARQUET_GROUP_ROWS: Final = 20_000
"""Rows in memory, and in one row group of a Parquet file."""


_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_scan: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined] # exists on every Python; missing in the type stubs


class JsonLines:
    """A file of JSON values, one per line; deleted at the end of the ``with`` block unless ``file`` was called."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._path = temporary_file()
        self._text = self._path.open("w", encoding="utf-8", newline="\n")
        self._rows = 0
        self._is_returned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._text.close()
        if not self._is_returned:
            drop(self._path)

    def write(self, row: Any) -> None:
        """Write one value.

        Raises:
            SegmentError: If it is not a JSON value.
        """
        try:
            line = _encode(row)
        except (TypeError, ValueError) as error:
            raise SegmentError(f"row {self._rows} is not a JSON value: {error}") from error
        self._text.write(line + "\n")
        self._rows += 1

    def write_result(self, text: str) -> None:
        """Write a result, which is a JSON text: each element of a list, or the value itself.

        Rows are copied from the text. They are decoded and encoded again only if the text escapes characters, has line
        breaks, or has white space between rows.

        Raises:
            SegmentError: As ``write`` does.
        """
        if (lines := _lines_of(text)) is not None:
            self._text.writelines(lines)
            self._rows += len(lines)
            return
        value = json.loads(text)
        for row in value if isinstance(value, list) else [value]:
            self.write(row)

    def file(self) -> File:
        """Return the file with the values that have been written."""
        self._text.close()
        self._is_returned = True
        return File(self._path, self._name, "application/x-ndjson", rows=self._rows, temporary=True)


def _lines_of(text: str) -> list[str] | None:
    """Return the lines of the rows in a result; None if they cannot be copied from its text."""
    if "\\u" in text or "\n" in text or not text or text[0].isspace():
        return None
    if text[0] != "[":
        return [text + "\n"]
    lines, start, last = list[str](), 1, len(text) - 1
    while start < last:
        try:
            _, end = _scan(text, start)
        except StopIteration:  # white space
            return None
        if text[end] not in ",]":
            return None
        lines.append(text[start:end] + "\n")
        start = end + 1
    return lines


def drop(path: Path) -> None:
    """Delete a file, if it exists."""
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - as in output_file


def write_csv(path: Path, rows: Iterable[Any], columns: Sequence[str] | None) -> int:
    """Write rows as CSV (RFC 4180, UTF-8) with a header; return the number of rows.

    Args:
        path: The file.
        rows: Dicts, or lists with one value per column.
        columns: Names of the columns; other values of a dict are left out. None for the columns of the first row: then
            a row with another column is an error.

    Raises:
        SegmentError: If a row does not fit.
    """
    count = 0
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        for values in _tabular(rows, columns, writer.writerow):
            writer.writerow([_text(value) for value in values])
            count += 1
    return count


def write_excel(path: Path, rows: Iterable[Any], columns: Sequence[str] | None, *, sheet: str, split: bool) -> int:
    """Write rows as an Excel workbook, row by row; return the number of rows.

    Args:
        path: The file.
        rows: As in ``write_csv``.
        columns: As in ``write_csv``.
        sheet: Name of the sheet; further sheets have the same name followed by 2, 3, ….
        split: Whether more than 1,048,575 rows continue in another sheet; otherwise they are an error.

    Raises:
        MissingExtraError: If xlsxwriter is not installed.
        ConfigurationError: If the name of the sheet is invalid, or the file cannot be written.
        SegmentError: If a row does not fit.
    """
    try:
        import xlsxwriter
    except ModuleNotFoundError as error:
        raise MissingExtraError("excel", "writing an Excel sheet") from error
    count, header = 0, list[str]()
    try:
        with (
            tempfile.TemporaryDirectory(dir=path.parent) as folder,
            xlsxwriter.Workbook(str(path), _options(folder)) as book,
        ):
            bold = book.add_format({"bold": True})
            page = book.add_worksheet(sheet)
            for values in _tabular(rows, columns, header.extend):
                row = count % (EXCEL_ROWS - 1)
                if count and not row:
                    if not split:
                        raise SegmentError(
                            f"more than {count:,} rows exceed the limit of an Excel sheet: use split=True"
                        )
                    page = book.add_worksheet(f"{sheet} {count // (EXCEL_ROWS - 1) + 1}")
                if not row:
                    _write_header(page, header, bold)
                page.write_row(row + 1, 0, [_cell(value, count) for value in values])
                count += 1
            if not count:
                page.write_row(0, 0, columns or [], bold)
    except xlsxwriter.exceptions.FileCreateError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from error
    except xlsxwriter.exceptions.XlsxInputError as error:
        raise ConfigurationError(f"sheet {sheet!r}: {error}") from error
    return count


def write_parquet(path: Path, rows: Callable[[], Iterable[Any]], columns: Sequence[str] | None) -> int:
    """Write rows as Parquet, in row groups of 20,000; return the number of rows.

    The rows are read twice, because the type of a column depends on all its values.

    Args:
        path: The file.
        rows: Returns a new iterator over the rows, which are dicts, at each call.
        columns: Names of the columns; other values are left out. None for all columns of all rows.

    Raises:
        MissingExtraError: If pyarrow is not installed.
        SegmentError: If a row is not a dict, or the values of a column have no common type.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("parquet", "writing Parquet") from error
    schema, count = pa.schema([]), 0
    try:
        for group in _groups(rows()):
            names = dict.fromkeys(name for row in group for name in row)
            group_schema = pa.schema([(name, pa.array([row.get(name) for row in group]).type) for name in names])
            schema = pa.unify_schemas([schema, group_schema], promote_options="permissive")
            count += len(group)
        if columns is not None:
            known = {field.name: field for field in schema}
            schema = pa.schema([known.get(name, pa.field(name, pa.null())) for name in columns])
        with parquet.ParquetWriter(str(path), schema) as writer:
            for group in _groups(rows()):
                writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=PARQUET_GROUP_ROWS)
    except pa.ArrowException as error:
        raise SegmentError(f"the rows cannot be written as Parquet: {error}") from error
    return count


def _options(folder: str) -> dict[str, Any]:
    return {"constant_memory": True, "tmpdir": folder, "strings_to_formulas": False, "strings_to_urls": False}


def _groups(rows: Iterable[Any]) -> Iterator[list[Mapping[str, Any]]]:
    remaining, count = iter(rows), 0
    while group := list(islice(remaining, PARQUET_GROUP_ROWS)):
        for row in group:
            if not isinstance(row, dict):
                raise SegmentError(f"row {count} is not an object: {_excerpt(row)}")
            count += 1
        yield group


def _tabular(
    rows: Iterable[Any], columns: Sequence[str] | None, begin: Callable[[Sequence[str]], object]
) -> Iterator[Sequence[Any]]:
    """Yield the values of each row in column order; before the first row, call ``begin`` with the column names."""
    names = None if columns is None else list(columns)
    if names is not None:
        begin(names)
    for number, row in enumerate(rows):
        if names is None:
            if not isinstance(row, dict):
                raise SegmentError(
                    f"row {number} has no column names: specify columns=, or return rows that are objects"
                )
            names = list(row)
            begin(names)
        yield _values(row, names, number, strict=columns is None)


def _values(row: Any, names: Sequence[str], number: int, *, strict: bool) -> Sequence[Any]:
    if isinstance(row, dict):
        if strict and not row.keys() <= set(names):
            unknown = next(name for name in row if name not in names)
            raise SegmentError(
                f"row {number} has a value for {unknown!r}, but the first row does not: specify columns="
            )
        return [row.get(name) for name in names]
    if isinstance(row, list):
        if len(row) != len(names):
            raise SegmentError(f"row {number} has {len(row)} values for {len(names)} columns")
        return row
    raise SegmentError(f"row {number} is neither an object nor a list: {_excerpt(row)}")


def _text(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


def _cell(value: Any, number: int) -> Any:
    """Return a value for an Excel cell; a number that Excel cannot represent becomes a string."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, int | float) and not _is_excel_number(value):
        value = str(value)
    if isinstance(value, str) and len(value) > EXCEL_CHARACTERS:
        raise SegmentError(
            f"row {number} has a string of {len(value):,} characters, over the Excel limit of {EXCEL_CHARACTERS:,}"
        )
    return value


def _is_excel_number(value: float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 10**EXCEL_DIGITS


def _write_header(page: Any, header: Sequence[str], bold: Any) -> None:
    if len(header) > EXCEL_COLUMNS:
        raise SegmentError(f"{len(header):,} columns exceed the Excel limit of {EXCEL_COLUMNS:,}")
    page.write_row(0, 0, header, bold)
    for column, name in enumerate(header):
        page.set_column(column, column, max(len(name) + 1, EXCEL_WIDTH))


def _excerpt(value: Any) -> str:
    return json.dumps(value)[:80]
