"""Values read from JSON, checked against the types of the classes that hold them."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from fanfold.errors import ConfigurationError

T = TypeVar("T")
_MAX_INTEGER: Final = 10**15
_MAX_NUMBER: Final = 1e100
_PLAIN: Final[Mapping[Any, tuple[Callable[[Any], bool], str]]] = {
    int: (lambda value: type(value) is int and abs(value) <= _MAX_INTEGER, "an integer"),
    float: (lambda value: type(value) in (int, float) and -_MAX_NUMBER < value < _MAX_NUMBER, "a number"),
    str: (lambda value: type(value) is str, "a string"),
    bool: (lambda value: type(value) is bool, "true or false"),
    Mapping: (lambda value: type(value) is dict, "an object"),
}
"""The check of a value by its type, and its name."""


def decode(kind: type[T], value: object, where: str) -> T:
    """Return an instance of a dataclass from a JSON object.

    Args:
        kind: A dataclass whose fields are numbers, strings, Booleans, mappings, tuples of one type, other such classes,
            or None.
        value: The value as ``json.loads`` returns it.
        where: The place of the value, for errors.

    Raises:
        ConfigurationError: If a field is missing, not known, or not of its type, or a number is not finite or far too
            large.
    """
    decoded: T = _decode(kind, value, where)
    return decoded


def _decode(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _instance(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _decode(kind, value, where)
    if origin is tuple:
        _require(isinstance(value, list), "a list", value, where)
        return tuple(_decode(arguments[0], item, f"{where}[{number}]") for number, item in enumerate(value))
    is_valid, requirement = _PLAIN[origin or kind]
    _require(is_valid(value), requirement, value, where)
    return value


def _instance(kind: Any, value: Any, where: str) -> Any:
    _require(isinstance(value, dict), "an object", value, where)
    fields = _types(kind)
    for name in value:
        if name not in fields:
            raise ConfigurationError(f"{where} has the unknown key {name!r}")
    defaults = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    }
    for name in fields:
        if name not in value and name not in defaults:
            raise ConfigurationError(f"{where} has no key {name!r}")
    return kind(**{name: _decode(fields[name], item, f"{where}.{name}") for name, item in value.items()})


@functools.cache
def _types(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _require(valid: bool, requirement: str, value: Any, where: str) -> None:
    if not valid:
        text = repr(value)
        raise ConfigurationError(f"{where} must be {requirement}, not {text if len(text) < 60 else text[:59] + '…'}")  # noqa: PLR2004 - one line
