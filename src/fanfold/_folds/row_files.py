"""Write rows to a file in constant memory: CSV and JSON Lines, and what all files of rows share.

A row is a dict or, for CSV and Excel, a list. If a format cannot represent a row, the error names the row and the
column; no row is changed or left out.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from fanfold._base.json_problems import has_colliding_keys, has_lone_surrogate, json_problem, place_of, surrogate_reason
from fanfold._folds.column_types import excerpt, kind_of, plain
from fanfold._folds.output_file import File, temporary_file
from fanfold.errors import SegmentError

_FORMULA: Final = re.compile("[=+\\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - spreadsheets read full-width characters too
"""The first character of a cell that a spreadsheet may evaluate (OWASP, CSV injection)."""
JSON_CLASSES: Final = frozenset({str, int, float, bool, type(None), dict, list})
"""Classes of values that are the same in JSON."""
_PLAIN_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_scan: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined] # exists on every Python; missing in the type stubs


class JsonLines:
    """A file of JSON values, one per line; deleted at the end of the ``with`` block unless ``file`` was called."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._path = temporary_file()
        self._file = self._path.open("wb")
        self._rows = 0
        self._is_returned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._is_returned:
            drop(self._path)

    def write(self, row: Any) -> None:
        """Write one value.

        Raises:
            SegmentError: If it is not a JSON value; names the row and the column.
        """
        if has_colliding_keys(row):
            raise self._misfit(row, "a dict has two keys that are the same string in JSON")
        try:
            line = _encode(row).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise self._misfit(row, str(error)) from error
        self._file.write(line + b"\n")
        self._rows += 1

    def write_result(self, text: str) -> None:
        """Write a result, which is a JSON text: each element of a list, or the value itself.

        Rows are copied from the text. They are decoded and encoded again only if the text escapes characters, has line
        breaks, or has white space between rows.

        Raises:
            SegmentError: As ``write`` does.
        """
        if (lines := _lines_of(text)) is not None:
            self._file.write("".join(lines).encode())
            self._rows += len(lines)
            return
        value = json.loads(text)
        for row in value if isinstance(value, list) else [value]:
            self.write(row)

    def file(self) -> File:
        """Return the file with the values that have been written."""
        self._file.close()
        self._is_returned = True
        return File(self._path, self._name, "application/x-ndjson", rows=self._rows, temporary=True)

    def _misfit(self, row: Any, reason: str) -> SegmentError:
        place = f"row {self._rows}"
        with suppress(RecursionError):
            problem = json_problem(row)
            if problem is not None:
                place, reason = place_of((self._rows, *problem.path)), problem.reason
        return SegmentError(f"{place}: not a JSON value: {reason}")


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


def write_csv(path: Path, rows: Iterable[Any], columns: Sequence[str] | None, *, escape_formulas: bool = False) -> int:
    """Write rows as CSV (RFC 4180, UTF-8) with a header; return the number of rows.

    Args:
        path: The file.
        rows: Dicts, or lists with one value per column.
        columns: Names of the columns; other values of a dict are left out. None for the columns of the first row: then
            a row with another column is an error.
        escape_formulas: Whether a string that a spreadsheet would evaluate begins with an apostrophe.

    Raises:
        SegmentError: If a row does not fit; names the row and the column.
    """
    count, header = 0, list[str]()
    text_of = _escaped_text if escape_formulas else _text
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)

        def begin(names: Sequence[str]) -> None:
            header.extend(names)
            writer.writerow(_checked(list(map(text_of, names)), header, None))

        for values in tabular(rows, columns, begin):
            writer.writerow(_checked(list(map(text_of, values)), header, count))
            count += 1
    return count


def check_csv(rows: Iterable[Any], columns: Sequence[str] | None) -> list[Any]:
    """Return rows as JSON values: a decimal, a date, or a time becomes its text.

    Raises:
        SegmentError: If ``write_csv`` would refuse a row on its own.
    """
    checked: list[Any] = []
    for number, row in enumerate(rows):
        values_of(row, columns, number, strict=False)
        checked.append(_plain(row))
    return checked


