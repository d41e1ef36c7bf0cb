"""The resources of a template, whether they are deployed, and their properties as settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from fanfold.check.intrinsics import REMOVED, IntrinsicError, Scope, is_function, short
from fanfold.check.reading import Template
from fanfold.check.sam import Translated
from fanfold.check.unresolved import Text, Unresolved
from fanfold.check.values import NotKnown, Place, Setting


class Resources:
    """The resources of a template after SAM's translation."""

    def __init__(self, template: Template, scope: Scope, translated: Translated) -> None:
        self.template = template
        self.scope = scope
        self.translated = translated
        self.malformed: list[NotKnown] = []
        """The settings with a malformed intrinsic function that were read so far."""
        self.exists: dict[str, Setting[bool]] = {
            name: self._existence(name, resource) for name, resource in translated.resources.items()
        }
        """The condition of each resource, evaluated: true if the resource is deployed. By logical id."""

    def of(self, *kinds: str) -> Iterator[str]:
        """Yield the logical ids of the resources of these types, or of all, that may be deployed."""
        for name, resource in self.translated.resources.items():
            if (not kinds or resource.get("Type") in kinds) and self.exists[name].value is not False:
                yield name

    def kind(self, name: str) -> str:
        """Return the type of a resource; empty if it is not in the template."""
        return str(mapping_of(self.translated.resources.get(name)).get("Type", ""))

    def label(self, name: str) -> str:
        """Return the name of a resource for messages: its logical id, or ``Function.Event`` for a SAM event."""
        origin = self.translated.origins.get(name, ())
        return f"{origin[1]}.{origin[4]}" if "Events" in origin else name

    def place(self, name: str) -> Place:
        """Return the place of a resource in the template."""
        return self.template.place(self._path(name)[:-1])

    def properties(self, name: str) -> Properties:
        """Return the properties of a resource."""
        content = mapping_of(self.translated.resources[name].get("Properties"))
        return Properties(self.template, self.scope, self.label(name), content, self._path(name), self.malformed)

    def _path(self, name: str) -> tuple[str, ...]:
        return self.translated.origins.get(name, ("Resources", name, "Properties"))

    def _existence(self, name: str, resource: Mapping[str, Any]) -> Setting[bool]:
        place = self.template.place((*self._path(name)[:2], "Condition"))
        subject = f"whether {self.label(name)} is deployed"
        exists: Setting[bool] = Setting("Condition", value=True, place=place, stated=False, subject=subject)
        if resource.get("Condition") is None:
            return exists
        try:
            truth = self.scope.condition(resource["Condition"])
        except IntrinsicError as error:
            self.malformed.append(NotKnown(subject, str(error), place))
            return replace(exists, value=None, unknown=str(error))
        if truth is None:
            return replace(exists, value=None, unknown=self.scope.why_condition(resource["Condition"]))
        return replace(exists, value=truth)


def texts_in(value: Any) -> Iterator[Text]:
    """Yield every text in a value."""
    if isinstance(value, str | Unresolved):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(item)


T = TypeVar("T")


