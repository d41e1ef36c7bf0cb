"""The rules about the filters of mappings and pipes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fanfold.check.unresolved import Unresolved
from fanfold.check.values import EventMapping, Hit, Model, NotKnown
from fanfold.check.wording import not_known, refusal


def not_on_body(model: Model) -> Iterator[Hit | NotKnown]:
    """Find filters that match on something other than the body, and patterns that are not valid."""
    for mapping in model.mappings:
        yield from not_known(mapping.filters)
        for pattern in _patterns(mapping):
            keys = _keys(pattern)
            if keys is None and isinstance(pattern, Unresolved):
                subject = f"the filter pattern of {mapping.key}"
                yield NotKnown(subject, "parts of it are known only at deployment", mapping.filters.place)
            elif keys is None:
                actual = f"the filter pattern {pattern} is not a JSON object: {refusal(mapping)}"
                yield Hit(
                    mapping.key, mapping.filters.place, actual, 'a JSON object, such as {"body": {"kind": ["a"]}}'
                )
            elif others := [key for key in keys if key != "body"]:
                actual = (
                    f"the filter matches on {' and '.join(others)}, but filters of SQS mappings support only body: "
                    "Lambda deletes the messages that no filter matches"
                )
                yield Hit(mapping.key, mapping.filters.place, actual, "a filter on body, or a check in the handler")
            elif field := _field_without_rules(_decoded(pattern)):
                actual = f"{field} of the filter pattern is not a list of rules: {refusal(mapping)}"
                name = field.rpartition(".")[2]
                yield Hit(mapping.key, mapping.filters.place, actual, f'a list, such as {{"{name}": ["value"]}}')


def filter_deletes(model: Model) -> Iterator[Hit | NotKnown]:
    """Find filters on the body; filters of two readers of one queue, or on anything else, are worse and found above."""
    readers = [reader.queue for reader in model.readers]
    for reader in model.readers:
        if unknown := not_known(reader.filters):
            yield from unknown
        elif reader.filters.value and readers.count(reader.queue) == 1 and (reader.pipe or _on_body(reader)):
            who = "EventBridge" if reader.pipe else "Lambda"
            actual = f"{reader.key} has filters: {who} deletes the messages in {reader.queue} that no filter matches"
            yield Hit(reader.key, reader.filtered.place, actual, "no filter, if another reader needs these messages")


def _on_body(mapping: EventMapping) -> bool:
    patterns = _patterns(mapping)
    keys = [_keys(pattern) for pattern in patterns]
    on_body = all(names is not None and set(names) <= {"body"} for names in keys)
    return on_body and not any(_field_without_rules(_decoded(pattern)) for pattern in patterns)


def _patterns(mapping: EventMapping) -> list[Any]:
    return [item.get("Pattern", "") for item in mapping.filters.value or () if isinstance(item, dict)]


def _keys(pattern: Any) -> list[str] | None:
    """Return the keys that a pattern matches on; None if it is not a JSON object."""
    content = _decoded(pattern)
    if content is None:
        return None
    keys: list[str] = []
    for key, value in content.items():
        alternatives = value if key == "$or" and isinstance(value, list) else None
        keys += [str(key)] if alternatives is None else [name for item in alternatives for name in _keys(item) or []]
    return list(dict.fromkeys(keys))


def _decoded(pattern: Any) -> dict[str, Any] | None:
    """Return a pattern as an object; None if it is not a JSON object."""
    if isinstance(pattern, str | Unresolved):
        try:
            pattern = json.loads(str(pattern))
        except (ValueError, RecursionError):
            return None
    return pattern if isinstance(pattern, dict) else None


def _field_without_rules(pattern: Any, path: str = "") -> str:
    """Return the path of a field whose value is neither an object nor a list of at least one rule; empty if none is."""
    if isinstance(pattern, dict):
        fields = (_field_without_rules(value, f"{path}.{key}" if path else str(key)) for key, value in pattern.items())
        return next(filter(None, fields), "")
    return "" if isinstance(pattern, list | Unresolved) and pattern != [] else path
