"""Segments of Parquet objects: which row groups of which objects each one contains."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fanfold.errors import SourceError
from fanfold.sources.arrow_types import kind_of
from fanfold.sources.parquet_footer import Footer, RowGroup

_MAX_PIECES: Final = 1_000
"""Maximum objects in a segment, whose footers it reads one after another."""


class Pieces:
    """Packs row groups, in order, into segments of a maximum size.

    A piece is some row groups of one object; a segment is a list of pieces, each as JSON.

    Args:
        bytes_per_segment: Maximum bytes of a segment with more than one row group.
        totals: ``objects``, ``rows``, ``bytes``, and ``largest_bytes``, of the largest segment; updated.
    """

    def __init__(self, bytes_per_segment: int, totals: dict[str, int]) -> None:
        self._max_bytes = bytes_per_segment
        self._totals = totals
        self._pieces: list[bytes] = []
        self._bytes = 0

    def add(self, place: Mapping[str, Any], groups: Sequence[RowGroup]) -> Iterator[list[bytes]]:
        """Add the row groups of an object; yield the segments that are complete.

        Args:
            place: What identifies the object, as JSON values.
            groups: Its row groups.
        """
        self._totals["objects"] += 1
        numbers: list[int] = []
        for group in groups:
            is_full = self._bytes + group.size_bytes > self._max_bytes
            if (numbers or self._pieces) and is_full:
                self._finish_piece(place, numbers)
                yield from self.close()
                numbers = []
            numbers.append(group.number)
            self._bytes += group.size_bytes
            self._totals["rows"] += group.rows
            self._totals["bytes"] += group.size_bytes
        self._finish_piece(place, numbers)
        if len(self._pieces) == _MAX_PIECES:
            yield from self.close()

    def close(self) -> Iterator[list[bytes]]:
        """Yield the last segment, if there is one."""
        if self._pieces:
            self._totals["largest_bytes"] = max(self._totals["largest_bytes"], self._bytes)
            yield self._pieces
        self._pieces, self._bytes = [], 0

    def _finish_piece(self, place: Mapping[str, Any], numbers: Sequence[int]) -> None:
        if numbers:
            self._pieces.append(json.dumps({**place, "groups": numbers}, separators=(",", ":")).encode())


class SameColumns:
    """Checks that all objects have the same columns.

    Args:
        columns: The columns to compare; None for all.
        exact: Whether their Arrow types must be equal; otherwise, types with the same Python values are equal.
    """

    def __init__(self, columns: Sequence[str] | None, *, exact: bool) -> None:
        self._columns = columns
        self._exact = exact
        self._kinds: dict[str, str] = {}
        self._name = ""

    def check(self, footer: Footer) -> None:
        """Compare the columns of an object with those of the objects before.

        Raises:
            SourceError: If a column is missing, new, or has another type; names both objects and the column.
        """
        kinds = {
            field.name: str(field.type) if self._exact else kind_of(field.type)
            for field in footer.schema
            if self._columns is None or field.name in self._columns
        }
        if not self._name:
            self._name, self._kinds = footer.name, kinds
            return
        for column in [*self._kinds, *kinds]:
            before, now = self._kinds.get(column), kinds.get(column)
            if before == now:
                continue
            if not self._exact and "null" in {before, now} and before and now:  # a column without any value
                self._kinds[column] = now if before == "null" else before
                continue
            raise SourceError(
                f"{footer.name}: column {column!r} {_has(now)}, but in {self._name} it {_has(before)}: select columns "
                "that are the same with columns=, or use a job for each kind of object"
            )


def _has(kind: str | None) -> str:
    return "is missing" if kind is None else f"has type {kind}"
