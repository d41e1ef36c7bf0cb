"""Whether all segments of a run have ended: decided from values alone, nothing here waits.

The counter of a run can only be too high, so it says *when to look*, never *that all is done*. What is done is the
union of the markers. With ``n`` the counter read **before** the markers and ``m`` the segments missing in them, the
next look is due when the counter reaches ``n + m``: each missing segment will add at least one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fanfold._ports.run import Marker

__all__ = ["Evenness", "Tally"]

UNEVEN: Final = 5
"""How many times the mean a segment may hold before it is named."""
_MOST_NAMED: Final = 10
_UNKNOWN: Final = -1
_MISSING, _FAILED, _DONE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Evenness:
    """How evenly the items of a run lie in its segments, of those whose number is known."""

    items: int
    """Items of all segments."""
    least: int
    """Items of the segment with the fewest."""
    mean: float
    """Items of a segment in the mean."""
    most: int
    """Items of the segment with the most."""
    uneven: Mapping[int, int]
    """Items by segment, for those that hold over five times the mean: the ten largest, largest first."""


class Tally:
    """Which segments of a run have ended, counted from its markers."""

    def __init__(self, total: int) -> None:
        self.total = total
        """Segments of the run."""
        self.done: int = 0
        """Segments that are done."""
        self.deliveries: int = 0
        """Deliveries of segments that ended, as their messages' receive counts say."""
        self._ends = 0
        self._state = bytearray(total)
        self._items: array[int] | None = None
        self._reasons: dict[int, str] = {}

    @property
    def failed(self) -> dict[int, str]:
        """Reason by segment, for those that failed for good and are not done; ascending."""
        return {segment: self._reasons[segment] for segment in sorted(self._reasons)}

    @property
    def duplicates(self) -> int:
        """Ends beyond the first of a segment."""
        return self._ends - self.done - len(self._reasons)

    @property
    def missing(self) -> int:
        """Segments that are neither done nor failed."""
        return self.total - self.done - len(self._reasons)

    def add(self, marker: Marker) -> None:
        """Count a marker. Done beats failed; a segment outside the run counts for nothing."""
        counts = dict(zip(marker.ids, marker.items, strict=False))
        for segment in marker.ids:
            if self._ended(segment, marker) and self._state[segment] != _DONE:
                self.done += 1
                self._reasons.pop(segment, None)
                self._state[segment] = _DONE
                if segment in counts:
                    self.add_items(segment, counts[segment])
        for segment, reason in marker.failed.items():
            if self._ended(segment, marker) and self._state[segment] == _MISSING:
                self._state[segment] = _FAILED
                self._reasons[segment] = reason

    def redo(self, segments: Iterable[int]) -> None:
        """Let segments that failed count as missing again: a later generation does them once more."""
        for segment in segments:
            if segment in self._reasons:
                del self._reasons[segment]
                self._state[segment] = _MISSING
                self._ends -= 1  # its next end is no duplicate

    def missing_segments(self) -> list[int]:
        """Return the numbers of the segments that are neither done nor failed; ascending."""
        return [segment for segment in range(self.total) if self._state[segment] == _MISSING]

    def add_items(self, segment: int, items: int) -> None:
        """Count items of a segment; one outside the run counts for nothing."""
        if not 0 <= segment < self.total:
            return
        if self._items is None:
            self._items = array("q", [_UNKNOWN]) * self.total
        self._items[segment] = max(0, self._items[segment]) + items

    def evenness(self) -> Evenness | None:
        """Return how evenly the items lie; None if no segment's number is known."""
        known = [(items, segment) for segment, items in enumerate(self._items or ()) if items != _UNKNOWN]
        if not known:
            return None
        total = sum(items for items, _ in known)
        mean = total / len(known)
        uneven = sorted((each for each in known if each[0] > UNEVEN * mean), reverse=True)[:_MOST_NAMED]
        return Evenness(total, min(known)[0], mean, max(known)[0], {segment: items for items, segment in uneven})

    def _ended(self, segment: int, marker: Marker) -> bool:
        if not 0 <= segment < self.total:
            return False
        self._ends += 1
        self.deliveries += marker.receive_counts.get(segment, 1)
        return True
