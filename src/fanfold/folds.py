"""Ready-made folds: each function returns a function for ``job.fold``.

A fold reads the results once (Parquet: twice), in segment order. In memory are only a sum, the sums by key, or the
current rows of a file; the file becomes the output.

A row that a file cannot represent is an error of the segment that returned it, with the row and the column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

from fanfold._folds.checked_folds import CheckedFold, RowsFold, rows_of
from fanfold._folds.column_types import check_types, plain
from fanfold._folds.output_file import File
from fanfold._folds.row_files import JsonLines, check_csv, write_csv
from fanfold._folds.sums import Sum
from fanfold.errors import ConfigurationError, SegmentError

__all__ = ["File", "count", "groups", "to_csv", "to_excel", "to_json_lines", "to_parquet", "total"]

Fold: TypeAlias = Callable[[Iterable[Any]], Any]
"""A fold: takes the results and returns the output."""
_EXCEL_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_SHEET = re.compile(r"[^][:*?/\\]{1,31}")
"""The name of a sheet (Excel specifications and limits)."""


def total(*, decimals: bool = False) -> Fold:
    """Return a fold that adds up results: numbers, or dicts of numbers of any depth, key by key.

    The sum is exact: integers keep every digit, and a sum of floats is rounded once, at the end, so the order makes no
    difference. The sum of no results is 0.

    Args:
        decimals: Whether strings such as ``"12.30"`` are numbers. They are added exactly, as decimals, and a sum that
            includes one is a string. A segment may return a ``Decimal``, which its result contains as text, because
            JSON has no decimals.
    """
    return _total(decimals=decimals)


def groups(*, decimals: bool = False) -> Fold:
    """Return a fold that adds up by key: results are dicts of numbers, or of dicts of numbers. Keys are sorted.

    Like ``total``, except that the sum of no results is an empty dict and a result that is not a dict is an error. All
    keys are in memory.
    """
    add = _total(decimals=decimals)

    def fold(results: Iterable[Any]) -> Any:
        return add(_dicts(results)) or {}

    def check(result: Any) -> Any:
        if not isinstance(result, dict):
            raise SegmentError(f"the result is not an object with numbers by key: {str(result)[:80]}")
        return add.check(result)

    return CheckedFold(fold, check)


def count() -> Fold:
    """Return a fold that counts rows: the length of a result that is a list, and 1 for any other result."""

    def fold(results: Iterable[Any]) -> int:
        return sum(len(result) if isinstance(result, list) else 1 for result in results)

    return fold


def to_json_lines(name: str = "output.jsonl") -> Fold:
    """Return a fold that writes rows as JSON Lines: each element of a result that is a list, or the result itself."""
    _valid(name)

    def fold(results: Iterable[Any]) -> File:
        with JsonLines(name) as lines:
            if (texts := getattr(results, "texts", None)) is not None:  # the results of a run
                for text in texts():
                    lines.write_result(text)
            else:
                for row in rows_of(results):
                    lines.write(row)
            return lines.file()

    return fold


def to_csv(name: str = "output.csv", *, columns: Sequence[str] | None = None, escape_formulas: bool = False) -> Fold:
    """Return a fold that writes rows as CSV: UTF-8, with a header, quoted where necessary.

    A segment may return decimals, dates, and times, which are written as text.

    Args:
        name: Name of the file.
        columns: Names of the columns; other values of a row are left out. None for the columns of the first row: then a
            row with another column is an error.
        escape_formulas: Whether a string that a spreadsheet program would evaluate as a formula (it begins with ``=``,
            ``+``, ``-``, ``@``, a tab, or a line end, and is not a number) begins with an apostrophe. Use it if people
            open the file in such a program and the strings come from others; a program that reads the file has to
            remove the apostrophes.
    """
    names = _names(columns)
    if not isinstance(escape_formulas, bool):
        raise ConfigurationError(f"escape_formulas must be True or False, not {escape_formulas!r}")
    return RowsFold(
        _valid(name),
        "text/csv; charset=utf-8",
        lambda path, results: write_csv(path, rows_of(results), names, escape_formulas=escape_formulas),
        lambda rows: check_csv(rows, names),
    )


def to_excel(
    name: str = "output.xlsx",
    *,
    columns: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    sheet: str = "rows",
    split: bool = True,
) -> Fold:
    """Return a fold that writes rows as an Excel workbook. Needs ``fanfold[excel]``.

    A number of more than 15 digits is written as text, because Excel would drop the other digits. A string is never
    written as a formula. A timestamp is written in UTC, because Excel has no time zones.

    Args:
        name: Name of the file.
        columns: As in ``to_csv``.
        types: Types of columns by name: ``decimal``, ``date``, ``time``, ``datetime`` (without an offset), or
            ``timestamp`` (with an offset), for which a segment returns such a value or its text, and which are numbers
            and dates in the sheet; or ``string``, ``integer``, ``number``, or ``boolean``. A segment that returns
            another value fails.
        sheet: Name of the sheet.
        split: Whether more than 1,048,575 rows continue in a second sheet; otherwise they are an error.
    """
    names, kinds = _names(columns), check_types(types)
    if not isinstance(sheet, str) or not _SHEET.fullmatch(sheet):
        raise ConfigurationError(f"sheet must be a name of 1 to 31 characters without []:*?/\\, not {sheet!r}")
    if not isinstance(split, bool):
        raise ConfigurationError(f"split must be True or False, not {split!r}")

    def write(path: Path, results: Iterable[Any]) -> int:
        from fanfold._folds.excel_files import write_excel  # imported here to keep cold starts short

        return write_excel(path, rows_of(results), names, sheet=sheet, split=split, types=kinds)

    def check(rows: Iterable[Any]) -> list[Any]:
        from fanfold._folds.excel_files import check_excel  # as above

        return check_excel(rows, names, kinds)

    return RowsFold(_valid(name), _EXCEL_TYPE, write, check)


def to_parquet(
    name: str = "output.parquet", *, columns: Sequence[str] | None = None, types: Mapping[str, str] | None = None
) -> Fold:
    """Return a fold that writes rows as Parquet. Needs ``fanfold[parquet]``.

    The type of a column is its declared type, or the common type of all its values. A segment fails if its rows have no
    common type. If two segments have different types, the fold fails, because only the fold has both: declare the type.

    Args:
        name: Name of the file.
        columns: Names of the columns; None for all columns of all rows.
        types: As in ``to_excel``. Times are in microseconds, and a ``timestamp`` is in UTC. A ``decimal`` column has as
            many digits as its values need, at most 38 before and 38 after the point.
    """
    names, kinds = _names(columns), check_types(types)

    def write(path: Path, results: Iterable[Any]) -> int:
        from fanfold._folds.parquet_files import write_parquet  # imported here to keep cold starts short

        return write_parquet(path, lambda: rows_of(results), names, kinds)

    def check(rows: Iterable[Any]) -> list[Any]:
        from fanfold._folds.parquet_files import check_parquet  # as above

        return check_parquet(rows, names, kinds)

    return RowsFold(_valid(name), "application/vnd.apache.parquet", write, check)


def _total(*, decimals: bool) -> CheckedFold:
    def fold(results: Iterable[Any]) -> Any:
        tree: Any = None
        for number, result in enumerate(results):
            tree = _added(tree, result, decimals, f"result {number}")
        return 0 if tree is None else _value(tree)

    def check(result: Any) -> Any:
        numbers = _plain_numbers(result) if decimals else result
        _added(None, numbers, decimals, "the result")
        return numbers

    return CheckedFold(fold, check)


def _valid(name: str) -> str:
    File(b"", name)  # raises for an invalid name when the job is defined, not when it is folded
    return name


def _names(columns: Sequence[str] | None) -> Sequence[str] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise ConfigurationError(f"columns must be a list of names, such as ['id', 'name'], or None, not {columns!r}")
    return list(columns)


def _dicts(results: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for number, result in enumerate(results):
        if not isinstance(result, dict):
            raise SegmentError(f"result {number} is not an object with numbers by key: {str(result)[:80]}")
        yield result


def _plain_numbers(value: Any) -> Any:
    """Return a number, or a dict of numbers of any depth, with the text of decimals."""
    if isinstance(value, dict):
        return {key: _plain_numbers(member) for key, member in value.items()}
    return plain(value) if isinstance(value, Decimal) else value


def _added(tree: Any, value: Any, decimals: bool, where: str) -> Any:
    """Return a tree of sums (a dict of trees, or a sum) with a value added."""
    if isinstance(value, dict):
        if tree is None:
            tree = {}
        if not isinstance(tree, dict):
            raise SegmentError(f"{where} is an object, but earlier results have a number there")
        for key, part in value.items():
            tree[key] = _added(tree.get(key), part, decimals, f"{where.removesuffix(',')}, {key!r},")
        return tree
    if tree is None:
        tree = Sum()
    if not isinstance(tree, Sum):
        raise SegmentError(f"{where} is {value!r}, but earlier results have an object there")
    tree.add(value, decimals=decimals, where=where)
    return tree


def _value(tree: Any) -> Any:
    if isinstance(tree, Sum):
        return tree.value()
    return {key: _value(tree[key]) for key in sorted(tree)}
