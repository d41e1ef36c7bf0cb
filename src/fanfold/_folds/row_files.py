"""Rows to a file, one after another, in flat memory: CSV, JSON Lines, Parquet, Excel.

A row is a dict, or for CSV and Excel a list too. What a format cannot hold is an error that names the row, never a row
that is changed or left out.
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
"""Rows of a sheet, its header included (Excel specifications and limits)."""
EXCEL_COLUMNS: Final = 16_384
"""Columns of a sheet (Excel specifications and limits)."""
EXCEL_CHARACTERS: Final = 32_767
"""Characters of a cell (Excel specifications and limits)."""
EXCEL_WIDTH: Final = 9
"""Characters that a column shows unless its name is longer."""
EXCEL_DIGITS: Final = 15
"""Digits of a number that Excel keeps (Excel specifications and limits)."""
PARQUET_GROUP_ROWS: Final = 20_000
"""Rows that are in memory at once, and in one row group of a Parquet file."""


class JsonLines:
    """A file of JSON values, one a line; deleted at the end of the block unless it was asked for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._path = temporary_file()
        self._text = self._path.open("w", encoding="utf-8", newline="\n")
        self._rows = 0
        self._kept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._text.close()
        if not self._kept:
            drop(self._path)

    def write(self, row: Any) -> None:
        """Write one value.

        Raises:
            SegmentError: If it is no JSON value.
        """
        try:
            line = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise SegmentError(f"row {self._rows} is no JSON value: {error}") from error
        self._text.write(line + "\n")
        self._rows += 1

    def file(self) -> File:
        """Return the file: what has been written."""
        self._text.close()
        self._kept = True
        return File(self._path, self._name, "application/x-ndjson", rows=self._rows, temporary=True)


def drop(path: Path) -> None:
    """Delete a file, if it is there."""
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - as in output_file


def write_csv(path: Path, rows: Iterable[Any], columns: Sequence[str] | None) -> int:
    """Write rows as CSV (RFC 4180, UTF-8), the names of the columns first; return how many.

    Args:
        path: The file.
        rows: Dicts, or lists of as many values as there are columns.
        columns: Names of the columns; other values of a dict are left out. None for those of the first row: then a
            value of another name is an error.

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
    """Write rows as an Excel workbook, row by row; return how many.

    Args:
        path: The file.
        rows: As in ``write_csv``.
        columns: As in ``write_csv``.
        sheet: Name of the sheet; the second one is called the same with a 2.
        split: Whether to go on in another sheet after 1,048,575 rows; else more are an error.

    Raises:
        MissingExtraError: If xlsxwriter is not installed.
        ConfigurationError: If there is no sheet of that name, or the file cannot be written.
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
                line = count % (EXCEL_ROWS - 1)
                if count and not line:
                    if not split:
                        raise SegmentError(f"over {count:,} rows: an Excel sheet has no more")
                    page = book.add_worksheet(f"{sheet} {count // (EXCEL_ROWS - 1) + 1}")
                if not line:
                    _write_header(page, header, bold)
                page.write_row(line + 1, 0, [_cell(value, count) for value in values])
                count += 1
            if not count:
                page.write_row(0, 0, columns or [], bold)
    except xlsxwriter.exceptions.FileCreateError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from error
    except xlsxwriter.exceptions.XlsxInputError as error:
        raise ConfigurationError(f"sheet {sheet!r}: {error}") from error
    return count


def write_parquet(path: Path, rows: Callable[[], Iterable[Any]], columns: Sequence[str] | None) -> int:
    """Write rows as Parquet, in groups of 20,000; return how many.

    The rows are gone through twice: what type a column has, only all of its values tell.

    Args:
        path: The file.
        rows: Gives the rows, each time anew: dicts.
        columns: Names of the columns; other values are left out. None for every name there is.

    Raises:
        MissingExtraError: If pyarrow is not installed.
        SegmentError: If a row is no dict, or a column's values have no type in common.
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
            found = pa.schema([(name, pa.array([row.get(name) for row in group]).type) for name in names])
            schema = pa.unify_schemas([schema, found], promote_options="permissive")
            count += len(group)
        if columns is not None:
            known = {field.name: field for field in schema}
            schema = pa.schema([known.get(name, pa.field(name, pa.null())) for name in columns])
        with parquet.ParquetWriter(str(path), schema) as writer:
            for group in _groups(rows()):
                writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=PARQUET_GROUP_ROWS)
    except pa.ArrowException as error:
        raise SegmentError(f"the rows do not fit into Parquet: {error}") from error
    return count


def _options(folder: str) -> dict[str, Any]:
    return {"constant_memory": True, "tmpdir": folder, "strings_to_formulas": False, "strings_to_urls": False}


def _groups(rows: Iterable[Any]) -> Iterator[list[Mapping[str, Any]]]:
    drawn, count = iter(rows), 0
    while group := list(islice(drawn, PARQUET_GROUP_ROWS)):
        for row in group:
            if not isinstance(row, dict):
                raise SegmentError(f"row {count} is no object with names and values: {_shown(row)}")
            count += 1
        yield group


def _tabular(
    rows: Iterable[Any], columns: Sequence[str] | None, begin: Callable[[Sequence[str]], object]
) -> Iterator[Sequence[Any]]:
    """Yield each row's values in the order of the columns, whose names ``begin`` is told before the first."""
    names = None if columns is None else list(columns)
    if names is not None:
        begin(names)
    for number, row in enumerate(rows):
        if names is None:
            if not isinstance(row, dict):
                raise SegmentError(f"row {number} has no names: give the columns, or rows that are objects")
            names = list(row)
            begin(names)
        yield _values(row, names, number, strict=columns is None)


def _values(row: Any, names: Sequence[str], number: int, *, strict: bool) -> Sequence[Any]:
    if isinstance(row, dict):
        if strict and not row.keys() <= set(names):
            unknown = next(name for name in row if name not in names)
            raise SegmentError(
                f"row {number} has a value of {unknown!r}, which the first row has not: give the columns"
            )
        return [row.get(name) for name in names]
    if isinstance(row, list):
        if len(row) != len(names):
            raise SegmentError(f"row {number} has {len(row)} values for {len(names)} columns")
        return row
    raise SegmentError(f"row {number} is neither an object nor a list: {_shown(row)}")


def _text(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


def _cell(value: Any, number: int) -> Any:
    """Return a value as Excel keeps it: a number that would lose digits, or is none, as text."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, int | float) and not _is_excel_number(value):
        value = str(value)
    if isinstance(value, str) and len(value) > EXCEL_CHARACTERS:
        raise SegmentError(f"row {number} has a text of {len(value):,} characters: Excel takes {EXCEL_CHARACTERS:,}")
    return value


def _is_excel_number(value: float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 10**EXCEL_DIGITS


def _write_header(page: Any, header: Sequence[str], bold: Any) -> None:
    if len(header) > EXCEL_COLUMNS:
        raise SegmentError(f"{len(header):,} columns: an Excel sheet has {EXCEL_COLUMNS:,}")
    page.write_row(0, 0, header, bold)
    for column, name in enumerate(header):
        page.set_column(column, column, max(len(name) + 1, EXCEL_WIDTH))


def _shown(value: Any) -> str:
    return json.dumps(value)[:80]
