"""Groups of failures with the same error, as texts: what failed, where, an example, and the commands to use next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fanfold._base.readable import duration_text, first_ranges_text, printable
from fanfold._jobs.failure_groups import FailureGroup
from fanfold._ports.run import Attempt

MAX_GROUPS: Final = 20
"""Groups that are shown: those with the most failures."""
_SEGMENTS_CHARACTERS: Final = 300
_MAX_CHARACTERS: Final = 500

Command = tuple[str, str]
"""When to use a command, and the command."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A group of failures."""

    title: str
    """The error, and where it was raised."""
    summary: str
    """How many segments, and which."""
    facts: Sequence[tuple[str, str]]
    """Names and values of an example."""
    commands: Sequence[Command]
    """Commands to use next."""
    style: str
    """CSS class: ``failed`` or ``attempt``."""


def failures(
    groups: Sequence[FailureGroup], style: str, commands: Callable[[FailureGroup], Sequence[Command]]
) -> Sequence[Failure]:
    """Return the groups with the most failures."""
    largest = sorted(groups, key=lambda group: -group.count)[:MAX_GROUPS]
    return [Failure(_title(group), summary_of(group), _facts(group), commands(group), style) for group in largest]


def _title(group: FailureGroup) -> str:
    where = where_of(group)
    return f"{error_of(group)} ({where})" if where else error_of(group)


def error_of(group: FailureGroup) -> str:
    """Return the error of a group in one line, such as ``KeyError 'carrier'``; a long one is cut."""
    text = " ".join(f"{group.error} {group.message}".split()) or "unknown error"
    return printable(text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…")


def summary_of(group: FailureGroup) -> str:
    """Return how many segments of a group failed, and their numbers."""
    segments = f"{group.count:,} segment{'' if group.count == 1 else 's'}"
    numbers = first_ranges_text(group.segments, characters=_SEGMENTS_CHARACTERS)
    return f"{segments}: {numbers}"


def where_of(group: FailureGroup) -> str:
    """Return the highest attempt and the place of a group, such as ``attempt 2 of 5, app.py:12``; empty if unknown."""
    most = "" if group.max_attempts is None else f" of {group.max_attempts}"
    attempt = f"attempt {group.highest_attempt}{most}" if group.highest_attempt else None
    return printable(", ".join(filter(None, [attempt, group.place])))


def _facts(group: FailureGroup) -> Sequence[tuple[str, str]]:
    example = group.example
    if example is None:
        return []
    facts = {
        "example": f"segment {example.segment}, attempt {example.number}{_part(example)}, "
        f"{time_text(example.began_at)}, after {duration_text(example.seconds)}",
        "request id": example.request_id,
        "log stream": example.log_stream,
    }
    return [(name, value) for name, value in facts.items() if value]


def _part(example: Attempt) -> str:
    return f", part {example.hop + 1}" if example.hop else ""


def time_text(time: float) -> str:
    """Return a time, in seconds since 1970, as text in UTC."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"
