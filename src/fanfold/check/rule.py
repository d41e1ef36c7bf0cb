"""A rule of ``fanfold check``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fanfold.check.values import Hit, Model, NotKnown, Severity


@dataclass(frozen=True)
class Page:
    """A page of the AWS documentation."""

    title: str
    url: str


@dataclass(frozen=True)
class Rule:
    """A rule of ``fanfold check``."""

    id: str
    """Does not change between releases."""
    severity: Severity
    title: str
    """The problem in brief."""
    reason: str
    """The effect on messages."""
    fix: str
    """The setting to change."""
    page: Page
    """The source of the rule."""
    example: str
    """YAML that passes the rule."""
    check: Callable[[Model], Iterator[Hit | NotKnown]]
    """A pure function that yields the problems in a model, and the settings that it could not read."""
