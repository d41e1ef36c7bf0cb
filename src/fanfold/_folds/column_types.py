"""The declared types of columns, and the Python values that stand for them.

JSON has no decimals, dates, or times. A segment's result contains their text, and a fold with declared types turns it
into values again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

from fanfold.errors import ConfigurationError

_EXCERPT: Final = 40
_EXCERPT_BITS: Final = 128


def check_types(types: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return valid types of columns by name.

    Raises:
        ConfigurationError: If it is not a dict of known types.
    """
    if not isinstance(types, Mapping | None) or not all(isinstance(name, str) for name in types or ()):
        raise ConfigurationError(f"types must be a dict, such as {{'price': 'decimal'}}, or None, not {types!r}")
    for name, kind in (types or {}).items():
        if not isinstance(kind, str) or kind not in _PARSERS:
            raise ConfigurationError(f"types: {name!r} must be one of {', '.join(_PARSERS)}, not {kind!r}")
    return dict(types or {})


def typed(value: Any, kind: str) -> Any:
    """Return the value of a declared type that a value of a result stands for; None stays None.

    Raises:
        ValueError: If it stands for none; states why.
    """
    if value is None:
        return None
    try:
        return _PARSERS[kind](value)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{excerpt(value)} is not a valid {kind}{_HINTS.get(kind, '')}") from error


def plain(value: Any) -> Any:
    """Return the text of a decimal, a date, or a time; any other value as is."""
    if isinstance(value, Decimal):
        return str(value)
    return value.isoformat() if isinstance(value, date | time) else value


def kind_of(value: Decimal | date | time) -> str:
    """Return the type to declare for a column of such values."""
    if isinstance(value, datetime):
        return "datetime" if value.tzinfo is None else "timestamp"
    kinds = {Decimal: "decimal", date: "date", time: "time"}
    return next(name for kind, name in kinds.items() if isinstance(value, kind))


def excerpt(value: Any) -> str:
    """Return the beginning of a value as text, for errors."""
    if isinstance(value, int) and value.bit_length() > _EXCERPT_BITS:
        return f"an integer of {value.bit_length():,} bits"
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


def _of_class(*kinds: type) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        if isinstance(value, bool) and bool not in kinds:
            raise ValueError("a boolean")
        if not isinstance(value, kinds) or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError("of another class")
        return value

    return parse


def _number(value: Any) -> float:
    number = float(_of_class(int, float)(value))
    if number != value:  # an integer that has no exact float
        raise ValueError("not exact")
    return number


def _decimal(value: Any) -> Decimal:
    if isinstance(value, float | bool):  # a float may have been rounded
        raise TypeError("not exact")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("not finite")
    return number


def _date(value: Any) -> date:
    if isinstance(value, datetime):
        raise TypeError("has a time")
    return value if isinstance(value, date) else date.fromisoformat(value)


def _time(value: Any) -> time:
    parsed = value if isinstance(value, time) else time.fromisoformat(value)
    if parsed.tzinfo is not None:
        raise ValueError("has an offset")
    return parsed


def _datetime(value: Any) -> datetime:
    parsed = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    if parsed.tzinfo is not None:
        raise ValueError("has an offset")
    return parsed


def _timestamp(value: Any) -> datetime:
    parsed = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    if parsed.tzinfo is None:
        raise ValueError("has no offset")
    return parsed.astimezone(UTC)


_HINTS: Final = {
    "number": ": an integer must have an exact float, or declare 'integer' or 'decimal'",
    "decimal": ": return a Decimal, an integer, or their text",
    "datetime": ": it must have no offset, or declare 'timestamp'",
    "timestamp": ": it must have an offset, or declare 'datetime'",
}
"""The end of an error, by type."""
_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "string": _of_class(str),
    "integer": _of_class(int),
    "number": _number,
    "boolean": _of_class(bool),
    "decimal": _decimal,
    "date": _date,
    "time": _time,
    "datetime": _datetime,
    "timestamp": _timestamp,
}
