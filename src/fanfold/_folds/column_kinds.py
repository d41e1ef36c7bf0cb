"""The kind of values in a column of a Parquet file, which all its rows must share.

Integers and floats share a column of floats, if every integer is an exact float; integers and decimals share a column
of decimals. Any other mixture is refused with both rows.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final, TypeAlias

from fanfold._base.json_problems import place_of
from fanfold._folds.column_types import excerpt
from fanfold.errors import SegmentError

MAX_INTEGER: Final = 2**63 - 1
"""Largest integer of a column."""
MAX_EXACT: Final = 2**53
"""Integers up to this one are exact floats (IEEE 754)."""
MAX_DIGITS: Final = 38
"""Maximum digits of a decimal before the point, and after it: together, those of Arrow's ``decimal256``."""
_AWARE: Final = "timestamp"
_EXACT_CLASSES: Final = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    dict: "object",
    list: "list",
    tuple: "list",
    Decimal: "decimal",
    date: "date",
    time: "time",
}

Step: TypeAlias = str | int


class Kind:
    """The kind of the values at one place of the rows."""

    __slots__ = ("digits", "element", "largest", "members", "name", "row", "scale", "wide_row")

    def __init__(self) -> None:
        self.name: str | None = None
        """Such as ``integer`` or ``list``; None if all values are None."""
        self.row: int = 0
        """The first row with a value of this kind."""
        self.wide_row: int | None = None
        """The first row with an integer that is not an exact float."""
        self.digits: int = 0
        """Maximum digits before the point, of integers and decimals."""
        self.scale: int = 0
        """Maximum digits after the point, of decimals."""
        self.largest: int = 0
        """Largest absolute integer."""
        self.element: Kind | None = None
        """The kind of the elements of lists."""
        self.members: dict[str, Kind] = {}
        """The kinds of the members of objects."""

    def add(self, value: Any, row: int, path: tuple[Step, ...]) -> None:
        """Include a value.

        Args:
            value: The value.
            row: Its row, from 0.
            path: Its column, and its place in the value of the column.

        Raises:
            SegmentError: If a column of this kind cannot contain it; names the row and the column.
        """
        if value is None:
            return
        name = _EXACT_CLASSES.get(type(value)) or _name_of(value)
        if name is None:
            raise _refusal(row, path, f"{excerpt(value)} has no Parquet type ({type(value).__name__})")
        if name != self.name:
            self._merge(name, value, row, path)
        if name == "integer":
            self._add_integer(value, row, path)
        elif name == "decimal":
            self._add_decimal(value, row, path)
        elif name == _AWARE:
            _check_offset(value, row, path)
        elif name in {"list", "object"}:
            self._add_inner(value, row, path)

    def _add_inner(self, value: Any, row: int, path: tuple[Step, ...]) -> None:
        if self.name == "object":
            for key, member in value.items():
                self.members.setdefault(key, Kind()).add(member, row, (*path, key))
        else:
            self.element = self.element or Kind()
            for position, element in enumerate(value):
                self.element.add(element, row, (*path, position))

    def _merge(self, name: str, value: Any, row: int, path: tuple[Step, ...]) -> None:
        """Change the kind so that it includes another one."""
        if self.name is None:
            self.name, self.row = name, row
        elif {self.name, name} in ({"integer", "number"}, {"integer", "decimal"}):
            if "number" in {self.name, name} and self.wide_row is not None:
                raise _refusal(
                    row,
                    path,
                    f"{excerpt(value)} is a float, but the integer of row {self.wide_row} is not an exact one",
                )
            self.name = "number" if "number" in {self.name, name} else "decimal"
        else:
            raise _refusal(
                row,
                path,
                f"{excerpt(value)} is {_article(name)}, but row {self.row} has {_article(self.name)}: return values of "
                "one type, and declare it in types=",
            )

    def _add_integer(self, value: int, row: int, path: tuple[Step, ...]) -> None:
        size = abs(value)
        if not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
            raise _refusal(
                row,
                path,
                f"{excerpt(value)} has more than 64 bits: declare it as 'decimal' in types=, or return a string",
            )
        if size <= self.largest:
            return
        if size > MAX_EXACT:
            if self.name == "number":
                raise _refusal(row, path, f"{value} is not an exact float, but other rows of the column have floats")
            self.wide_row = row if self.wide_row is None else self.wide_row
        self.largest, self.digits = size, max(self.digits, len(str(size)))

    def _add_decimal(self, value: Decimal, row: int, path: tuple[Step, ...]) -> None:
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int):
            raise _refusal(row, path, f"{value} is not a finite number")
        digits = 1 if value.is_zero() else value.adjusted() + 1
        if max(digits, -exponent) > MAX_DIGITS:
            raise _refusal(row, path, f"{excerpt(value)} has more than {MAX_DIGITS} digits before or after the point")
        self.digits, self.scale = max(self.digits, digits, 1), max(self.scale, -exponent)


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "io" else f"a {name}"


def _name_of(value: Any) -> str | None:
    if isinstance(value, datetime):
        return "datetime" if value.tzinfo is None else _AWARE
    return next((name for kind, name in _EXACT_CLASSES.items() if isinstance(value, kind)), None)


def _check_offset(value: datetime, row: int, path: tuple[Step, ...]) -> None:
    try:
        value.astimezone(UTC)
    except OverflowError as error:
        raise _refusal(row, path, f"{value.isoformat()} is before year 1 or after year 9999 in UTC") from error


def _refusal(row: int, path: tuple[Step, ...], reason: str) -> SegmentError:
    return SegmentError(f"{place_of((row, *path))}: {reason}")
