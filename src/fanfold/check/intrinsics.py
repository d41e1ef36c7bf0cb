"""CloudFormation's intrinsic functions, evaluated as far as the template alone allows.

A value that is known only at deployment becomes a reference in an ``Unresolved``: ``Jobs.Arn`` for the ARN of a queue
in the template, ``Stage`` for a parameter without a default. Two values with the same text are therefore equal, and
``Scope.why`` returns why a value is not known. Conditions are true, false, or not known (None).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Final

from fanfold.check.unresolved import Reference, Text, Unresolved, joined, parsed, references

_SUB: Final = re.compile(r"\$\{([^}]*)\}")
_MAX_DEPTH: Final = 60


class _Removed:
    def __repr__(self) -> str:
        return "AWS::NoValue"


REMOVED: Final = _Removed()
"""The value of ``Ref: AWS::NoValue``: the property or item is removed."""


class IntrinsicError(Exception):
    """An intrinsic function with arguments that CloudFormation does not accept."""


def is_function(value: Any) -> bool:
    """Return whether a value is a call of an intrinsic function, as opposed to an ordinary object."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return False
    name = next(iter(value))
    return isinstance(name, str) and (name == "Ref" or name.startswith("Fn::"))


class Scope:
    """The definitions in a template that intrinsic functions refer to.

    Args:
        parameters: The template's ``Parameters``.
        parameter_values: Values for parameters; they override the defaults.
        mappings: The template's ``Mappings``.
        conditions: The template's ``Conditions``.
        resources: Logical ids of the template's resources.
    """

    def __init__(
        self,
        *,
        parameters: Mapping[str, Any],
        parameter_values: Mapping[str, str],
        mappings: Mapping[str, Any],
        conditions: Mapping[str, Any],
        resources: Collection[str],
    ) -> None:
        self._parameters = parameters
        self._parameter_values = parameter_values
        self._mappings = mappings
        self._conditions = conditions
        self._resources = frozenset(resources)
        self._reasons: dict[str, str] = {}
        self._truths: dict[str, bool | None] = {}
        self._evaluating: list[str] = []
        self._depth = 0
        self.defaults_used: dict[str, Any] = {}
        """The parameters for which the default was used."""

    def resolve(self, value: Any) -> Any:
        """Return a value with every function in it evaluated; REMOVED for ``AWS::NoValue``.

        Raises:
            IntrinsicError: If a function in it is malformed.
        """
        self._depth += 1
        try:
            if self._depth > _MAX_DEPTH:
                raise IntrinsicError("functions are nested too deeply")
            return self._evaluate(value)
        finally:
            self._depth -= 1

    def why(self, value: Any) -> str:
        """Return why an evaluated value is not known; empty if it is known."""
        if isinstance(value, Unresolved):
            first, *others = references(value)
            if any(reference.stored for reference in (first, *others)):
                return "it is a dynamic reference, resolved only at deployment"
            return self._reasons.get(first.name, f"{first} is known only at deployment")
        if isinstance(value, Mapping):
            return next((why for item in value.values() if (why := self.why(item))), "")
        if isinstance(value, list):
            return next((why for item in value if (why := self.why(item))), "")
        return ""

    def condition(self, name: Any) -> bool | None:
        """Return whether a condition is true; None if that is known only at deployment.

        Raises:
            IntrinsicError: If the condition is not defined, or is malformed.
        """
        if not isinstance(name, str):
            raise IntrinsicError(f"the name of a condition must be a string, not {short(name)}")
        if name not in self._conditions:
            raise IntrinsicError(f"condition {name} is not defined in the template")
        if name not in self._truths:
            if name in self._evaluating:
                raise IntrinsicError(f"condition {name} depends on itself")
            self._evaluating.append(name)
            try:
                self._truths[name] = self._truth(self._conditions[name])
            finally:
                self._evaluating.pop()
        return self._truths[name]

    def why_condition(self, name: str) -> str:
        """Return why a condition is not known."""
        return self._reasons.get(f"condition {name}", f"condition {name} is known only at deployment")

    def _unresolved(self, name: str, why: str) -> Unresolved:
        name = name.replace("}", ")").replace("${", "(")
        self._reasons.setdefault(name, why)
        return Unresolved((Reference(name),))

    def _evaluate(self, value: Any) -> Any:
        if is_function(value):
            name, argument = next(iter(value.items()))
            function = self._functions.get(name)
            if function is not None:
                return function(self, argument)
            return self._unresolved(f"{name} {_json_of(argument)}", f"{name} is evaluated only at deployment")
        if isinstance(value, Mapping):
            resolved = {name: self.resolve(item) for name, item in value.items()}
            return {name: item for name, item in resolved.items() if item is not REMOVED}
        if isinstance(value, list):
            return [resolved for item in value if (resolved := self.resolve(item)) is not REMOVED]
        return parsed(str(value)) if isinstance(value, str) else value

    # ---- references --------------------------------------------------------------------------------------------------
    def _ref(self, name: Any) -> Any:
        if is_function(name):
            return self._ref_to_function(name)
        if not isinstance(name, str):
            raise IntrinsicError(f"Ref takes a name, not {short(name)}")
        if name == "AWS::NoValue":
            return REMOVED
        if name.startswith("AWS::"):
            return self._unresolved(name, f"{name} is known only at deployment")
        if name in self._parameters:
            return self._parameter(name)
        if name in self._resources:
            return self._unresolved(name, f"the name of {name} is known only at deployment")
        return self._unresolved(name, f"{name} is not a parameter or resource of this template")

    def _ref_to_function(self, name: Any) -> Any:
        """Evaluate a Ref whose name is a function, which AWS::LanguageExtensions allows."""
        resolved = self.resolve(name)
        if why := self.why(resolved):
            return self._unresolved(f"Ref {_json_of(name)}", why)
        return self._ref(resolved)

    def _parameter(self, name: str) -> Any:
        definition = self._parameters[name]
        kind = str(definition.get("Type", "String")) if isinstance(definition, Mapping) else "String"
        if name in self._parameter_values:
            value: Any = self._parameter_values[name]
        elif kind.startswith("AWS::SSM::"):
            return self._unresolved(name, f"parameter {name} is read from Parameter Store at deployment")
        elif isinstance(definition, Mapping) and definition.get("Default") is not None:
            value = self.defaults_used[name] = definition["Default"]
        else:
            return self._unresolved(name, f"parameter {name} has no default")
        if (kind.startswith("List<") or kind == "CommaDelimitedList") and isinstance(value, str):
            return [parsed(part.strip()) for part in value.split(",")]
        return parsed(str(value)) if isinstance(value, str) else value

    def _get_att(self, argument: Any) -> Any:
        parts = argument.split(".", 1) if isinstance(argument, str) else argument
        resource = self.resolve(parts[0]) if isinstance(parts, list) and len(parts) == 2 else None  # noqa: PLR2004
        if isinstance(resource, Unresolved):
            return self._unresolved(f"Fn::GetAtt {_json_of(argument)}", self.why(resource))
        if not isinstance(parts, list) or not isinstance(resource, str):
            raise IntrinsicError(f"Fn::GetAtt takes a resource and an attribute, not {short(argument)}")
        name = f"{resource}.{_text(self.resolve(parts[1]))}"
        if resource in self._resources:
            return self._unresolved(name, f"{name} is known only at deployment")
        return self._unresolved(name, f"{resource} is not a resource of this template")

    def _import(self, argument: Any) -> Any:
        name = _text(self.resolve(argument))
        return self._unresolved(f"Fn::ImportValue {name}", f"it is exported by another stack ({name})")

    # ---- text --------------------------------------------------------------------------------------------------------
    def _sub(self, argument: Any) -> Any:
        text, names = argument, {}
        if isinstance(argument, list) and len(argument) == 2:  # noqa: PLR2004 - a pair
            text, names = argument
        if not isinstance(text, str) or not isinstance(names, Mapping):
            raise IntrinsicError(f"Fn::Sub takes a string, or a string and a map of variables, not {short(argument)}")

        def substitute(name: str) -> Text:
            if name.startswith("!"):
                return parsed(f"${{{name[1:]}}}")
            if name in names:
                return _text(self.resolve(names[name]))
            return _text(self._get_att(name) if "." in name else self._ref(name))

        pieces = enumerate(_SUB.split(text))
        return joined(*(substitute(piece.strip()) if place % 2 else parsed(piece) for place, piece in pieces))

    def _join(self, argument: Any) -> Any:
        delimiter, items = self._pair("Fn::Join", argument, "a delimiter and a list")
        if not isinstance(items, list):
            if self.why(items):
                return self._unresolved(f"Fn::Join {_json_of(argument)}", self.why(items))
            raise IntrinsicError(f"Fn::Join takes a delimiter and a list, not {short(argument)}")
        parts = [part for item in items for part in (_text(delimiter), _text(item))]
        return joined(*parts[1:])

    def _select(self, argument: Any) -> Any:
        index, items = self._pair("Fn::Select", argument, "an index and a list")
        if why := self.why(index) or ("" if isinstance(items, list) else self.why(items)):
            return self._unresolved(f"Fn::Select {_json_of(argument)}", why)
        if not isinstance(items, list) or not str(index).isdecimal():
            raise IntrinsicError(f"Fn::Select takes an index and a list, not {short(argument)}")
        if int(index) >= len(items):
            raise IntrinsicError(f"Fn::Select: index {index} is out of range for a list of {len(items)}")
        return items[int(index)]

    def _split(self, argument: Any) -> Any:
        delimiter, text = self._pair("Fn::Split", argument, "a delimiter and a string")
        if why := self.why(text):
            return self._unresolved(f"Fn::Split {_json_of(argument)}", why)
        if not isinstance(text, str) or not isinstance(delimiter, str) or not delimiter:
            raise IntrinsicError(f"Fn::Split takes a delimiter and a string, not {short(argument)}")
        return text.split(delimiter)

    def _json(self, argument: Any) -> Any:
        return parsed(json.dumps(self.resolve(argument), default=str))

    def _length(self, argument: Any) -> Any:
        items = self.resolve(argument)
        if isinstance(items, list):
            return len(items)
        return self._unresolved(f"Fn::Length {_json_of(argument)}", self.why(items) or "it is not a list")

    def _pair(self, name: str, argument: Any, expected: str) -> tuple[Any, Any]:
        if not isinstance(argument, list) or len(argument) != 2:  # noqa: PLR2004 - a pair
            raise IntrinsicError(f"{name} takes {expected}, not {short(argument)}")
        return self.resolve(argument[0]), self.resolve(argument[1])

    # ---- choices -----------------------------------------------------------------------------------------------------
    def _find_in_map(self, argument: Any) -> Any:
        if not isinstance(argument, list) or len(argument) not in {3, 4}:
            raise IntrinsicError(f"Fn::FindInMap takes a mapping and two keys, not {short(argument)}")
        name, row, column = (_text(self.resolve(part)) for part in argument[:3])
        if why := self.why(name) or self.why(column):
            return self._unresolved(f"Fn::FindInMap {_json_of(argument)}", why)
        table = self._mappings.get(str(name))
        rows = [table.get(row)] if isinstance(table, Mapping) and not self.why(row) else []
        if isinstance(table, Mapping) and self.why(row):
            rows = list(table.values())
        values = [entry[column] for entry in rows if isinstance(entry, Mapping) and column in entry]
        if values and len(values) == len(rows) and all(_same(value, values[0]) for value in values):
            return self.resolve(values[0])
        if why := self.why(row):
            return self._unresolved(f"Fn::FindInMap {_json_of(argument)}", why)
        if len(argument) == 4 and isinstance(argument[3], Mapping) and "DefaultValue" in argument[3]:  # noqa: PLR2004
            return self.resolve(argument[3]["DefaultValue"])
        raise IntrinsicError(f"mapping {name} has no value for {row}, {column}")

    def _if(self, argument: Any) -> Any:
        if not isinstance(argument, list) or len(argument) != 3:  # noqa: PLR2004 - condition, then, else
            raise IntrinsicError(f"Fn::If takes a condition and two values, not {short(argument)}")
        truth = self.condition(argument[0])
        if truth is not None:
            return self.resolve(argument[1] if truth else argument[2])
        when_true, when_false = self.resolve(argument[1]), self.resolve(argument[2])
        if _same(when_true, when_false):
            return when_true
        return self._unresolved(f"Fn::If {_json_of(argument)}", self.why_condition(argument[0]))

    def _truth(self, test: Any) -> bool | None:
        if not isinstance(test, Mapping) or len(test) != 1:
            raise IntrinsicError(f"a condition must be one function call, not {short(test)}")
        name, argument = next(iter(test.items()))
        if name == "Condition":
            truth: bool | None = self.condition(argument)
            if truth is None and self._evaluating:
                self._reasons.setdefault(f"condition {self._evaluating[-1]}", self.why_condition(argument))
            return truth
        if name == "Fn::Equals":
            return self._equal(argument)
        if name not in {"Fn::And", "Fn::Or", "Fn::Not"} or not isinstance(argument, list) or not argument:
            raise IntrinsicError(f"not a valid condition: {short(test)}")
        truths = [self._truth(operand) for operand in argument]
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
        if why and self._evaluating:
            condition = f"condition {self._evaluating[-1]}"
            self._reasons.setdefault(condition, f"{condition} cannot be evaluated: {why}")
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
    """Return a value as CloudFormation writes it into a string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is REMOVED:
        return ""
    return value if isinstance(value, Text) else parsed(json.dumps(value, default=str))


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal; a number equals its string."""
    if isinstance(one, str | int | float) and isinstance(other, str | int | float):
        return _text(one) == _text(other)
    return bool(one == other)


def _json_of(argument: Any) -> str:
    return json.dumps(argument, sort_keys=True, default=str)


def short(value: Any) -> str:
    """Return a value of a template as JSON of at most 60 characters."""
    text = _json_of(value)
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 - fits on a line
