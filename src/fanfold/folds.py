"""Ready-made folds: each function returns a function for ``job.fold``.

A fold reads the results once (Parquet: twice), in segment order. In memory are only a sum, the sums by key, or the
current rows of a file; the file becomes the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from fanfold._folds.output_file import File, temporary_file
from fanfold._folds.row_files import JsonLines, drop, write_csv, write_excel, write_parquet
from fanfold._folds.sums import Sum
from fanfold.errors import ConfigurationError, SegmentError

__all__ = ["File", "count", "groups", "to_csv", "to_excel", "to_json_lines", "to_parquet", "total"]

Fold: TypeAlias = Callable[[Iterable[Any]], Any]
"""A fold: takes the results and returns the output."""
_EXCEL_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def total(*, decimals: bool = False) -> Fold:
    """Return a fold that adds up results: numbers, or dicts of numbers of any depth, key by key.

    The sum is exact: integers keep every digit, and a sum of floats is rounded once, at the end, so the order makes no
    difference. The sum of no results is 0.

    Args:
        decimals: Whether strings such as ``"12.30"`` are numbers. They are added exactly, as decimals, and a sum that
            includes one is a string. JSON has no decimals: a segment returns a ``Decimal`` as ``str(value)``.
    """

    def fold(results: Iterable[Any]) -> Any:
        tree: Any = None
        for number, result in enumerate(results):
            tree = _added(tree, result, decimals, f"result {number}")
        return 0 if tree is None else _value(tree)

    return fold


def groups(*, decimals: bool = False) -> Fold:
    """Return a fold that adds up by key: results are dicts of numbers, or of dicts of numbers. Keys are sorted.

    Like ``total``, except that the sum of no results is an empty dict and a result that is not a dict is an error. All
    keys are in memory.
    """
    add = total(decimals=decimals)

    def fold(results: Iterable[Any]) -> Any:
        return add(_dicts(results)) or {}

    return fold


def count() -> Fold:
    """Return a fold that counts rows: the length of a result that is a list, and 1 for any other result."""

    def fold(results: Iterable[Any]) -> int:
        return sum(len(result) if isinstance(result, list) else 1 for result in results)

    return fold


def to_json_lines(name: str = "output.jsonl") -> Fold:
    """Return a fold that writes rows as JSON Lines: each element of a result that is a list, or the result itself."""
    _check_name(name)

    def fold(results: Iterable[Any]) -> File:
        with JsonLines(name) as lines:
            if (texts := getattr(results, "texts", None)) is not None:  # the results of a run
                for text in texts():
                    lines.write_result(text)
            else:
                for row in _rows(results):
                    lines.write(row)
            return lines.file()

    return fold


def to_csv(name: str = "output.csv", *, columns: Sequence[str] | None = None) -> Fold:
    """Return a fold that writes rows as CSV: UTF-8, with a header, quoted where necessary.

    Args:
        name: Name of the file.
        columns: Names of the columns; other values of a row are left out. None for the columns of the first row: then a
            row with another column is an error.
    """
    names = _names(columns)
    return _to_file(name, "text/csv; charset=utf-8", lambda path, results: write_csv(path, _rows(results), names))


def to_excel(
    name: str = "output.xlsx", *, columns: Sequence[str] | None = None, sheet: str = "rows", split: bool = True
) -> Fold:
    """Return a fold that writes rows as an Excel workbook. Needs ``fanfold[excel]``.

    A number of more than 15 digits is written as text, because Excel would drop the other digits. A string is never
    written as a formula.

    Args:
        name: Name of the file.
        columns: As in ``to_csv``.
        sheet: Name of the sheet.
        split: Whether more than 1,048,575 rows continue in a second sheet; otherwise they are an error.
    """
    names = _names(columns)
    return _to_file(
        name,
        _EXCEL_TYPE,
        lambda path, results: write_excel(path, _rows(results), names, sheet=sheet, split=split),
    )


def to_parquet(name: str = "output.parquet", *, columns: Sequence[str] | None = None) -> Fold:
    """Return a fold that writes rows as Parquet. Needs ``fanfold[parquet]``.

    The type of a column is the common type of all its values; without one, the fold fails.

    Args:
        name: Name of the file.
        columns: Names of the columns; None for all columns of all rows.
    """
    names = _names(columns)
    return _to_file(
        name,
        "application/vnd.apache.parquet",
        lambda path, results: write_parquet(path, lambda: _rows(results), names),
    )


def _to_file(name: str, content_type: str, write: Callable[[Path, Iterable[Any]], int]) -> Fold:
    _check_name(name)

    def fold(results: Iterable[Any]) -> File:
        path = temporary_file()
        try:
            return File(path, name, content_type, rows=write(path, results), temporary=True)
        except BaseException:
            drop(path)
            raise

    return fold


def _check_name(name: str) -> None:
    File(b"", name)  # raises for an invalid name when the job is defined, not when it is folded


def _names(columns: Sequence[str] | None) -> Sequence[str] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise ConfigurationError(f"columns must be a list of names, such as ['id', 'name'], or None, not {columns!r}")
    return list(columns)


def _rows(results: Iterable[Any]) -> Iterator[Any]:
    for result in results:
        if isinstance(result, list):
            yield from result
        else:
            yield result


def _dicts(results: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for number, result in enumerate(results):
        if not isinstance(result, dict):
            raise SegmentError(f"result {number} is not an object with numbers by key: {str(result)[:80]}")
        yield result


def _added(tree: Any, value: Any, decimals: bool, where: str) -> Any:
    """Return a tree of sums (a dict of trees, or a sum) with a value added."""
    if isinstance(value, dict):
        if tree is None:
            tree = {}
        if not isinstance(tree, dict):
            raise SegmentError(f"{where} is an object, but earlier results have a number there")
        for key, part in value.items():
            tree[key] = _added(tree.get(key), part, decimals, f"{where}, {key!r},")
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
