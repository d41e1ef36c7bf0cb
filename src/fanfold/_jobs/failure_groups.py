"""Groups of failures: one for each type of error, message except for its numbers, and place."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fanfold._base.message_shape import shape_of
from fanfold._ports.run import Attempt


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures of several segments with the same type of error, message except for numbers, and place."""

    error: str
    """Name of the type of the error."""
    message: str
    """First line of the error of the example."""
    place: str | None
    """File and line, such as ``app.py:12``; None if unknown."""
    segments: Sequence[int]
    """Numbers of the segments, ascending."""
    count: int
    """Number of segments."""
    highest_attempt: int
    """Highest number of an attempt among them; 0 if unknown."""
    max_attempts: int | None
    """Deliveries after which the queue moves a message to its dead-letter queue; None if unknown."""
    example: Attempt | None
    """The last attempt of the first segment; None if the ledger has no attempt of it."""


def groups_of(last: Mapping[int, Attempt | None], reasons: Mapping[int, str]) -> list[FailureGroup]:
    """Return failures of the same kind as one group each; largest group first.

    Args:
        last: The last attempt by segment, ascending; None if unknown.
        reasons: Reason by segment, for those that failed permanently.
    """
    groups: dict[tuple[str, str, str | None], list[int]] = {}
    for segment, attempt in last.items():
        groups.setdefault(_kind(attempt, reasons.get(segment, "")), []).append(segment)
    return sorted(
        (_group(segments, last, reasons) for segments in groups.values()),
        key=lambda group: (-group.count, group.segments[0]),
    )


def _kind(attempt: Attempt | None, reason: str) -> tuple[str, str, str | None]:
    error, message, place = _parts(attempt, reason)
    return error, shape_of(message), place


def _parts(attempt: Attempt | None, reason: str) -> tuple[str, str, str | None]:
    if attempt is not None:
        return attempt.error, attempt.message, attempt.place
    error, colon, message = reason.partition(": ")
    return (error, message, None) if colon and error.isidentifier() else ("", reason, None)


def _group(segments: list[int], last: Mapping[int, Attempt | None], reasons: Mapping[int, str]) -> FailureGroup:
    known = [attempt for segment in segments if (attempt := last[segment]) is not None]
    error, message, place = _parts(last[segments[0]], reasons.get(segments[0], ""))
    return FailureGroup(
        error=error,
        message=message,
        place=place,
        segments=array("L", segments),
        count=len(segments),
        highest_attempt=max((attempt.number for attempt in known), default=0),
        max_attempts=known[0].max_number if known else None,
        example=last[segments[0]],
    )