def tabular(
    rows: Iterable[Any], columns: Sequence[str] | None, begin: Callable[[Sequence[str]], object]
) -> Iterator[Sequence[Any]]:
    """Yield the values of each row in column order; before the first row, call ``begin`` with the column names.

    Raises:
        SegmentError: If a row does not fit.
    """
    names = None if columns is None else list(columns)
    if names is not None:
        begin(names)
    for number, row in enumerate(rows):
        values = values_of(row, names, number, strict=columns is None)
        if names is None:
            names = list(row)
            begin(names)
        yield values


def values_of(row: Any, names: Sequence[str] | None, number: int, *, strict: bool) -> Sequence[Any]:
    """Return the values of a row in column order.

    Args:
        row: The row, a dict or a list.
        names: Names of the columns; None for those of this row.
        number: Its number, for errors.
        strict: Whether a value of another column is an error; otherwise, it is left out.

    Raises:
        SegmentError: If the row does not fit.
    """
    if isinstance(row, dict):
        if names is None:
            return list(row.values())
        if strict and not row.keys() <= set(names):
            unknown = next(name for name in row if name not in names)
            raise SegmentError(
                f"row {number} has a value for {unknown!r}, but the first row does not: specify columns="
            )
        return [row.get(name) for name in names]
    if isinstance(row, list | tuple):
        if names is None:
            raise SegmentError(f"row {number} has no column names: specify columns=, or return rows that are objects")
        if len(row) != len(names):
            raise SegmentError(f"row {number} has {len(row)} values for {len(names)} columns")
        return row
    if names is None and not number:
        raise SegmentError(f"row {number} has no column names: specify columns=, or return rows that are objects")
    raise SegmentError(f"row {number} is neither an object nor a list: {excerpt(row)}")


def plain_row(row: Any, names: Sequence[str], number: int, types: Mapping[str, str]) -> Any:
    """Return a row with the text of decimals, dates, and times in columns with declared types.

    Args:
        row: The row, a dict or a list.
        names: Names of the columns that are written.
        number: Its number, for errors.
        types: Declared types of columns.

    Raises:
        SegmentError: If another column has such a value; names the row and the column.
    """
    if _is_plain(row):
        return row
    for name, value in row.items() if isinstance(row, dict) else zip(names, row, strict=True):
        if isinstance(value, Decimal | date | time) and name in names and name not in types:
            raise misfit(
                number,
                name,
                f"a {type(value).__name__} needs a declared type: types={{{name!r}: {kind_of(value)!r}}}",
            )
    return _plain(row)


def _is_plain(row: Any) -> bool:
    return set(map(type, row.values() if isinstance(row, dict) else row)) <= JSON_CLASSES


def _plain(row: Any) -> Any:
    if _is_plain(row):
        return row
    return {name: plain(row[name]) for name in row} if isinstance(row, dict) else list(map(plain, row))


def misfit(number: int, name: str, reason: str) -> SegmentError:
    """Return the error for a value that does not fit."""
    return SegmentError(f"{place_of((number, name))}: {reason}")


def _text(value: Any) -> Any:
    if isinstance(value, dict | list | tuple | bool):
        return json.dumps(value, ensure_ascii=False)
    return plain(value)


def _escaped_text(value: Any) -> Any:
    text = _text(value)
    if isinstance(text, str) and _FORMULA.match(text) and not _PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _checked(values: Sequence[Any], names: Sequence[str], number: int | None) -> Sequence[Any]:
    """Return the values of a row, or of the header, if UTF-8 can encode them."""
    for name, value in zip(names, values, strict=True):
        if isinstance(value, str) and has_lone_surrogate(value):
            raise SegmentError(f"{place_of((name,) if number is None else (number, name))}: {surrogate_reason(value)}")
    return values
