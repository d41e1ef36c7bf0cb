"""What the handlers of a job's functions share, and what they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fanfold._jobs.segment import Segment
from fanfold._ports.backend import Backend

__all__ = ["INLINE_RESULTS_BYTES", "Ended", "JobState", "Together"]

INLINE_RESULTS_BYTES: Final = 8_192
"""Results up to this size stand in the ledger. A DynamoDB write costs by the KiB, an S3 PUT as much as 8 of those
(AWS price lists, us-east-1, November 2026)."""


@dataclass(frozen=True, slots=True)
class JobState:
    """What the handlers of a job's functions share."""

    backend: Backend
    """Queues, ledger and store."""
    user: Any = None
    """What the job's own lifespan yielded."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a job's handler returns for a segment that ended; anything else it returns is not entered in the ledger."""

    segment: Segment
    """The segment."""
    receive_count: int
    """Deliveries its message took."""
    result: str = "null"
    """What the segment handler returned, as JSON text."""
    failure: str | None = None
    """Why it failed for good; None if it is done, or stopped."""
    items: int | None = None
    """How many items its handler was given; None if it was given none to count."""
    rest: Mapping[str, Any] | None = None
    """What is left to read, for one that stopped because the time was over; None if it is done or failed."""


@dataclass(frozen=True, slots=True)
class Together:
    """What a job's handler returns for a message of several segments."""

    ended: Sequence[Ended]
    """Those that ended, or stopped in time."""
    left: Sequence[Segment] = ()
    """Those that did not: each goes on in a message of its own, and the others are not held up by it."""
