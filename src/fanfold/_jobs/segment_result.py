"""The results of the segment and dead-letter handlers, which the commit stage records in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from fanfold._base.error_text import message_of, storable
from fanfold._jobs.segment import Segment
from fanfold._ports.run import BadRows

REASON_CHARACTERS: Final = 300
"""Length to which the reason of a failed segment is truncated."""
_MESSAGE_CHARACTERS: Final = 2_000
INLINE_RESULTS_BYTES: Final = 8_192
"""Results up to this size are stored in the ledger, larger ones in S3. DynamoDB writes are billed per KiB; an S3 PUT
costs as much as 8 of them (AWS price lists, us-east-1, November 2026)."""


@dataclass(slots=True)
class Timing:
    """When the handler of a segment started, and how long it took."""

    began_at: float
    """Seconds since 1970."""
    seconds: float = 0.0
    """Set when the handler has ended."""


@dataclass(frozen=True, slots=True)
class SegmentDone:
    """A segment whose handler returned after its last item."""

    segment: Segment
    """The segment."""
    receive_count: int
    """Deliveries of the segment in this hop, those of messages that its message replaces included."""
    result: str
    """The handler's return value, as JSON text."""
    items: int
    """Number of items that the handler received."""
    bad_rows: BadRows | None = None
    """The bad rows that were collected; None if there are none."""
    timing: Timing | None = None
    """When the handler started, and how long it took; None if unknown."""
    message: Sequence[int] = (0, 0)
    """Tag of its message, 0 if unknown, and deliveries of messages that it replaces."""


@dataclass(frozen=True, slots=True)
class SegmentFailed:
    """A segment that failed permanently."""

    segment: Segment
    """The segment."""
    receive_count: int
    """Deliveries of its message."""
    reason: str
    """Why it failed."""
    hops: int = 0
    """Its hops in the ledger; a redrive continues from the last one."""


@dataclass(frozen=True, slots=True)
class SegmentStopped:
    """A segment whose items ended early because of the deadline; another message resumes from there."""

    segment: Segment
    """The segment."""
    result: str
    """The handler's return value for the items it received, as JSON text."""
    items: int
    """Number of items that the handler received."""
    rest: Mapping[str, Any]
    """The remaining part, in the format of the source."""
    bad_rows: BadRows | None = None
    """The bad rows that were collected; None if there are none."""
    receive_count: int = 1
    """Deliveries of its message."""
    timing: Timing | None = None
    """When the handler started, and how long it took; None if unknown."""
    message: Sequence[int] = (0, 0)
    """Tag of its message, 0 if unknown, and deliveries of messages that it replaces."""
    is_last: bool = False
    """True if the segment has used its continuations: it fails, and only a redrive continues it."""


SegmentResult: TypeAlias = SegmentDone | SegmentFailed | SegmentStopped
"""The result of one segment that ended or stopped."""


@dataclass(frozen=True, slots=True)
class BundleResult:
    """The results of segments that shared a message."""

    ended: Sequence[SegmentResult]
    """Results of the segments that ended, or stopped before the deadline."""
    left: Sequence[Segment] = ()
    """The other segments: each continues in a separate message, so that it does not delay the others."""
    deliveries: int = 0
    """Deliveries of the segments in ``left`` so far."""


class Unrecorded(Enum):
    """Why a message is acknowledged although the ledger records none of its segments."""

    LATE = "its run no longer waits for it"
    QUARANTINED = "it is not a segment of a run, and was sent to the quarantine queue"
    RETURNED = "it was sent to the work queue once more"


MessageResult: TypeAlias = SegmentResult | BundleResult | Unrecorded
"""The result of one message of the work queue or its dead-letter queue."""


def reason_of(error: BaseException) -> str:
    """Return the type and the message of an error as the reason of a failure; only the type if it has no message."""
    kind, text = storable(type(error).__qualname__, REASON_CHARACTERS), message_of(error, _MESSAGE_CHARACTERS)
    return f"{kind}: {text}" if text else kind