@dataclass(frozen=True)
class Properties:
    """The properties of a resource. A property with a malformed intrinsic function is not known."""

    template: Template
    scope: Scope
    label: str
    """The name of the resource for messages."""
    content: Mapping[str, Any]
    path: tuple[str | int, ...]
    """The path of the properties in the template."""
    malformed: list[NotKnown]
    """Collects the properties with a malformed intrinsic function."""
    unknown: str = ""
    """Why none of the properties is known; empty if they are known."""
    written: str = ""
    """The template's text in place of unknown properties."""

    def value(self, name: str) -> Setting[Any]:
        """Return the evaluated value of a property; None if it is not set."""
        place = self.template.place((*self.path, name))
        setting: Setting[Any] = Setting(name, None, place, stated=False, subject=f"{name} of {self.label}")
        if self.unknown:
            return replace(setting, unknown=self.unknown, written=self.written)
        if name not in self.content:
            macro = "Fn::Transform" in self.content
            return replace(setting, unknown="a macro (Fn::Transform) may set it at deployment") if macro else setting
        try:
            value = self.scope.resolve(self.content[name])
        except IntrinsicError as error:
            self.malformed.append(NotKnown(setting.subject, str(error), place))
            return replace(setting, unknown=str(error), written=short(self.content[name]))
        if value is REMOVED or value is None:
            return setting
        return replace(setting, value=value, stated=True)

    def text(self, name: str, default: str | None = None) -> Setting[Text]:
        """Return a string property; parts of it may be known only at deployment."""
        setting = self.value(name)
        if setting.value is None:
            return setting if setting.unknown else replace(setting, value=default)
        if isinstance(setting.value, Mapping | list):
            return self._unknown(setting, "it is not a string")
        return replace(
            setting, value=setting.value if isinstance(setting.value, Unresolved) else _plain_text(setting.value)
        )

    def choice(self, name: str, default: str) -> Setting[str]:
        """Return a property that is one of a fixed set of strings; unknown unless all of it is known."""
        return self._choice(self.text(name, default))

    def optional_choice(self, name: str) -> Setting[str]:
        """Return a property that is one of a fixed set of strings, or None; unknown unless all of it is known."""
        return self._choice(self.text(name))

    def _choice(self, setting: Setting[Text]) -> Setting[str]:
        if isinstance(setting.value, Unresolved):
            return self._unknown(setting, self.scope.why(setting.value))
        return replace(cast("Setting[str]", setting), value=setting.value)

    def number(self, name: str, default: float | None = None) -> Setting[float]:
        """Return a numeric property."""
        return self.as_number(self.value(name), default)

    def as_number(self, setting: Setting[Any], default: float | None = None) -> Setting[float]:
        """Return a setting as a number."""
        if setting.value is None:
            return setting if setting.unknown else replace(setting, value=default)
        if why := self.scope.why(setting.value):
            return self._unknown(setting, why)
        try:
            number = float(setting.value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            return self._unknown(setting, "it is not a number")
        return replace(setting, value=number)

    def flag(self, name: str, *, default: bool) -> Setting[bool]:
        """Return a Boolean property."""
        setting = self.value(name)
        if setting.value is None:
            return setting if setting.unknown else replace(setting, value=default)
        if why := self.scope.why(setting.value):
            return self._unknown(setting, why)
        text = _plain_text(setting.value).lower()
        if text not in {"true", "false"}:
            return self._unknown(setting, "it is neither true nor false")
        return replace(setting, value=text == "true")

    def texts(self, name: str) -> Setting[tuple[str, ...]]:
        """Return a property that is a list of strings, or one string."""
        setting = self.value(name)
        if setting.value is None:
            return setting if setting.unknown else replace(setting, value=())
        if why := self.scope.why(setting.value):
            return self._unknown(setting, why)
        items = setting.value if isinstance(setting.value, list) else [setting.value]
        return replace(setting, value=tuple(_plain_text(item) for item in items))

    def items(self, name: str) -> Setting[list[Any]]:
        """Return a property that is a list of values of any kind; parts of them may be known only at deployment."""
        setting = self.value(name)
        if setting.value is None or isinstance(setting.value, list):
            return setting
        return self._unknown(setting, self.scope.why(setting.value) or "it is not a list")

    def presence(self, name: str) -> Setting[bool]:
        """Return whether an object property is set and not empty."""
        setting = self.value(name)
        why = setting.unknown or (self.scope.why(setting.value) if isinstance(setting.value, Unresolved) else "")
        return replace(setting, value=None if why else bool(setting.value), unknown=why)

    def inside(self, name: str) -> Properties:
        """Return the properties of an object property; empty if it is not an object or not known.

        The properties of an unknown object are unknown too.
        """
        content = self.content.get(name)
        path = (*self.path, name)
        if isinstance(content, Mapping) and not is_function(content):
            return replace(self, content=content, path=path)
        setting = self.value(name)
        if isinstance(setting.value, Mapping):
            return replace(self, content=setting.value, path=path)
        unknown = setting.unknown or self.scope.why(setting.value)
        written = self.written or (short(content) if content is not None else "")
        return replace(self, content={}, path=path, unknown=unknown, written=written)

    def _unknown(self, setting: Setting[Any], why: str) -> Setting[Any]:
        return replace(setting, value=None, unknown=why, written=short(self.content.get(setting.name)))


def _plain_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def mapping_of(value: Any) -> Mapping[str, Any]:
    """Return a value if it is an object, else an empty object."""
    return value if isinstance(value, Mapping) else {}
