"""Ready folds: each makes a function for ``job.fold``.

Every one goes through the results once (Parquet: twice), in segment order, and holds no more than it says: numbers are
added up, groups are held by key, rows are written to a file that becomes the output.
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
"""A fold: results in, output out."""
_EXCEL_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def total(*, decimals: bool = False) -> Fold:
    """Return a fold that adds results up: numbers, or dicts of numbers, of any depth, key by key.

    Exact: whole numbers keep every digit, and of numbers with a fraction the sum is rounded once, at the end, so that
    their order makes no difference. Of no results it is 0.

    Args:
        decimals: Whether texts such as ``"12.30"`` are numbers: they are added as decimals, exactly, and sums with one
            of them are texts. JSON has no decimals; ``str`` of a ``Decimal`` is how a segment returns one.
    """

    def fold(results: Iterable[Any]) -> Any:
        tree: Any = None
        for number, result in enumerate(results):
            tree = _added(tree, result, decimals, f"result {number}")
        return 0 if tree is None else _value(tree)

    return fold


def groups(*, decimals: bool = False) -> Fold:
    """Return a fold that adds up by key: results are dicts of numbers, or of dicts of numbers; keys come out sorted.

    As ``total``, but of no results it is an empty dict, and a result that is no dict is an error. All keys are in
    memory.
    """
    add = total(decimals=decimals)

    def fold(results: Iterable[Any]) -> Any:
        return add(_dicts(results)) or {}

    return fold


def count() -> Fold:
    """Return a fold that counts: the rows of results that are lists, and one for any other result."""

    def fold(results: Iterable[Any]) -> int:
        return sum(len(result) if isinstance(result, list) else 1 for result in results)

    return fold


def to_json_lines(name: str = "output.jsonl") -> Fold:
    """Return a fold that writes rows as JSON Lines: those of results that are lists, or the result itself."""
    _checked(name)

    def fold(results: Iterable[Any]) -> File:
        with JsonLines(name) as lines:
            for row in _rows(results):
                lines.write(row)
            return lines.file()

    return fold


def to_csv(name: str = "output.csv", *, columns: Sequence[str] | None = None) -> Fold:
    """Return a fold that writes rows as CSV: UTF-8, a header, quoted where it must be.

    Args:
        name: Name of the file.
        columns: Names of the columns; other values of a row are left out. None for those of the first row: then a row
            with another one is an error.
    """
    names = _names(columns)
    return _to_file(name, "text/csv; charset=utf-8", lambda path, results: write_csv(path, _rows(results), names))


def to_excel(
    name: str = "output.xlsx", *, columns: Sequence[str] | None = None, sheet: str = "rows", split: bool = True
) -> Fold:
    """Return a fold that writes rows as an Excel workbook. Needs ``fanfold[excel]``.

    Numbers of more than 15 digits become texts, since Excel would lose the rest; texts are never taken for formulas.

    Args:
        name: Name of the file.
        columns: As in ``to_csv``.
        sheet: Name of the sheet.
        split: Whether more than 1,048,575 rows go on in a second sheet; else they are an error.
    """
    names = _names(columns)
    return _to_file(
        name,
        _EXCEL_TYPE,
        lambda path, results: write_excel(path, _rows(results), names, sheet=sheet, split=split),
    )


def to_parquet(name: str = "output.parquet", *, columns: Sequence[str] | None = None) -> Fold:
    """Return a fold that writes rows as Parquet. Needs ``fanfold[parquet]``.

    The type of a column is the one that all of its values have in common; if they have none, the fold fails.

    Args:
        name: Name of the file.
        columns: Names of the columns; None for every one that a row has.
    """
    names = _names(columns)
    return _to_file(
        name,
        "application/vnd.apache.parquet",
        lambda path, results: write_parquet(path, lambda: _rows(results), names),
    )


def _to_file(name: str, content_type: str, write: Callable[[Path, Iterable[Any]], int]) -> Fold:
    _checked(name)

    def fold(results: Iterable[Any]) -> File:
        path = temporary_file()
        try:
            return File(path, name, content_type, rows=write(path, results), temporary=True)
        except BaseException:
            drop(path)
            raise

    return fold


def _checked(name: str) -> None:
    File(b"", name)  # a wrong name is told when the job is made, not when it is folded


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
            raise SegmentError(f"result {number} is no object with numbers by key: {str(result)[:80]}")
        yield result


def _added(tree: Any, value: Any, decimals: bool, where: str) -> Any:
    """Return a tree of sums with a value added: a dict of trees, or a sum."""
    if isinstance(value, dict):
        if tree is None:
            tree = {}
        if not isinstance(tree, dict):
            raise SegmentError(f"{where} is an object, where others are numbers")
        for key, part in value.items():
            tree[key] = _added(tree.get(key), part, decimals, f"{where}, {key!r},")
        return tree
    if tree is None:
        tree = Sum()
    if not isinstance(tree, Sum):
        raise SegmentError(f"{where} is {value!r}, where others are objects")
    tree.add(value, decimals=decimals, where=where)
    return tree


def _value(tree: Any) -> Any:
    if isinstance(tree, Sum):
        return tree.value()
    return {key: _value(tree[key]) for key in sorted(tree)}
