"""Folds with a check of the result of one segment, so that a value that they cannot use fails where it is returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanfold._folds.output_file import File, temporary_file
from fanfold._folds.row_files import drop


@dataclass(frozen=True, slots=True)
class CheckedFold:
    """A fold of results into a value."""

    fold: Callable[[Iterable[Any]], Any]
    """Takes the results; returns the output."""
    check: Callable[[Any], Any]
    """Returns the result of a segment as a JSON value that the fold can use, or raises SegmentError."""

    def __call__(self, results: Iterable[Any]) -> Any:
        return self.fold(results)


@dataclass(frozen=True, slots=True)
class RowsFold:
    """A fold of rows into a file: each element of a result that is a list is a row, or the result itself."""

    name: str
    """Name of the file."""
    content_type: str
    """Media type of the file."""
    write: Callable[[Path, Iterable[Any]], int]
    """Writes the rows of results; returns their number."""
    check_rows: Callable[[Iterable[Any]], list[Any]]
    """Returns rows as JSON values, or raises SegmentError if the format cannot represent one."""

    def __call__(self, results: Iterable[Any]) -> File:
        path = temporary_file()
        try:
            return File(path, self.name, self.content_type, rows=self.write(path, results), temporary=True)
        except BaseException:
            drop(path)
            raise

    def check(self, result: Any) -> Any:
        """Return the result of a segment as a JSON value that this fold can write.

        Raises:
            SegmentError: If it cannot write a row; names the row of the result, and the column.
        """
        if isinstance(result, list | tuple):
            return self.check_rows(result)
        (row,) = self.check_rows([result])
        return row


def rows_of(results: Iterable[Any]) -> Iterator[Any]:
    """Yield the rows of results."""
    for result in results:
        if isinstance(result, list):
            yield from result
        else:
            yield result
