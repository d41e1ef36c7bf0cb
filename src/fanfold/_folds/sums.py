"""Sums that lose nothing: of whole numbers, of numbers with a fraction, and of decimals written as text."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from fanfold.errors import SegmentError

_DIGITS: Final = 2_000
_EXACT: Final = decimal.Context(prec=_DIGITS, traps=[decimal.Inexact, decimal.InvalidOperation])
"""Holds any number of DynamoDB, and more; what it cannot hold raises, and is never rounded."""


class Sum:
    """A sum; the order in which numbers are added makes no difference to its value."""

    __slots__ = ("_decimal", "_parts", "_whole")

    def __init__(self) -> None:
        self._whole = 0
        self._parts: list[float] = []
        self._decimal: Decimal | None = None

    def add(self, value: Any, *, decimals: bool = False, where: str = "a value") -> None:
        """Add a number.

        Args:
            value: The number; with ``decimals``, a text that is one too.
            decimals: Whether texts are numbers.
            where: What an error names.

        Raises:
            SegmentError: If it is no number, or none that is finite.
        """
        if isinstance(value, int) and not isinstance(value, bool):
            self._whole += value
        elif isinstance(value, float) and math.isfinite(value):
            self._parts = _with(self._parts, value)
        elif decimals and isinstance(value, str):
            self._decimal = _plus(self._decimal or Decimal(0), _decimal_of(value, where), where)
        else:
            raise SegmentError(f"{where} is no number that can be added up: {str(value)[:80]!r}")

    def value(self) -> int | float | str:
        """Return the sum: whole if all numbers were, rounded once if not, a text if one of them was.

        Raises:
            SegmentError: If it is larger than a number with a fraction can be.
        """
        if self._decimal is not None:
            found = _plus(self._decimal, Decimal(self._whole), "the sum")
            for part in self._parts:
                found = _plus(found, Decimal(part), "the sum")
            return format(found, "f")
        if not self._parts:
            return self._whole
        try:
            return float(sum(map(Fraction, self._parts), Fraction(self._whole)))
        except OverflowError as error:
            raise SegmentError("a sum is larger than a number with a fraction can be") from error


def _with(parts: list[float], value: float) -> list[float]:
    """Return parts whose sum, if nothing were rounded, is that of the parts and the value (Shewchuk, 1997)."""
    grown = []
    for part in parts:
        larger, smaller = (value, part) if abs(value) >= abs(part) else (part, value)
        value = larger + smaller
        lost = smaller - (value - larger)
        if lost:
            grown.append(lost)
    if not math.isfinite(value):
        raise SegmentError("a sum is larger than a number with a fraction can be")
    return [*grown, value]


def _decimal_of(text: str, where: str) -> Decimal:
    try:
        found = Decimal(text)
    except decimal.InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or abs(found.adjusted()) > _DIGITS:
        raise SegmentError(f"{where} is no number that can be added up: {text[:80]!r}")
    return found


def _plus(one: Decimal, other: Decimal, where: str) -> Decimal:
    try:
        return _EXACT.add(one, other)
    except decimal.Inexact as error:
        raise SegmentError(f"{where} has more than {_DIGITS:,} digits") from error
