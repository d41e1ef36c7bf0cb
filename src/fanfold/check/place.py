"""Where something stands in a template."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a template something is said."""

    path: tuple[str | int, ...]
    """Keys from the top of the template, after ``Globals`` are merged in."""
    line: int = 1
    """From 1."""
    column: int = 1
    """From 1."""
    end_line: int = 1
    end_column: int = 1
