"""The loops of a template (``Fn::ForEach``): those that cannot be expanded are removed, and named with the reason.

cfn-lint expands a loop over an unknown list with random names, and rejects the whole template if one loop is malformed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

_LOOP: Final = "Fn::ForEach::"


class Removed(NamedTuple):
    """A loop that was removed."""

    path: tuple[str | int, ...]
    """Its place in the template."""
    why: str


def set_defaults(decoded: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
    """Set the values of parameters as their defaults, because cfn-lint expands loops with the defaults."""
    definitions = decoded.get("Parameters")
    for name, value in parameters.items():
        definition = definitions.get(name) if isinstance(definitions, Mapping) else None
        if isinstance(definition, dict):
            definition["Default"] = value


def remove_loops(name: str, decoded: Mapping[str, Any]) -> Iterator[Removed]:
    """Remove the loops that cannot be expanded, and yield them.

    Args:
        name: The path of the file.
        decoded: The template, with ``Resources``; it is changed.
    """
    definitions = decoded.get("Parameters")
    parameters = definitions.items() if isinstance(definitions, Mapping) else ()
    known = {str(name) for name, value in parameters if isinstance(value, Mapping) and "Default" in value}
    yield from list(_remove_unknown(decoded["Resources"], known, ("Resources",)))
    whole = [key for key in decoded["Resources"] if key.startswith(_LOOP)]
    for key, why in {key: _why_malformed(name, decoded, key, whole) for key in whole}.items():
        if why:
            del decoded["Resources"][key]
            yield Removed(("Resources", key), why)


def _remove_unknown(value: Any, known: set[str], path: tuple[str | int, ...]) -> Iterator[Removed]:
    """Remove the loops over a list with a name other than a parameter with a default or the variable of a loop."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        variables = known
        if isinstance(key, str) and key.startswith(_LOOP) and isinstance(item, list) and len(item) > 1:
            unknown = next((name for name in _refs(item[1]) if name not in known), "")
            if unknown:
                del value[key]
                yield Removed((*path, key), f"{unknown}, which it loops over, is known only at deployment")
                continue
            variables = {*known, str(item[0])}
        yield from _remove_unknown(item, variables, (*path, key))


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("Ref"), str):
            yield value["Ref"]
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _refs(item)


def _why_malformed(name: str, decoded: Mapping[str, Any], loop: str, loops: list[str]) -> str:
    """Return why cfn-lint cannot expand a loop, without the others; empty if it can."""
    from cfnlint.template import Template as Source

    alone = copy.deepcopy(decoded)
    for other in loops:
        if other != loop:
            del alone["Resources"][other]
    matches = Source(name, alone).transform()
    return str(matches[0].message) if matches else ""
