"""Exact sums of integers, floats, and decimals written as strings."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from fanfold.errors import SegmentError

_DIGITS: Final = 2_000
_EXACT: Final = decimal.Context(prec=_DIGITS, traps=[decimal.Inexact, decimal.InvalidOperation])
"""Represents every number of DynamoDB, and more; it raises an error instead of rounding."""


class Sum:
    """A sum whose value does not depend on the order of the numbers."""

    __slots__ = ("_decimal", "_integers", "_parts")

    def __init__(self) -> None:
        self._integers = 0
        self._parts: list[float] = []
        self._decimal: Decimal | None = None

    def add(self, value: Any, *, decimals: bool = False, where: str = "a value") -> None:
        """Add a number.

        Args:
            value: The number; with ``decimals``, also a string such as ``"12.30"``.
            decimals: Whether strings are numbers.
            where: The place of the value, for errors.

        Raises:
            SegmentError: If the value is not a finite number.
        """
        if isinstance(value, int) and not isinstance(value, bool):
            self._integers += value
        elif isinstance(value, float) and math.isfinite(value):
            self._parts = _with_value(self._parts, value)
        elif decimals and isinstance(value, str):
            self._decimal = _exact_sum(self._decimal or Decimal(0), _decimal_of(value, where), where)
        else:
            raise SegmentError(f"{where} is not a finite number: {str(value)[:80]!r}")

    def value(self) -> int | float | str:
        """Return the sum: an integer if all numbers are integers, a float rounded once, or a string with decimals.

        Raises:
            SegmentError: If the sum exceeds the largest float.
        """
        if self._decimal is not None:
            total = _exact_sum(self._decimal, Decimal(self._integers), "the sum")
            for part in self._parts:
                total = _exact_sum(total, Decimal(part), "the sum")
            return format(total, "f")
        if not self._parts:
            return self._integers
        try:
            return float(sum(map(Fraction, self._parts), Fraction(self._integers)))
        except OverflowError as error:
            raise SegmentError("a sum exceeds the largest float") from error


def _with_value(parts: list[float], value: float) -> list[float]:
    """Return parts whose exact sum is that of the given parts and the value (Shewchuk, 1997)."""
    new_parts = []
    for part in parts:
        larger, smaller = (value, part) if abs(value) >= abs(part) else (part, value)
        value = larger + smaller
        rounding_error = smaller - (value - larger)
        if rounding_error:
            new_parts.append(rounding_error)
    if not math.isfinite(value):
        raise SegmentError("a sum exceeds the largest float")
    return [*new_parts, value]


def _decimal_of(text: str, where: str) -> Decimal:
    try:
        value = Decimal(text)
    except decimal.InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or abs(value.adjusted()) > _DIGITS:
        raise SegmentError(f"{where} is not a finite number: {text[:80]!r}")
    return value


def _exact_sum(first: Decimal, second: Decimal, where: str) -> Decimal:
    try:
        return _EXACT.add(first, second)
    except decimal.Inexact as error:
        raise SegmentError(f"{where} has more than {_DIGITS:,} digits") from error
