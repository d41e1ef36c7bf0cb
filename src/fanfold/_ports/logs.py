"""The interface of the logs of a job's functions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log."""

    at: float
    """When it was written; seconds since 1970."""
    text: str
    """The line."""
    group: str
    """Its log group."""
    stream: str
    """Its log stream: one execution environment."""
    number: str = ""
    """Distinguishes equal lines; empty if unknown."""


class LogGroups(Protocol):
    """The logs of the functions of a job."""

    def search(
        self, begin: float, end: float, *, text: str | None = None, stream: str | None = None
    ) -> AsyncIterator[LogLine]:
        """Yield the lines of a time, by time: those that contain a text, or those of a log stream; None for all.

        Raises:
            ConfigurationError: If a log group does not exist, or access is denied.
            ServiceError: If CloudWatch Logs does not respond.
        """
        ...
