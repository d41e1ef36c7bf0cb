"""Event filters of an SQS event source mapping: which messages match, by their bodies.

Lambda deletes a message that matches none of the filters of its mapping, without invoking the function. (Sources: the
Lambda developer guide, "Control which events Lambda sends to your function", with the sections "Filter rule syntax" and
"Properly filtering Amazon SQS messages", and "Using event filtering with an Amazon SQS event source".)

- SQS filters support the key ``body`` only. A pattern with another key matches no message.
- An object under ``body`` matches bodies that are JSON; a list of rules matches bodies that are plain strings. Neither
  matches a body of the other kind.
- Values are compared character by character. Numbers are compared as they are written: 300 and 300.0 differ.
- The rules of one field are alternatives; the fields of a pattern must all match. A field whose value is an array
  matches if one of the elements does.
- ``exists`` tests leaves: a field whose value is an object does not exist.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias

from fanfold.errors import ConfigurationError

MAX_PATTERN_CHARACTERS: Final = 4_096
"""Maximum length of a pattern (Lambda API reference, Filter)."""
_COMPARISONS: Final[Mapping[str, Callable[[Decimal, Decimal], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPERATORS: Final = ("prefix", "suffix", "equals-ignore-case", "anything-but", "numeric", "exists")

Pattern: TypeAlias = Mapping[str, Any]
"""A valid filter pattern; its numbers are ``Number``."""


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it is written, because filters compare numbers as text."""

    text: str

    @property
    def value(self) -> Decimal:
        """The number."""
        return Decimal(self.text)


def parse_patterns(filters: object) -> list[Pattern]:
    """Return the patterns of the ``Filters`` of a mapping: ``[{"Pattern": "…"}]``; None for no filters.

    Returns:
        The patterns; a message must match one of them. Empty if there are no filters: every message matches.

    Raises:
        ConfigurationError: If it is not of that form, or a pattern is not in the syntax that Lambda documents.
    """
    if not filters:
        return []
    if not isinstance(filters, list) or not all(isinstance(item, Mapping) for item in filters):
        raise ConfigurationError('Filters must be of the form [{"Pattern": "…"}]')
    return [parse_pattern(item.get("Pattern")) for item in filters]


