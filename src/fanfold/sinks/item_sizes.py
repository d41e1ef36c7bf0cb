"""The size of an item: in storage, and on the wire."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from fanfold._base.dynamodb_numbers import number_text
from fanfold._base.json_problems import has_lone_surrogate, surrogate_reason

_TYPE_BYTES: Final = 10
"""Maximum overhead of a value: braces, the name of its type, a colon, and a comma, as in ``{"NULL":true},``."""


class UnstorableError(TypeError):
    """A value in an item that DynamoDB cannot store."""

    def __init__(self, path: tuple[str | int, ...], reason: str) -> None:
        self.path = path
        """Names and list positions that lead to the value."""
        self.reason = reason
        """The problem."""
        first, *rest = path
        super().__init__(f"attribute {first!r}{''.join(f'[{step!r}]' for step in rest)}: {reason}")


@dataclass(frozen=True, slots=True)
class ItemSize:
    """The size of a value."""

    stored_bytes: int
    """Size that counts against the limit of 400 KB; approximate for numbers, but never too low."""
    sent_bytes: int
    """Size as JSON on the wire; never too low."""

    def __add__(self, other: ItemSize) -> ItemSize:
        return ItemSize(self.stored_bytes + other.stored_bytes, self.sent_bytes + other.sent_bytes)


def size_of(value: Any) -> ItemSize:
    """Return the size of a value of an item, or of an item.

    Raises:
        TypeError: If DynamoDB does not support the type, or cannot represent the number or the string; names the
            attribute.
    """
    for kinds, measure in _MEASURES:
        if isinstance(value, kinds):
            return measure(value)
    if isinstance(value, float):
        raise TypeError(f"DynamoDB cannot represent the float {value!r} exactly: use decimal.Decimal")
    raise TypeError(f"DynamoDB does not support values of type {type(value).__name__}")


def _of_constant(_: bool | None) -> ItemSize:
    return ItemSize(1, _TYPE_BYTES + len("false"))


def _of_text(value: str) -> ItemSize:
    if has_lone_surrogate(value):
        raise TypeError(surrogate_reason(value))
    return ItemSize(len(value.encode()), _TYPE_BYTES + len(json.dumps(value)))


def _of_bytes(value: bytes | bytearray) -> ItemSize:
    return ItemSize(len(value), _TYPE_BYTES + 4 * (len(value) // 3 + 1))


def _of_map(value: Mapping[Any, Any]) -> ItemSize:
    return sum(map(_of_member, value.items()), ItemSize(3, _TYPE_BYTES + 2))


def _of_list(value: list[Any] | tuple[Any, ...]) -> ItemSize:
    inner = ItemSize(3, _TYPE_BYTES + 2)
    for position, element in enumerate(value):
        inner += _of_part(element, position)
    return ItemSize(inner.stored_bytes + len(value), inner.sent_bytes)


def _of_number(value: int | Decimal) -> ItemSize:
    text = number_text(value)
    digits = len(Decimal(text).as_tuple().digits)
    return ItemSize((digits + 1) // 2 + 2, _TYPE_BYTES + len(text) + 2)


def _of_member(member: tuple[Any, Any]) -> ItemSize:
    name, value = member
    if not isinstance(name, str):
        raise TypeError(f"an attribute name must be a string, not {name!r}")
    if has_lone_surrogate(name):
        raise TypeError(f"an attribute name: {surrogate_reason(name)}")
    return _of_part(value, name) + ItemSize(len(name.encode()) + 1, len(json.dumps(name)) + 1)


def _of_part(value: Any, place: str | int) -> ItemSize:
    try:
        return size_of(value)
    except UnstorableError as error:
        raise UnstorableError((place, *error.path), error.reason) from error.__cause__
    except TypeError as error:
        raise UnstorableError((place,), str(error)) from error


def _of_set(value: set[Any] | frozenset[Any]) -> ItemSize:
    kinds = (str, bytes, int | Decimal)
    is_uniform = any(all(isinstance(item, kind) and not isinstance(item, bool) for item in value) for kind in kinds)
    if not value or not is_uniform:
        raise TypeError("a set must not be empty, and must contain only strings, only numbers, or only bytes")
    return sum(map(size_of, value), ItemSize(3, _TYPE_BYTES + 2))


_MEASURES: Final[Sequence[tuple[tuple[type, ...], Callable[[Any], ItemSize]]]] = (
    ((bool, type(None)), _of_constant),  # before int, because bool is a subclass of int
    ((str,), _of_text),
    ((int, Decimal), _of_number),
    ((bytes, bytearray), _of_bytes),
    ((Mapping,), _of_map),
    ((list, tuple), _of_list),
    ((set, frozenset), _of_set),
)
