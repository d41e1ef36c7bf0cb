"""Count the deliveries of segments from the events that a ledger holds: failed attempts, stops, and ends.

An event holds the receive count of its message. A message that was delivered *r* times has at most one event for each
count up to *r*; a delivery that was killed, or never started, has none. Events with the same count belong to different
messages, such as those of a scatter that died and was resumed. So the least number of deliveries that explains the
events of one part of a segment is the sum, over its messages, of the highest count of each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

ATTEMPT: Final = 0
"""A delivery that failed."""
END: Final = 1
"""A delivery that ended a part of a segment: it was done, or stopped before the deadline."""
FAILURE: Final = 2
"""The end of a segment that failed permanently: the highest count of its message, and not a delivery."""

_BUCKET_BITS: Final = 16
_FIELD_BITS: Final = 14
_COUNT_BITS: Final = 16
_KIND_BITS: Final = 2
_MOST: Final = (1 << _FIELD_BITS) - 1
_MOST_COUNT: Final = (1 << _COUNT_BITS) - 1


class Deliveries:
    """The deliveries of the segments of a run; 8 bytes for each event.

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
        """True if messages with the same segment were sent twice and some of their deliveries are unknown."""
        self.by_segment: array[int] = array("H", bytes(2 * total))
        """Deliveries of each segment, 65,535 at most."""
        self._buckets: dict[int, array[int]] = {}

    def add(self, segment: int, gen: int, hop: int, count: int, kind: int) -> None:
        """Add an event of a segment; a segment outside the run is ignored.

        Args:
            segment: Number of the segment.
            gen: Generation of the run.
            hop: Earlier hops of the segment.
            count: Deliveries of its message so far, from 1.
            kind: ``ATTEMPT``, ``END`` or ``FAILURE``.
        """
        if not 0 <= segment < len(self.by_segment):
            return
        bucket, place = segment >> _BUCKET_BITS, segment & ((1 << _BUCKET_BITS) - 1)
        packed = (place << _FIELD_BITS | min(gen, _MOST)) << _FIELD_BITS | min(hop, _MOST)
        packed = (packed << _COUNT_BITS | min(max(count, 1), _MOST_COUNT)) << _KIND_BITS | kind
        self._buckets.setdefault(bucket, array("Q")).append(packed)

    def count(self) -> None:
        """Count all deliveries; call it once, after the last event."""
        for bucket, events in sorted(self._buckets.items()):
            first = bucket << _BUCKET_BITS
            parts = groupby(sorted(events), key=lambda packed: packed >> (_COUNT_BITS + _KIND_BITS))
            for part, part_events in parts:
                self._count_part(first + (part >> 2 * _FIELD_BITS), part_events)
        self._buckets.clear()

    def _count_part(self, segment: int, packed_events: Iterable[int]) -> None:
        events = list(_unpacked(packed_events))
        counts = [count for count, kind in events if kind != FAILURE]
        deliveries, messages = least_deliveries(counts)
        failure = max((count for count, kind in events if kind == FAILURE), default=0)
        deliveries += max(0, failure - max(counts, default=0))
        ends = sum(kind == END for _, kind in events)
        self.total += deliveries
        self.attempts += sum(kind == ATTEMPT for _, kind in events)
        self.retries += max(0, deliveries - 1 - max(0, ends - 1))
        self.is_ambiguous = self.is_ambiguous or (messages > 1 and deliveries > len(counts))
        self.by_segment[segment] = min(_MOST_COUNT, self.by_segment[segment] + deliveries)


def least_deliveries(counts: list[int]) -> tuple[int, int]:
    """Return the least number of deliveries, and of messages, with one event for each of these receive counts.

    Args:
        counts: Ascending.
    """
    occurrences = [(count, len(list(same))) for count, same in groupby(counts)]
    messages = max((many for _, many in occurrences), default=0)
    highest = [max(count for count, many in occurrences if many >= message) for message in range(1, messages + 1)]
    return sum(highest), messages


def _unpacked(packed_events: Iterable[int]) -> Iterator[tuple[int, int]]:
    for packed in packed_events:
        yield (packed >> _KIND_BITS) & _MOST_COUNT, packed & ((1 << _KIND_BITS) - 1)
