"""Count the deliveries of segments from the events that a ledger holds: failed attempts, stops, and ends.

An event holds the receive count of its message, a tag that identifies the message, and how often its content was
delivered before in messages that it replaces. The deliveries of a message are its highest receive count: a delivery
that was killed, or never started, has no event, but the next one counts it.

The end of a segment in the first delivery of its message, which is nearly every one, has no tag, because a tag would
cost write units. If the same segment has events of messages without a first delivery, one of them may be the same
message; then the count is a lower bound.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

ATTEMPT: Final = 0
"""A delivery that failed."""
END: Final = 1
"""A delivery that ended a part of a segment: it was done, or stopped before the deadline."""
FAILURE: Final = 2
"""The end of a segment that failed permanently: the deliveries of its message, and not a delivery."""

_BUCKET_BITS: Final = 16
_FIELD_BITS: Final = 14
_COUNT_BITS: Final = 16
_TAG_BITS: Final = 24
_KIND_BITS: Final = 2
_MOST: Final = (1 << _FIELD_BITS) - 1
_MOST_COUNT: Final = (1 << _COUNT_BITS) - 1


class Event(NamedTuple):
    """An event in a delivery of a part of a segment."""

    kind: int
    """``ATTEMPT``, ``END`` or ``FAILURE``."""
    number: int
    """Deliveries so far, those of messages that its message replaces included."""
    tag: int = 0
    """Identifies the message, from 1; 0 if unknown."""
    earlier: int = 0
    """Deliveries of messages that its message replaces."""


class Deliveries:
    """The deliveries of the segments of a run; 16 bytes for each event.

    Args:
        total: Segments of the run.
    """

    def __init__(self, total: int) -> None:
        self.total: int = 0
        """Deliveries of all segments; set by ``count``, as all below."""
        self.retries: int = 0
        """Deliveries beyond the first of each part of a segment, without those that ended a part once more."""
        self.attempts: int = 0
        """Failed deliveries."""
        self.is_ambiguous: bool = False
        """True if deliveries may be missing, because a segment was sent in several messages."""
        self.by_segment: array[int] = array("H", bytes(2 * total))
        """Deliveries of each segment, 65,535 at most."""
        self._parts: dict[int, array[int]] = {}
        self._events: dict[int, array[int]] = {}

    def add(self, segment: int, gen: int, hop: int, event: Event) -> None:
        """Add an event of a segment; a segment outside the run is ignored.

        Args:
            segment: Number of the segment.
            gen: Generation of the run.
            hop: Earlier hops of the segment.
            event: The event.
        """
        if not 0 <= segment < len(self.by_segment):
            return
        bucket, place = segment >> _BUCKET_BITS, segment & ((1 << _BUCKET_BITS) - 1)
        part = (place << _FIELD_BITS | min(gen, _MOST)) << _FIELD_BITS | min(hop, _MOST)
        self._parts.setdefault(bucket, array("Q")).append(part)
        self._events.setdefault(bucket, array("Q")).append(_packed(event))

    def count(self) -> None:
        """Count all deliveries; call it once, after the last event."""
        for bucket, parts in self._parts.items():
            first = bucket << _BUCKET_BITS
            events = sorted(zip(parts, self._events[bucket], strict=True))
            for part, group in groupby(events, key=itemgetter(0)):
                self._count_part(first + (part >> 2 * _FIELD_BITS), [_unpacked(packed) for _, packed in group])
        self._parts.clear()
        self._events.clear()

    def _count_part(self, segment: int, events: list[Event]) -> None:
        counted = count_deliveries(events)
        ends = sum(event.kind == END for event in events)
        self.total += counted.deliveries
        self.attempts += sum(event.kind == ATTEMPT for event in events)
        self.retries += max(0, counted.deliveries - 1 - max(0, ends - 1))
        self.is_ambiguous = self.is_ambiguous or counted.is_ambiguous
        self.by_segment[segment] = min(_MOST_COUNT, self.by_segment[segment] + counted.deliveries)


class Counted(NamedTuple):
    """The deliveries of one part of a segment."""

    deliveries: int
    """The least number that explains the events."""
    is_ambiguous: bool
    """True if there may be more."""


def count_deliveries(events: Iterable[Event]) -> Counted:
    """Return the number of deliveries of one part of a segment."""
    own: dict[tuple[int, int], int] = {}
    firsts: set[int] = set()
    untagged = failure = 0
    for event in events:
        if event.kind == FAILURE:
            failure = max(failure, event.number)
        elif event.tag == 0:
            untagged += 1
        else:
            message = (event.earlier, event.tag)
            own[message] = max(own.get(message, 0), event.number - event.earlier)
            if event.number - event.earlier <= 1:
                firsts.add(event.tag)
    absorbed = min(untagged, sum(earlier == 0 and tag not in firsts for earlier, tag in own))
    deliveries = untagged - absorbed
    for (earlier, _), count in sorted(own.items()):  # a message after those that it replaces
        deliveries = max(deliveries, earlier) + count
    levels = [earlier for earlier, _ in own]
    has_siblings = any(levels.count(earlier) > 1 and earlier < max(levels) for earlier in levels) or (
        untagged > 0 and any(levels)
    )
    is_ambiguous = absorbed > 0 or has_siblings or (failure > deliveries and len(own) + untagged > 1)
    return Counted(max(deliveries, failure), is_ambiguous)


def _packed(event: Event) -> int:
    packed = event.tag & ((1 << _TAG_BITS) - 1)
    for count in (event.earlier, event.number):
        packed = packed << _COUNT_BITS | min(max(count, 0), _MOST_COUNT)
    return packed << _KIND_BITS | event.kind


def _unpacked(packed: int) -> Event:
    kind, packed = packed & ((1 << _KIND_BITS) - 1), packed >> _KIND_BITS
    number, packed = packed & _MOST_COUNT, packed >> _COUNT_BITS
    earlier, tag = packed & _MOST_COUNT, packed >> _COUNT_BITS
    return Event(kind, number, tag, earlier)
