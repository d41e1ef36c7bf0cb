"""Conditions on the columns of Parquet rows: checked, written to a plan, and evaluated."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, TypeAlias

from fanfold.errors import ConfigurationError

Condition: TypeAlias = tuple[str, str, Any]
"""A column, an operator, and a value, or a list of values for ``in`` and ``not in``."""
Alternatives: TypeAlias = Sequence[Sequence[Condition]]
"""A row matches if it meets all conditions of at least one alternative."""

_KERNELS: Final = {
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}
_LISTS: Final = ("in", "not in")
_NEGATIONS: Final = ("!=", "not in")
OPERATORS: Final = (*_KERNELS, *_LISTS)
_ENCODERS: Final[Mapping[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]]] = {
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),  # before date: a datetime is a date
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "decimal": (Decimal, str, Decimal),
    "bytes": (bytes, lambda value: base64.b64encode(value).decode(), base64.b64decode),
}


def checked(conditions: Any) -> list[list[list[Any]]]:
    """Return conditions as JSON: a list of alternatives, each a list of [column, operator, encoded value].

    Args:
        conditions: A list of conditions that a row must meet, or a list of such lists, of which it must meet one.

    Raises:
        ConfigurationError: If a condition is malformed.
    """
    if not isinstance(conditions, list | tuple) or not conditions:
        raise _misfit(conditions)
    is_nested = all(isinstance(entry, list) for entry in conditions)
    alternatives = conditions if is_nested else [conditions]
    if not all(alternatives):
        raise _misfit(conditions)
    return [[_checked(condition) for condition in alternative] for alternative in alternatives]


def decoded(alternatives: Sequence[Sequence[Sequence[Any]]]) -> list[list[Condition]]:
    """Reverse ``checked``."""
    return [
        [
            (column, operator, [_decode(item) for item in value] if operator in _LISTS else _decode(value))
            for column, operator, value in alternative
        ]
        for alternative in alternatives
    ]


def columns_of(alternatives: Alternatives) -> list[str]:
    """Return the names of the columns in conditions, each once."""
    return list(dict.fromkeys(column for alternative in alternatives for column, _, _ in alternative))


def mask_of(batch: Any, alternatives: Alternatives) -> Any:
    """Return for each row of an Arrow record batch whether it matches; null if a condition has no result.

    A null value never meets a condition.
    """
    import pyarrow.compute as pc

    masks = []
    for alternative in alternatives:
        met = [_met(pc, _plain(batch.column(column)), operator, value) for column, operator, value in alternative]
        mask = met[0]
        for other in met[1:]:
            mask = pc.and_kleene(mask, other)
        masks.append(mask)
    result = masks[0]
    for mask in masks[1:]:
        result = pc.or_kleene(result, mask)
    return result


def expression_of(alternatives: Alternatives) -> Any:
    """Return the pyarrow expression that skips row groups by their statistics; None if no condition can.

    Negations are left out: statistics do not count NaN, which meets them.
    """
    import pyarrow.compute as pc

    total = None
    for alternative in alternatives:
        met = [
            pc.field(column).isin(value)
            if operator == "in"
            else getattr(pc, _KERNELS[operator])(pc.field(column), value)
            for column, operator, value in alternative
            if operator not in _NEGATIONS
        ]
        if not met:
            return None
        expression = met[0]
        for other in met[1:]:
            expression &= other
        total = expression if total is None else total | expression
    return total


def _met(pc: Any, column: Any, operator: str, value: Any) -> Any:
    if operator in _KERNELS:
        return getattr(pc, _KERNELS[operator])(column, value)
    import pyarrow as pa

    is_member = pc.is_in(column, value_set=pa.array(value).cast(column.type))
    if operator == "not in":
        is_member = pc.invert(is_member)
    return pc.and_(is_member, pc.is_valid(column))


def _plain(column: Any) -> Any:
    """Return a column without dictionary encoding, for which few operators are defined."""
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _checked(condition: Any) -> list[Any]:
    try:
        column, operator, value = condition
    except (TypeError, ValueError):
        raise _misfit(condition) from None
    operator = "==" if operator == "=" else operator
    if not isinstance(column, str) or operator not in OPERATORS:
        raise _misfit(condition)
    if operator not in _LISTS:
        return [column, operator, _encode(value, condition)]
    if not isinstance(value, list | tuple | set | frozenset) or not value:
        raise ConfigurationError(f"S3Parquet: filter: {operator!r} needs a list of at least one value, not {value!r}")
    return [column, operator, [_encode(item, condition) for item in value]]


def _encode(value: Any, condition: Any) -> Any:
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    for kind, (python_type, encode, _) in _ENCODERS.items():
        if isinstance(value, python_type) and not (isinstance(value, Decimal) and not value.is_finite()):
            return {kind: encode(value)}
    raise ConfigurationError(
        f"S3Parquet: filter: the value in {condition!r} must be a string, a finite number, a Boolean, bytes, or a "
        f"date, time, or datetime, not {value!r}"
    )


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, text),) = value.items()
    return _ENCODERS[kind][2](text)


def _misfit(condition: Any) -> ConfigurationError:
    return ConfigurationError(
        f"S3Parquet: filter must be a list of conditions such as ('rank', '>=', 4), or a list of such lists, with the "
        f"operators {', '.join(OPERATORS)}, not {condition!r}"
    )
