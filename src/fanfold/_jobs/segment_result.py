"""What the handlers of segments and of dead letters return; the commit stage enters it in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from fanfold._jobs.segment import Segment

REASON_CHARACTERS: Final = 300
"""Longest reason of a failed segment that is kept."""
INLINE_RESULTS_BYTES: Final = 8_192
"""Results up to this size stand in the ledger. A DynamoDB write costs by the KiB, an S3 PUT as much as 8 of those
(AWS price lists, us-east-1, November 2026)."""


@dataclass(frozen=True, slots=True)
class SegmentDone:
    """A segment whose handler returned after its last item."""

    segment: Segment
    """The segment."""
    receive_count: int
    """Deliveries its message took."""
    result: str
    """What the handler returned, as JSON text."""
    items: int
    """How many items the handler was given."""


@dataclass(frozen=True, slots=True)
class SegmentFailed:
    """A segment that failed for good."""

    segment: Segment
    """The segment."""
    receive_count: int
    """Deliveries its message took."""
    reason: str
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class SegmentStopped:
    """A segment whose items ended early because the time was over: another message goes on from there."""

    segment: Segment
    """The segment."""
    result: str
    """What the handler returned for the items it was given, as JSON text."""
    items: int
    """How many items the handler was given."""
    rest: Mapping[str, Any]
    """What is left to read, in the words of the source."""


SegmentResult: TypeAlias = SegmentDone | SegmentFailed | SegmentStopped
"""How one segment ended, or stopped."""


@dataclass(frozen=True, slots=True)
class BundleResult:
    """How the segments ended that shared a message."""

    ended: Sequence[SegmentResult]
    """Those that ended, or stopped in time."""
    left: Sequence[Segment] = ()
    """Those that did not: each goes on in a message of its own, and the others are not held up by it."""


class Unrecorded(Enum):
    """Why a message is acknowledged although nothing of it is entered in the ledger."""

    LATE = "its run no longer waits for it"
    QUARANTINED = "it is not a segment of a run, and was sent to the quarantine queue"
    RETURNED = "it was sent to the work queue once more"


MessageResult: TypeAlias = SegmentResult | BundleResult | Unrecorded
"""What became of one message of the work queue or of its dead-letter queue."""


def reason_of(error: BaseException) -> str:
    """Return why something failed, in the words of the error that was raised."""
    kind, text = type(error).__qualname__, str(error)
    return f"{kind}: {text}" if text else kind
