"""Find a value that JSON cannot represent, and where it is."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list positions that lead to a value."""
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_CONTAINERS: Final = (dict, list, tuple)
_INTEGER_BITS: Final = 14_284
"""Integers up to this size have at most 4,300 digits, the limit of Python for text."""
_EXCERPT: Final = 40


@dataclass(frozen=True, slots=True)
class JsonProblem:
    """Why JSON cannot represent a value."""

    path: Path
    """Where the value is; empty for the outermost value."""
    reason: str
    """The problem, and how to avoid it."""


def json_problem(value: Any, path: Path = (), *, allowed: tuple[type, ...] = ()) -> JsonProblem | None:
    """Return the first problem of a value; None if it is a JSON value that UTF-8 can encode.

    Args:
        value: The value.
        path: Where it is.
        allowed: Other classes whose values are not a problem.

    Raises:
        RecursionError: If it is nested too deeply.
    """
    if isinstance(value, dict):
        return _problem_of_members(value, path, allowed)
    if isinstance(value, list | tuple):
        problems = (json_problem(element, (*path, position), allowed=allowed) for position, element in enumerate(value))
        return next((problem for problem in problems if problem is not None), None)
    reason = _problem_of_scalar(value, allowed)
    return None if reason is None else JsonProblem(path, reason)


def has_other_keys(value: Any) -> bool:
    """Return whether a dict in a value has a key that is not a string; JSON would convert it, possibly to one in use.

    Raises:
        RecursionError: If the value is nested too deeply.
    """
    if type(value) in _SCALARS or not isinstance(value, _CONTAINERS):
        return False
    if isinstance(value, dict) and not set(map(type, value)) <= {str} and not all(isinstance(k, str) for k in value):
        return True
    members = value.values() if isinstance(value, dict) else value
    return any(has_other_keys(member) for member in members if type(member) not in _SCALARS)


def has_colliding_keys(value: Any) -> bool:
    """Return whether a dict in a JSON value has keys such as 1 and "1", of which JSON keeps only one.

    Raises:
        RecursionError: If the value is nested too deeply.
    """
    if type(value) in _SCALARS or not isinstance(value, _CONTAINERS):
        return False
    if isinstance(value, dict) and not set(map(type, value)) <= {str}:
        names = json.loads(json.dumps(dict.fromkeys(value)), object_pairs_hook=lambda pairs: pairs)
        if len({name for name, _ in names}) < len(value):
            return True
    members = value.values() if isinstance(value, dict) else value
    return any(has_colliding_keys(member) for member in members if type(member) not in _SCALARS)


def has_lone_surrogate(text: str) -> bool:
    """Return whether a string has half of a surrogate pair, which UTF-8 cannot encode."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def surrogate_reason(text: str) -> str:
    """Return the description of a string with half of a surrogate pair."""
    position = next(place for place, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    return (
        f"{_excerpt(text)} has half of a surrogate pair ({text[position]!r}), which UTF-8 cannot encode: replace it, "
        "such as by text.encode('utf-8', 'replace').decode()"
    )


def place_of(path: Path) -> str:
    """Return a path in a result as text: the row, the column, and keys and positions below it."""
    parts, rest = list[str](), path
    if rest and isinstance(rest[0], int):
        parts, rest = [f"row {rest[0]}"], rest[1:]
    if rest:
        parts.append(f"column {rest[0]!r}" + "".join(f"[{step!r}]" for step in rest[1:]))
    return ", ".join(parts)


def _problem_of_scalar(value: Any, allowed: tuple[type, ...]) -> str | None:
    if isinstance(value, str):
        return surrogate_reason(value) if has_lone_surrogate(value) else None
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value!r} is not a JSON number: use None or a string"
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
        return f"an integer of {value.bit_length():,} bits is too long for JSON: use a string"
    if value is None or isinstance(value, (int, float, *allowed)):
        return None
    return f"{_excerpt(value)} is not a JSON value ({type(value).__name__}){_advice(value)}"


def _problem_of_members(value: dict[Any, Any], path: Path, allowed: tuple[type, ...]) -> JsonProblem | None:
    for key, member in value.items():
        if not isinstance(key, str):
            return JsonProblem(path, f"the key {_excerpt(key)} is not a string ({type(key).__name__}): use str(key)")
        if has_lone_surrogate(key):
            return JsonProblem(path, f"a key: {surrogate_reason(key)}")
        problem = json_problem(member, (*path, key), allowed=allowed)
        if problem is not None:
            return problem
    return None


def _advice(value: Any) -> str:
    kind = type(value).__name__
    if kind in {"set", "frozenset", "generator", "dict_values", "dict_keys"}:
        return ": use a list"
    if kind in {"datetime", "date", "time"}:
        return ": use value.isoformat()"
    return ": use str(value)" if kind in {"Decimal", "UUID"} else ""


def _excerpt(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"
