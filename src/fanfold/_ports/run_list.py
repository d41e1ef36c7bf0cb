"""The list of runs: newest first, in pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Place: TypeAlias = tuple[float, str]
"""The place of a run in the list: when it was created, in seconds since 1970, and its id."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in the list."""

    id: str
    """The id of the run."""
    job: str
    """Name of the job."""
    state: str
    """The state of the run; for a run in a process, it may also be INCOMPLETE."""
    created_at: float
    """When it was created; seconds since 1970."""
    gen: int = 0
    """Generation: incremented by each redrive."""
    ended_at: float | None = None
    """When it ended; seconds since 1970. None if it has not ended, or that is unknown."""
    failed: int = 0
    """Number of segments that failed permanently, once the run has ended."""

    @property
    def place(self) -> Place:
        """The place in the list."""
        return self.created_at, self.id


@dataclass(frozen=True, slots=True)
class RunListPage:
    """A part of the list."""

    runs: Sequence[RunSummary]
    """The runs, newest first."""
    has_more: bool
    """True if older runs follow."""


def page_of(runs: Iterable[RunSummary], *, state: str | None, limit: int, after: Place | None) -> RunListPage:
    """Return the page with the newest of these runs that are in a state and follow a place; None for any."""
    listed = [run for run in runs if state in {None, run.state} and (after is None or run.place < after)]
    newest = sorted(listed, key=lambda run: run.place, reverse=True)
    return RunListPage(newest[:limit], len(newest) > limit)
