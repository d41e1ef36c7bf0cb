"""The resources of a template, which of them are deployed, and their properties, each as a setting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from fanfold.check.intrinsics import REMOVED, IntrinsicError, Scope, is_function, short
from fanfold.check.reading import Template
from fanfold.check.sam import Plain
from fanfold.check.unresolved import Text, Unresolved
from fanfold.check.values import Place, Setting
from fanfold.errors import ConfigurationError


class Resources:
    """The resources of a template without SAM's shorthand.

    Raises:
        ConfigurationError: If the condition of a resource is malformed.
    """

    def __init__(self, template: Template, scope: Scope, plain: Plain) -> None:
        self.template = template
        self.scope = scope
        self.plain = plain
        self.exists: dict[str, Setting[bool]] = {
            name: self._existence(name, each) for name, each in plain.resources.items()
        }
        """Whether each is deployed."""

    def of(self, *kinds: str) -> Iterator[str]:
        """Yield the logical ids of resources of some types (all, if none is named) that may be deployed."""
        for name, resource in self.plain.resources.items():
            if (not kinds or resource.get("Type") in kinds) and self.exists[name].value is not False:
                yield name

    def kind(self, name: str) -> str:
        """Return the type of a resource; empty if there is no such resource."""
        return str(mapping_of(self.plain.resources.get(name)).get("Type", ""))

    def label(self, name: str) -> str:
        """Return what to call a resource: for one that SAM makes of an event ``Function.Event``."""
        origin = self.plain.origins.get(name, ())
        return f"{origin[1]}.{origin[4]}" if "Events" in origin else name

    def place(self, name: str) -> Place:
        """Return where a resource is said."""
        return self.template.place(self._path(name)[:-1])

    def properties(self, name: str) -> Properties:
        """Return the properties of a resource."""
        content = mapping_of(self.plain.resources[name].get("Properties"))
        return Properties(self.template, self.scope, self.label(name), content, self._path(name))

    def _path(self, name: str) -> tuple[str, ...]:
        return self.plain.origins.get(name, ("Resources", name, "Properties"))

    def _existence(self, name: str, resource: Mapping[str, Any]) -> Setting[bool]:
        place = self.template.place((*self._path(name)[:2], "Condition"))
        subject = f"whether {self.label(name)} exists"
        found: Setting[bool] = Setting("Condition", value=True, place=place, stated=False, subject=subject)
        if resource.get("Condition") is None:
            return found
        try:
            truth = self.scope.condition(resource["Condition"])
        except IntrinsicError as error:
            raise ConfigurationError(f"{self.template.name}:{place.line} {name}: {error}") from error
        if truth is None:
            return replace(found, value=None, unknown=self.scope.why_condition(resource["Condition"]))
        return replace(found, value=truth)


def texts_in(value: Any) -> Iterator[Text]:
    """Yield every text in a value."""
    if isinstance(value, str | Unresolved):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(each)


T = TypeVar("T")


@dataclass(frozen=True)
class Properties:
    """The properties of a resource.

    Every method raises ConfigurationError if a function in a property is malformed.
    """

    template: Template
    scope: Scope
    label: str
    """What to call the resource."""
    content: Mapping[str, Any]
    path: tuple[str | int, ...]
    """Where the properties are in the template."""
    unknown: str = ""
    """Why none of them can be known; empty if they can."""
    written: str = ""
    """What stands in their place then."""

    def value(self, name: str) -> Setting[Any]:
        """Return a property as it is worked out; None if it is not set."""
        place = self.template.place((*self.path, name))
        setting: Setting[Any] = Setting(name, None, place, stated=False, subject=f"{name} of {self.label}")
        if self.unknown:
            return replace(setting, unknown=self.unknown, written=self.written)
        if name not in self.content:
            macro = "Fn::Transform" in self.content
            return replace(setting, unknown="a macro (Fn::Transform) may set it at deployment") if macro else setting
        try:
            found = self.scope.resolve(self.content[name])
        except IntrinsicError as error:
            raise ConfigurationError(f"{self.template.name}:{place.line} {self.label}, {name}: {error}") from error
        if found is REMOVED or found is None:
            return setting
        return replace(setting, value=found, stated=True)

    def text(self, name: str, default: str | None = None) -> Setting[Text]:
        """Return a property that is a text, of which parts may be known at deployment only."""
        found = self.value(name)
        if found.value is None:
            return replace(found, value=default)
        if isinstance(found.value, Mapping | list):
            return self._unknown(found, "it is no text")
        return replace(found, value=found.value if isinstance(found.value, Unresolved) else _plain_text(found.value))

    def word(self, name: str, default: str) -> Setting[str]:
        """Return a property that is one of a few words: of no use unless all of it is known."""
        found = self.text(name, default)
        if isinstance(found.value, Unresolved):
            return self._unknown(found, self.scope.why(found.value))
        return replace(cast("Setting[str]", found), value=found.value)

    def number(self, name: str, default: float | None = None) -> Setting[float]:
        """Return a property that is a number."""
        return self.as_number(self.value(name), default)

    def as_number(self, found: Setting[Any], default: float | None = None) -> Setting[float]:
        """Return a setting as a number."""
        if found.value is None:
            return replace(found, value=default)
        if why := self.scope.why(found.value):
            return self._unknown(found, why)
        try:
            number = float(found.value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            return self._unknown(found, "it is no number")
        return replace(found, value=number)

    def flag(self, name: str, *, default: bool) -> Setting[bool]:
        """Return a property that is true or false."""
        found = self.value(name)
        if found.value is None:
            return replace(found, value=default)
        if why := self.scope.why(found.value):
            return self._unknown(found, why)
        word = _plain_text(found.value).lower()
        if word not in {"true", "false"}:
            return self._unknown(found, "it is neither true nor false")
        return replace(found, value=word == "true")

    def texts(self, name: str) -> Setting[tuple[str, ...]]:
        """Return a property that is a list of texts, or one text."""
        found = self.value(name)
        if found.value is None:
            return replace(found, value=())
        if why := self.scope.why(found.value):
            return self._unknown(found, why)
        items = found.value if isinstance(found.value, list) else [found.value]
        return replace(found, value=tuple(_plain_text(item) for item in items))

    def inside(self, name: str) -> Properties:
        """Return the properties of a property that is an object; none if it is no object or is not known.

        What is inside a property that is not known is not known either.
        """
        found = self.value(name)
        content = self.content.get(name)
        path = (*self.path, name)
        if isinstance(content, Mapping) and not is_function(content):
            return replace(self, content=content, path=path)
        if isinstance(found.value, Mapping):
            return replace(self, content=found.value, path=path)
        unknown = found.unknown or self.scope.why(found.value)
        written = self.written or (short(content) if content is not None else "")
        return replace(self, content={}, path=path, unknown=unknown, written=written)

    def _unknown(self, found: Setting[Any], why: str) -> Setting[Any]:
        return replace(found, value=None, unknown=why, written=short(self.content.get(found.name)))


def _plain_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def mapping_of(value: Any) -> Mapping[str, Any]:
    """Return a value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}
