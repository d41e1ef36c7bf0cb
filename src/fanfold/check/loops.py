"""The loops (``Fn::ForEach``) among the resources of a template: whether cfn-lint can expand them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

_LOOP: Final = "Fn::ForEach::"


def loops_of(decoded: Mapping[str, Any]) -> list[str]:
    """Return the keys of the loops among the resources of a template."""
    return [name for name in decoded["Resources"] if str(name).startswith(_LOOP)]


def set_defaults(decoded: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
    """Set the values of parameters as their defaults, because cfn-lint expands loops with the defaults."""
    definitions = decoded.get("Parameters")
    for name, value in parameters.items():
        definition = definitions.get(name) if isinstance(definitions, Mapping) else None
        if isinstance(definition, dict):
            definition["Default"] = value


def why_not_expanded(name: str, decoded: Mapping[str, Any], loop: str) -> str:
    """Return why a loop cannot be expanded; empty if it can.

    cfn-lint expands a loop over an unknown list with random names, so the references in the list are checked first.
    """
    from cfnlint.template import Template as Source

    if unknown := _unknown_name(decoded, decoded["Resources"][loop]):
        return f"{unknown}, which it loops over, is known only at deployment"
    alone = copy.deepcopy(decoded)
    for other in loops_of(decoded):
        if other != loop:
            del alone["Resources"][other]
    matches = Source(name, alone).transform()
    return str(matches[0].message) if matches else ""


def _unknown_name(decoded: Mapping[str, Any], loop: Any, variables: tuple[str, ...] = ()) -> str:
    """Return a name in the list of a loop, or of a loop in it, that is not a parameter with a default; else empty."""
    if not isinstance(loop, list) or len(loop) != 3:  # noqa: PLR2004 - a variable, a list, and what it repeats
        return ""
    variable, items, body = loop
    definitions = decoded.get("Parameters") or {}
    known = {name for name, value in definitions.items() if isinstance(value, Mapping) and "Default" in value}
    for name in _refs(items):
        if name not in {*known, *variables}:
            return name
    inner = [value for key, value in body.items() if str(key).startswith(_LOOP)] if isinstance(body, Mapping) else []
    names = (_unknown_name(decoded, other, (*variables, str(variable))) for other in inner)
    return next((name for name in names if name), "")


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("Ref"), str):
            yield value["Ref"]
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _refs(item)
