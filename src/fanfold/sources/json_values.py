"""Parse the JSON values of one line strictly: what JSON, UTF-8, or a float cannot represent is refused.

``NaN``, ``Infinity``, a number beyond the largest float, two members with one name, and half of a surrogate pair are
errors. Objects may follow one another without a line end, as Amazon Data Firehose writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from fanfold._base.json_problems import json_problem, place_of

ValuesOf: TypeAlias = Callable[[str], Sequence[Any]]
"""Returns the values of a line, none for a blank one; raises ValueError or RecursionError for malformed JSON."""

_WHITESPACE: Final = re.compile(r"[ \t\n\r]*")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def values_parser(*, decimals: bool) -> ValuesOf:
    """Return a parser of lines of JSON.

    Args:
        decimals: Whether numbers with a fraction or an exponent are ``decimal.Decimal`` instead of ``float``.
    """
    decoder = json.JSONDecoder(
        parse_float=_decimal if decimals else _float, parse_constant=_no_constant, object_pairs_hook=_members
    )

    def values_of(line: str) -> Sequence[Any]:
        values: list[Any] = []
        start = _after_whitespace(line, 0)
        while start < len(line):
            if values and not (isinstance(values[-1], dict) and line[start] == "{"):
                raise ValueError(f"unexpected data after the value, at character {start}: {line[start : start + 20]!r}")
            value, stop = decoder.raw_decode(line, start)
            if "\\u" in line and _SURROGATE.search(line, start, stop):
                _check_surrogates(value)
            values.append(value)
            start = _after_whitespace(line, stop)
        return values

    return values_of


def _after_whitespace(text: str, start: int) -> int:
    return _WHITESPACE.match(text, start).end()  # type: ignore[union-attr] # the pattern matches the empty string


def _check_surrogates(value: Any) -> None:
    problem = json_problem(value, allowed=(Decimal,))
    if problem is not None:
        raise ValueError(": ".join(filter(None, [place_of(problem.path), problem.reason])))


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for position, name in enumerate(names) if name in names[:position])
        raise ValueError(f"an object has two members named {twice!r}")
    return members


def _float(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(f"{text[:40]} exceeds the largest float: set decimals=True for exact numbers")
    return value


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"{text[:40]} exceeds the largest decimal") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON: write null or a string")