def parse_pattern(text: object) -> Pattern:
    """Return a filter pattern from its JSON text.

    Raises:
        ConfigurationError: If it is not in the syntax that Lambda documents.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"a filter pattern must be a string of JSON, not {type(text).__name__}")
    if len(text) > MAX_PATTERN_CHARACTERS:
        raise ConfigurationError(
            f"a filter pattern must have at most {MAX_PATTERN_CHARACTERS:,} characters, not {len(text):,}"
        )
    try:
        pattern = _decoded(text)
        if isinstance(pattern, Mapping):
            _check(pattern, "")
            return pattern
    except (ValueError, RecursionError):
        pass
    raise ConfigurationError(f"filter pattern {text[:100]!r} is not a JSON object")


def matches_any(patterns: Sequence[Pattern], body: str) -> bool:
    """Return whether a message with this body matches at least one of the patterns, or there are none."""
    if not patterns:
        return True
    try:
        content, is_json = _decoded(body), True
    except (ValueError, RecursionError):
        content, is_json = body, False
    return any(_matches_message(pattern, content, is_json=is_json) for pattern in patterns)


def _matches_message(pattern: Pattern, content: object, *, is_json: bool) -> bool:
    for key, part in pattern.items():
        if key == "$or":
            matched = any(_matches_message(alternative, content, is_json=is_json) for alternative in part)
        elif key == "body" and is_json == isinstance(part, Mapping):
            matched = _matches_object(part, content) if is_json else _matches_rules(part, [content])
        else:
            matched = False
        if not matched:
            return False
    return True


def _matches_object(pattern: Pattern, value: object) -> bool:
    """Return whether a JSON value matches; of an array, one element must match the whole pattern."""
    if isinstance(value, list):
        return any(_matches_object(pattern, item) for item in value)
    fields = value if isinstance(value, Mapping) else {}
    return all(_matches_field(key, part, fields) for key, part in pattern.items())


def _matches_field(key: str, part: Any, fields: Mapping[str, Any]) -> bool:
    if key == "$or" and isinstance(part, list):
        return any(_matches_object(alternative, fields) for alternative in part)
    if isinstance(part, Mapping):
        return _matches_object(part, fields.get(key))
    return _matches_rules(part, list(_leaves(fields[key])) if key in fields else [])


def _matches_rules(rules: Sequence[Any], leaves: Sequence[object]) -> bool:
    """Return whether the leaves of a field match one of its rules; without leaves, the field does not exist."""
    return any(
        rule["exists"] is bool(leaves) if _operator(rule) == "exists" else any(_matches(rule, leaf) for leaf in leaves)
        for rule in rules
    )


def _matches(rule: Any, leaf: object) -> bool:
    name = _operator(rule)
    if name is None:
        return type(rule) is type(leaf) and rule == leaf
    operand = rule[name]
    if name == "anything-but":
        return leaf not in (operand if isinstance(operand, list) else [operand])
    if name == "numeric":
        return isinstance(leaf, Number) and _in_range(leaf.value, operand)
    if not isinstance(leaf, str):
        return False
    if name == "equals-ignore-case":
        return leaf.casefold() == str(operand).casefold()
    return leaf.startswith(operand) if name == "prefix" else leaf.endswith(operand)


def _in_range(number: Decimal, bounds: Sequence[Any]) -> bool:
    return all(_COMPARISONS[sign](number, bound.value) for sign, bound in zip(bounds[::2], bounds[1::2], strict=True))


def _operator(rule: Any) -> str | None:
    return next(iter(rule)) if isinstance(rule, Mapping) else None


def _leaves(value: object) -> Iterator[object]:
    """Yield the values that rules see: a string, number, Boolean or null, or those of an array."""
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif not isinstance(value, Mapping):
        yield value


def _decoded(text: str) -> Any:
    """Return a JSON value in which each number is a ``Number``.

    Raises:
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.
    """
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_reject_constant)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def _check(pattern: Pattern, path: str) -> None:
    for key, part in pattern.items():
        place = f"{path}.{key}" if path else key
        if key == "$or" and isinstance(part, list):
            if len(part) < 2 or not all(isinstance(alternative, Mapping) for alternative in part):  # noqa: PLR2004 - one alternative is not a choice
                raise ConfigurationError(f"{place} of a filter pattern must be a list of at least two objects")
            for alternative in part:
                _check(alternative, path)
        elif isinstance(part, Mapping):
            _check(part, place)
        elif isinstance(part, list) and part:
            for rule in part:
                _check_rule(rule, place)
        else:
            raise ConfigurationError(
                f"{place} of a filter pattern must be an object or a list of at least one rule, such as "
                f'{{"{key}": ["value"]}}'
            )


def _check_rule(rule: Any, place: str) -> None:
    if isinstance(rule, list):
        raise ConfigurationError(f"{place} of a filter pattern contains a list in a list; write each value as a rule")
    if not isinstance(rule, Mapping):
        return
    name = _operator(rule)
    if len(rule) != 1 or name not in _OPERATORS:
        raise ConfigurationError(
            f"{place} of a filter pattern has the rule {_shown(rule)}; Lambda documents one of {', '.join(_OPERATORS)}"
        )
    operand = rule[name]
    if name == "exists":
        valid = isinstance(operand, bool)
    elif name == "numeric":
        valid = _are_bounds(operand)
    elif name == "anything-but":
        valid = all(isinstance(value, str | Number) for value in (operand if isinstance(operand, list) else [operand]))
    else:
        valid = isinstance(operand, str)
    if not valid:
        raise ConfigurationError(f"{place} of a filter pattern has {_shown(rule)}, which is not valid for {name}")


def _are_bounds(operand: object) -> bool:
    """Return whether an operand of ``numeric`` is a comparison, or a lower and an upper bound."""
    if not isinstance(operand, list) or len(operand) not in {2, 4}:
        return False
    signs, bounds = operand[::2], operand[1::2]
    known = all(isinstance(sign, str) and sign in _COMPARISONS for sign in signs)
    return known and all(isinstance(bound, Number) for bound in bounds) and (len(signs) == 1 or "=" not in signs)


def _shown(rule: Any) -> str:
    return json.dumps(rule, default=lambda number: json.loads(number.text))[:100]
