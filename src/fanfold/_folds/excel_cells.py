"""Values of rows as cells of an Excel sheet."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

EXCEL_CHARACTERS: Final = 32_767
"""Maximum characters of a cell (Excel specifications and limits)."""
EXCEL_DIGITS: Final = 15
"""Maximum significant digits of a number (Excel specifications and limits)."""
_SMALLEST: Final = 2.2251e-308
"""Smallest positive number of a cell (Excel specifications and limits)."""
_LARGEST: Final = 9.99999999999999e307
"""Largest number of a cell (Excel specifications and limits)."""
_FIRST_DAY: Final = datetime(1900, 1, 1)  # noqa: DTZ001 - Excel has no time zones
_LAST_MOMENT: Final = datetime(9999, 12, 31, 23, 59, 59, 999_000)  # noqa: DTZ001 - as above


def cell(value: Any) -> Any:
    """Return a value for a cell: a string, a number, a boolean, a date or time without an offset, or None.

    A number that Excel cannot represent becomes a string, and a date and time with an offset is converted to UTC.

    Raises:
        ValueError: If Excel cannot represent it; states why.
    """
    if value is None or (type(value) is str and len(value) <= EXCEL_CHARACTERS):
        return value
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date):
        _moment(datetime.combine(value, time()))
        return value
    if isinstance(value, time):
        if value.tzinfo is not None:
            raise ValueError(f"{value.isoformat()} has an offset, and Excel has no time zones: return it without")
        return value
    if isinstance(value, dict | list | tuple):
        value = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, int | float | Decimal):
        value = _number(value)
    if isinstance(value, str) and len(value) > EXCEL_CHARACTERS:
        raise ValueError(f"a string of {len(value):,} characters exceeds the Excel limit of {EXCEL_CHARACTERS:,}")
    return value


def _number(value: float | Decimal) -> Any:
    if isinstance(value, Decimal):
        is_number = value.is_finite() and _digits(value) <= EXCEL_DIGITS and (not value or _is_in_range(float(value)))
        return float(value) if is_number else str(value)
    is_number = abs(value) < 10**EXCEL_DIGITS if isinstance(value, int) else not value or _is_in_range(value)
    return value if is_number else str(value)


def _is_in_range(value: float) -> bool:
    return _SMALLEST <= abs(value) <= _LARGEST


def _digits(value: Decimal) -> int:
    """Return the number of significant digits."""
    return len("".join(map(str, value.as_tuple().digits)).strip("0"))


def _moment(value: datetime) -> datetime:
    try:
        moment = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        moment = datetime.min  # noqa: DTZ901 - refused below
    if not _FIRST_DAY <= moment <= _LAST_MOMENT:
        raise ValueError(f"{value.isoformat()} is outside of the dates of Excel, 1900 to 9999: return a string")
    return moment
