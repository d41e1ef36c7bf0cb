"""Write rows to an Excel workbook in constant memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

from fanfold._base.json_problems import json_problem, place_of
from fanfold._folds.column_types import typed
from fanfold._folds.excel_cells import EXCEL_CHARACTERS, cell
from fanfold._folds.row_files import misfit, plain_row, tabular, values_of
from fanfold.errors import ConfigurationError, MissingExtraError, SegmentError

EXCEL_ROWS: Final = 1_048_576
"""Maximum rows of a sheet, the header included (Excel specifications and limits)."""
EXCEL_COLUMNS: Final = 16_384
"""Maximum columns of a sheet (Excel specifications and limits)."""
EXCEL_WIDTH: Final = 9
"""Minimum width of a column, characters."""
_DATES: Final = {datetime: ("yyyy-mm-dd hh:mm:ss", 19), date: ("yyyy-mm-dd", 11), time: ("hh:mm:ss", EXCEL_WIDTH)}
"""Number format and minimum width of a column of dates or times, by class."""


def write_excel(
    path: Path,
    rows: Iterable[Any],
    columns: Sequence[str] | None,
    *,
    sheet: str,
    split: bool,
    types: Mapping[str, str],
) -> int:
    """Write rows as an Excel workbook, row by row; return the number of rows.

    Args:
        path: The file.
        rows: As in ``write_csv``.
        columns: As in ``write_csv``.
        sheet: Name of the sheet; further sheets have the same name followed by 2, 3, ….
        split: Whether more than 1,048,575 rows continue in another sheet; otherwise they are an error.
        types: Declared types of columns.

    Raises:
        MissingExtraError: If xlsxwriter is not installed.
        ConfigurationError: If the name of the sheet is invalid, or the file cannot be written.
        SegmentError: If a row does not fit; names the row and the column.
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
            pages = _Pages(book, sheet)
            for values in tabular(rows, columns, header.extend):
                row = count % (EXCEL_ROWS - 1)
                if count and not row and not split:
                    raise SegmentError(f"more than {count:,} rows exceed the limit of an Excel sheet: use split=True")
                if not row:
                    pages.begin(header)
                pages.write(row + 1, cells(values, header, count, types))
                count += 1
            if not count:
                pages.begin(columns or [])
    except xlsxwriter.exceptions.FileCreateError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from error
    except xlsxwriter.exceptions.XlsxInputError as error:
        raise ConfigurationError(f"sheet {sheet!r}: {error}") from error
    return count


def check_excel(rows: Iterable[Any], columns: Sequence[str] | None, types: Mapping[str, str]) -> list[Any]:
    """Return rows as JSON values; a decimal, a date, or a time of a column with a declared type becomes its text.

    Raises:
        SegmentError: If ``write_excel`` would refuse a row on its own.
    """
    checked: list[Any] = []
    for number, row in enumerate(rows):
        names = list(row) if columns is None and isinstance(row, dict) else columns
        values = values_of(row, names, number, strict=False)
        check_header(names or ())
        cells(values, names or (), number, types)
        checked.append(plain_row(row, names or (), number, types))
    return checked


def cells(values: Sequence[Any], names: Sequence[str], number: int, types: Mapping[str, str]) -> list[Any]:
    """Return the cells of a row.

    Raises:
        SegmentError: If Excel cannot represent a value; names the row and the column.
    """
    row = []
    for name, value in zip(names, values, strict=True):
        try:
            row.append(cell(typed(value, types[name]) if name in types else value))
        except (TypeError, ValueError) as error:
            problem = json_problem(value) if isinstance(value, dict | list | tuple) else None
            if problem is None:
                raise misfit(number, name, str(error)) from error
            raise SegmentError(f"{place_of((number, name, *problem.path))}: {problem.reason}") from error
    return row


def check_header(names: Sequence[str]) -> None:
    """Refuse columns that a sheet cannot have.

    Raises:
        SegmentError: If there are too many, or a name is too long.
    """
    if len(names) > EXCEL_COLUMNS:
        raise SegmentError(f"{len(names):,} columns exceed the Excel limit of {EXCEL_COLUMNS:,}")
    for name in names:
        if len(name) > EXCEL_CHARACTERS:
            raise SegmentError(
                f"column {name[:40]!r}…: a name of {len(name):,} characters exceeds the Excel limit of "
                f"{EXCEL_CHARACTERS:,}"
            )


class _Pages:
    """The sheets of a workbook, written one after another."""

    def __init__(self, book: Any, sheet: str) -> None:
        self._book = book
        self._sheet = sheet
        self._bold = book.add_format({"bold": True})
        self._formats = {kind: book.add_format({"num_format": form}) for kind, (form, _) in _DATES.items()}
        self._number = 0
        self._page: Any = None
        self._widths: list[int] = []

    def begin(self, header: Sequence[str]) -> None:
        """Add a sheet with a header."""
        check_header(header)
        self._number += 1
        self._page = self._book.add_worksheet(self._sheet if self._number == 1 else f"{self._sheet} {self._number}")
        self._page.write_row(0, 0, header, self._bold)
        self._widths = [0] * len(header)
        for column, name in enumerate(header):
            self._widen(column, max(len(name) + 1, EXCEL_WIDTH))

    def write(self, row: int, values: Sequence[Any]) -> None:
        """Write the cells of a row."""
        for column, value in enumerate(values):
            if isinstance(value, date | time):
                kind = type(value) if type(value) in _DATES else datetime
                self._page.write_datetime(row, column, value, self._formats[kind])
                self._widen(column, _DATES[kind][1])
            else:
                self._page.write(row, column, value)

    def _widen(self, column: int, width: int) -> None:
        if width > self._widths[column]:
            self._widths[column] = width
            self._page.set_column(column, column, width)


def _options(folder: str) -> dict[str, Any]:
    return {"constant_memory": True, "tmpdir": folder, "strings_to_formulas": False, "strings_to_urls": False}
