"""DynamoDB JSON, in which each value states its type, as Python values."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final


class DynamoDBJsonError(ValueError):
    """A value is not DynamoDB JSON; the message states the path of the attribute."""


def plain_item(typed: Any, path: str = "") -> dict[str, Any]:
    """Return the attributes of an item as Python values.

    Numbers are exact, as ``Decimal``; binaries are ``bytes``; sets are ``set``.

    Args:
        typed: The attributes as DynamoDB JSON, binaries in base64.
        path: The path of the item, in errors; empty at the top level.

    Raises:
        DynamoDBJsonError: If it is not a map of typed values.
    """
    if not isinstance(typed, Mapping):
        raise DynamoDBJsonError(f"{path or 'the item'} must be a map of attributes, not {typed!r:.80}")
    return {name: _plain(value, f"{path}.{name}" if path else name) for name, value in typed.items()}


def _plain(typed: Any, path: str) -> Any:
    if not isinstance(typed, Mapping) or len(typed) != 1:
        raise DynamoDBJsonError(f"attribute {path}: must be one typed value such as {{'S': 'text'}}, not {typed!r:.80}")
    ((kind, value),) = typed.items()
    try:
        return _READERS[kind](value, path)
    except KeyError as error:
        raise DynamoDBJsonError(f"attribute {path}: unknown type {kind!r}") from error
    except (TypeError, ValueError, InvalidOperation, binascii.Error) as error:
        if isinstance(error, DynamoDBJsonError):
            raise
        raise DynamoDBJsonError(f"attribute {path}: {value!r:.80} is not a value of type {kind}") from error


def _text(value: Any, _path: str) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any, path: str) -> Decimal:
    number = Decimal(_text(value, path))
    if not number.is_finite():
        raise ValueError
    return number


def _binary(value: Any, path: str) -> bytes:
    return base64.b64decode(_text(value, path), validate=True)


def _boolean(value: Any, _path: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _null(value: Any, _path: str) -> None:
    if value is not True:
        raise TypeError


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return [_plain(element, f"{path}[{number}]") for number, element in enumerate(value)]


def _set_of(read: Callable[[Any, str], Any]) -> Callable[[Any, str], set[Any]]:
    def read_set(value: Any, path: str) -> set[Any]:
        if not isinstance(value, list):
            raise TypeError
        return {read(element, path) for element in value}

    return read_set


_READERS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "S": _text,
    "N": _number,
    "B": _binary,
    "BOOL": _boolean,
    "NULL": _null,
    "L": _list,
    "M": plain_item,
    "SS": _set_of(_text),
    "NS": _set_of(_number),
    "BS": _set_of(_binary),
}
