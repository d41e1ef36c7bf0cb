"""The resources of a template: which of them are deployed, and their properties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fanfold.check.intrinsics import IntrinsicError, Scope
from fanfold.check.properties import Properties, mapping_of
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
