"""The messages of the fold queue: four requests to the fold function.

Every body has the form ``{"v":1,"check":run,"watch":false}``; some requests add fields.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from fanfold._ports.backend import Backend
from fanfold._ports.queue import Message
from fanfold.errors import FanfoldError, SegmentError

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class CheckRun:
    """Check whether all segments of a run have ended."""

    run_id: str
    """The run."""


@dataclass(frozen=True, slots=True)
class WatchRun:
    """Check now and repeatedly until the run has ended; resume the scatter if it made no progress in between."""

    run_id: str
    """The run."""
    position: int | None = None
    """Segments that had been enqueued at the last check; None before the first check."""


@dataclass(frozen=True, slots=True)
class ResumeScatter:
    """Enqueue the remaining segments of a run, then check it: the scatter function ran out of time."""

    run_id: str
    """The run."""


@dataclass(frozen=True, slots=True)
class CombineGroup:
    """Combine a group of results, then check the run; see ``fanfold._jobs.combine``."""

    run_id: str
    """The run."""
    level: int
    """The group's level, from 0."""
    group: int
    """The group's number in its level, from 0."""


FoldRequest: TypeAlias = CheckRun | WatchRun | ResumeScatter | CombineGroup
"""A request to the fold function."""


def to_message(check: FoldRequest, delay_seconds: int = 0) -> Message:
    """Return the message of a check."""
    document: dict[str, Any] = {"v": _VERSION, "check": check.run_id, "watch": isinstance(check, WatchRun)}
    match check:
        case WatchRun(position=int(position)):
            document["position"] = position
        case ResumeScatter():
            document["scatter"] = True
        case CombineGroup():
            document["combine"] = [check.level, check.group]
    return Message(json.dumps(document, separators=(",", ":")), delay_seconds=delay_seconds)


def from_body(body: str) -> FoldRequest:
    """Return the request that a message body describes.

    Raises:
        SegmentError: If the body is not a valid request.
    """
    try:
        document = _check_version(json.loads(body))
        run_id, position, combine = str(document["check"]), document.get("position"), document.get("combine")
        position = None if position is None else int(position)
        if combine is not None:
            return CombineGroup(run_id, *_place(*combine))
        if document.get("watch"):
            return WatchRun(run_id, position)
        return ResumeScatter(run_id) if document.get("scatter") else CheckRun(run_id)
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise SegmentError(f"not a check of a run: {body[:80]!r}") from error


def _check_version(document: dict[str, Any]) -> dict[str, Any]:
    if document.get("v", _VERSION) != _VERSION:
        raise ValueError("written by another version of fanfold")
    return document


def _place(level: int, group: int) -> tuple[int, int]:
    if not (isinstance(level, int) and isinstance(group, int) and level >= 0 and group >= 0):
        raise ValueError("not a level and a group of a tree")
    return level, group


async def send_request(backend: Backend, check: FoldRequest, delay_seconds: int = 0) -> None:
    """Send a check to the fold function.

    Raises:
        FanfoldError: If the queue did not accept it.
    """
    refused = await backend.fold_queue.send([to_message(check, delay_seconds)])
    if refused:
        raise FanfoldError(f"run {check.run_id}: the fold queue did not accept the check: {refused[0].reason}")
