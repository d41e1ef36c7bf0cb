"""CloudFormation's functions, worked out as far as a template alone allows.

What is known at deployment only becomes a reference in an ``Unresolved``: to ``Jobs.Arn`` for the ARN of a queue in the
template, to ``Stage`` for a parameter without a default. So two values that are written the same are the same value,
and ``Scope.why`` says why a value is not known. Conditions are true, false or not known (None).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Final

from fanfold.check.unresolved import Reference, Text, Unresolved, joined, parsed, references

_SUB: Final = re.compile(r"\$\{([^}]*)\}")
_MOST_DEPTH: Final = 60


class _Removed:
    def __repr__(self) -> str:
        return "AWS::NoValue"


REMOVED: Final = _Removed()
"""What ``Ref: AWS::NoValue`` gives: the property or item is not there."""


class IntrinsicError(Exception):
    """A function is not written as CloudFormation takes it."""


def is_function(value: Any) -> bool:
    """Return whether a value is a function call and no plain object."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return False
    name = next(iter(value))
    return isinstance(name, str) and (name == "Ref" or name.startswith("Fn::"))


class Scope:
    """What functions of one template are worked out with.

    Args:
        parameters: The template's ``Parameters``.
        given: Values for parameters, before their defaults.
        mappings: The template's ``Mappings``.
        conditions: The template's ``Conditions``.
        resources: Logical ids.
    """

    def __init__(
        self,
        *,
        parameters: Mapping[str, Any],
        given: Mapping[str, str],
        mappings: Mapping[str, Any],
        conditions: Mapping[str, Any],
        resources: Collection[str],
    ) -> None:
        self._parameters = parameters
        self._given = given
        self._mappings = mappings
        self._conditions = conditions
        self._resources = frozenset(resources)
        self._reasons: dict[str, str] = {}
        self._truths: dict[str, bool | None] = {}
        self._asked: list[str] = []
        self._depth = 0
        self.defaults_used: dict[str, Any] = {}
        """Parameters that counted with their default."""

    def resolve(self, value: Any) -> Any:
        """Return a value with every function in it worked out; REMOVED for no value.

        Raises:
            IntrinsicError: If a function in it is malformed.
        """
        self._depth += 1
        try:
            if self._depth > _MOST_DEPTH:
                raise IntrinsicError("functions are nested too deeply")
            return self._resolved(value)
        finally:
            self._depth -= 1

    def why(self, value: Any) -> str:
        """Return why a worked-out value is not known; empty if it is."""
        if isinstance(value, Unresolved):
            first, *others = references(value)
            if any(each.stored for each in (first, *others)):
                return "it is read from a store at deployment ({{resolve:…}})"
            return self._reasons.get(first.name, f"{first} is known at deployment only")
        if isinstance(value, Mapping):
            return next((why for each in value.values() if (why := self.why(each))), "")
        if isinstance(value, list):
            return next((why for each in value if (why := self.why(each))), "")
        return ""

    def condition(self, name: Any) -> bool | None:
        """Return whether a condition holds; None if that is known at deployment only.

        Raises:
            IntrinsicError: If there is no such condition, or it is malformed.
        """
        if not isinstance(name, str):
            raise IntrinsicError(f"a condition is named by text, not by {short(name)}")
        if name not in self._conditions:
            raise IntrinsicError(f"there is no condition {name}")
        if name not in self._truths:
            if name in self._asked:
                raise IntrinsicError(f"condition {name} depends on itself")
            self._asked.append(name)
            try:
                self._truths[name] = self._truth(self._conditions[name])
            finally:
                self._asked.pop()
        return self._truths[name]

    def why_condition(self, name: str) -> str:
        """Return why a condition is not known."""
        return self._reasons.get(f"condition {name}", f"condition {name} is known at deployment only")

    def _open(self, name: str, why: str) -> Unresolved:
        name = name.replace("}", ")").replace("${", "(")
        self._reasons.setdefault(name, why)
        return Unresolved((Reference(name),))

    def _resolved(self, value: Any) -> Any:
        if is_function(value):
            name, argument = next(iter(value.items()))
            known = self._functions.get(name)
            if known is not None:
                return known(self, argument)
            return self._open(f"{name} {_text_of(argument)}", f"{name} is worked out at deployment only")
        if isinstance(value, Mapping):
            made = {name: self.resolve(each) for name, each in value.items()}
            return {name: each for name, each in made.items() if each is not REMOVED}
        if isinstance(value, list):
            return [each for each in (self.resolve(item) for item in value) if each is not REMOVED]
        return parsed(str(value)) if isinstance(value, str) else value

    # ---- references --------------------------------------------------------------------------------------------------
    def _ref(self, name: Any) -> Any:
        if not isinstance(name, str):
            raise IntrinsicError(f"Ref takes a name, not {short(name)}")
        if name == "AWS::NoValue":
            return REMOVED
        if name.startswith("AWS::"):
            return self._open(name, f"{name} is known at deployment only")
        if name in self._parameters:
            return self._parameter(name)
        if name in self._resources:
            return self._open(name, f"what {name} is called is known at deployment only")
        return self._open(name, f"{name} is no parameter and no resource of this template")

    def _parameter(self, name: str) -> Any:
        definition = self._parameters[name]
        kind = str(definition.get("Type", "String")) if isinstance(definition, Mapping) else "String"
        if name in self._given:
            value: Any = self._given[name]
        elif kind.startswith("AWS::SSM::"):
            return self._open(name, f"parameter {name} is read from the Parameter Store at deployment")
        elif isinstance(definition, Mapping) and definition.get("Default") is not None:
            value = self.defaults_used[name] = definition["Default"]
        else:
            return self._open(name, f"parameter {name} has no default")
        if (kind.startswith("List<") or kind == "CommaDelimitedList") and isinstance(value, str):
            return [parsed(part.strip()) for part in value.split(",")]
        return parsed(str(value)) if isinstance(value, str) else value

    def _get_att(self, argument: Any) -> Any:
        parts = argument.split(".", 1) if isinstance(argument, str) else argument
        resource = self.resolve(parts[0]) if isinstance(parts, list) and len(parts) == 2 else None  # noqa: PLR2004
        if isinstance(resource, Unresolved):
            return self._open(f"Fn::GetAtt {_text_of(argument)}", self.why(resource))
        if not isinstance(parts, list) or not isinstance(resource, str):
            raise IntrinsicError(f"Fn::GetAtt takes a resource and an attribute, not {short(argument)}")
        name = f"{resource}.{_text(self.resolve(parts[1]))}"
        if resource in self._resources:
            return self._open(name, f"{name} is known at deployment only")
        return self._open(name, f"{resource} is no resource of this template")

    def _import(self, argument: Any) -> Any:
        name = _text(self.resolve(argument))
        return self._open(f"Fn::ImportValue {name}", f"it is exported by another stack ({name})")

    # ---- text --------------------------------------------------------------------------------------------------------
    def _sub(self, argument: Any) -> Any:
        text, names = argument, {}
        if isinstance(argument, list) and len(argument) == 2:  # noqa: PLR2004 - a pair
            text, names = argument
        if not isinstance(text, str) or not isinstance(names, Mapping):
            raise IntrinsicError(f"Fn::Sub takes a text, or a text and names, not {short(argument)}")

        def put(name: str) -> Text:
            if name.startswith("!"):
                return parsed(f"${{{name[1:]}}}")
            if name in names:
                return _text(self.resolve(names[name]))
            return _text(self._get_att(name) if "." in name else self._ref(name))

        pieces = enumerate(_SUB.split(text))
        return joined(*(put(piece.strip()) if place % 2 else parsed(piece) for place, piece in pieces))

    def _join(self, argument: Any) -> Any:
        delimiter, items = self._pair("Fn::Join", argument, "a delimiter and a list")
        if not isinstance(items, list):
            if self.why(items):
                return self._open(f"Fn::Join {_text_of(argument)}", self.why(items))
            raise IntrinsicError(f"Fn::Join takes a delimiter and a list, not {short(argument)}")
        parts = [part for item in items for part in (_text(delimiter), _text(item))]
        return joined(*parts[1:])

    def _select(self, argument: Any) -> Any:
        index, items = self._pair("Fn::Select", argument, "an index and a list")
        if why := self.why(index) or ("" if isinstance(items, list) else self.why(items)):
            return self._open(f"Fn::Select {_text_of(argument)}", why)
        if not isinstance(items, list) or not str(index).isdecimal():
            raise IntrinsicError(f"Fn::Select takes an index and a list, not {short(argument)}")
        if int(index) >= len(items):
            raise IntrinsicError(f"Fn::Select asks for item {index} of a list of {len(items)}")
        return items[int(index)]

    def _split(self, argument: Any) -> Any:
        delimiter, text = self._pair("Fn::Split", argument, "a delimiter and a text")
        if why := self.why(text):
            return self._open(f"Fn::Split {_text_of(argument)}", why)
        if not isinstance(text, str) or not isinstance(delimiter, str) or not delimiter:
            raise IntrinsicError(f"Fn::Split takes a delimiter and a text, not {short(argument)}")
        return text.split(delimiter)

    def _json(self, argument: Any) -> Any:
        return parsed(json.dumps(self.resolve(argument), default=str))

    def _length(self, argument: Any) -> Any:
        items = self.resolve(argument)
        if isinstance(items, list):
            return len(items)
        return self._open(f"Fn::Length {_text_of(argument)}", self.why(items) or "it is no list")

    def _pair(self, name: str, argument: Any, what: str) -> tuple[Any, Any]:
        if not isinstance(argument, list) or len(argument) != 2:  # noqa: PLR2004 - a pair
            raise IntrinsicError(f"{name} takes {what}, not {short(argument)}")
        return self.resolve(argument[0]), self.resolve(argument[1])

    # ---- choices -----------------------------------------------------------------------------------------------------
    def _find_in_map(self, argument: Any) -> Any:
        if not isinstance(argument, list) or len(argument) not in {3, 4}:
            raise IntrinsicError(f"Fn::FindInMap takes a mapping and two keys, not {short(argument)}")
        name, row, column = (_text(self.resolve(each)) for each in argument[:3])
        if why := self.why(name) or self.why(column):
            return self._open(f"Fn::FindInMap {_text_of(argument)}", why)
        table = self._mappings.get(str(name))
        rows = [table.get(row)] if isinstance(table, Mapping) and not self.why(row) else []
        if isinstance(table, Mapping) and self.why(row):
            rows = list(table.values())
        found = [each[column] for each in rows if isinstance(each, Mapping) and column in each]
        if found and len(found) == len(rows) and all(_same(each, found[0]) for each in found):
            return self.resolve(found[0])
        if why := self.why(row):
            return self._open(f"Fn::FindInMap {_text_of(argument)}", why)
        if len(argument) == 4 and isinstance(argument[3], Mapping) and "DefaultValue" in argument[3]:  # noqa: PLR2004
            return self.resolve(argument[3]["DefaultValue"])
        raise IntrinsicError(f"mapping {name} has no {row}, {column}")

    def _if(self, argument: Any) -> Any:
        if not isinstance(argument, list) or len(argument) != 3:  # noqa: PLR2004 - condition, then, else
            raise IntrinsicError(f"Fn::If takes a condition and two values, not {short(argument)}")
        truth = self.condition(argument[0])
        if truth is not None:
            return self.resolve(argument[1] if truth else argument[2])
        either, other = self.resolve(argument[1]), self.resolve(argument[2])
        if _same(either, other):
            return either
        return self._open(f"Fn::If {_text_of(argument)}", self.why_condition(argument[0]))

    def _truth(self, test: Any) -> bool | None:
        if not isinstance(test, Mapping) or len(test) != 1:
            raise IntrinsicError(f"a condition is one function, not {short(test)}")
        name, argument = next(iter(test.items()))
        if name == "Condition":
            truth: bool | None = self.condition(argument)
            if truth is None and self._asked:
                self._reasons.setdefault(f"condition {self._asked[-1]}", self.why_condition(argument))
            return truth
        if name == "Fn::Equals":
            return self._equal(argument)
        if name not in {"Fn::And", "Fn::Or", "Fn::Not"} or not isinstance(argument, list) or not argument:
            raise IntrinsicError(f"a condition cannot be made of {short(test)}")
        truths = [self._truth(each) for each in argument]
        if name == "Fn::Not":
            return None if truths[0] is None else not truths[0]
        decisive: bool = name == "Fn::Or"
        if decisive in truths:
            return decisive
        return None if None in truths else not decisive

    def _equal(self, argument: Any) -> bool | None:
        left, right = self._pair("Fn::Equals", argument, "two values")
        if _text(left) == _text(right):
            return True
        why = self.why(left) or self.why(right)
        if why and self._asked:
            self._reasons.setdefault(f"condition {self._asked[-1]}", f"condition {self._asked[-1]} is open: {why}")
        return None if why else False

    _functions: ClassVar[Mapping[str, Callable[[Scope, Any], Any]]] = {
        "Ref": _ref,
        "Fn::FindInMap": _find_in_map,
        "Fn::GetAtt": _get_att,
        "Fn::If": _if,
        "Fn::ImportValue": _import,
        "Fn::Join": _join,
        "Fn::Length": _length,
        "Fn::Select": _select,
        "Fn::Split": _split,
        "Fn::Sub": _sub,
        "Fn::ToJsonString": _json,
    }


def _text(value: Any) -> Text:
    """Return a value as CloudFormation puts it into a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is REMOVED:
        return ""
    return value if isinstance(value, Text) else parsed(json.dumps(value, default=str))


def _same(one: Any, other: Any) -> bool:
    """Return whether two values come to the same: a number is the text that it is written as."""
    if isinstance(one, str | int | float) and isinstance(other, str | int | float):
        return _text(one) == _text(other)
    return bool(one == other)


def _text_of(argument: Any) -> str:
    return json.dumps(argument, sort_keys=True, default=str)


def short(value: Any) -> str:
    """Return what a template says, as JSON that fits on a line."""
    text = _text_of(value)
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 - fits on a line
