"""Count from a run's markers whether all of its segments have ended.

The counter of a run is never too low but may be too high, so it determines when to check, not whether the run is
complete. The union of the markers determines which segments are done. Let ``n`` be the counter read **before** the
markers, and ``m`` the number of segments missing in them. The next check is due when the counter reaches ``n + m``,
because each missing segment will add at least one.

A run has generations: the first processes all segments, and each redrive adds one with the segments that had failed.
A segment that was done in any generation is done. A failure counts unless a later generation processed the segment
again, so a failure that a duplicate of an old message records late has no effect.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fanfold._ports.backend import Backend
from fanfold._ports.ledger_encoding import decode_ids, encode_ids
from fanfold._ports.run import BadRows, Hop, Marker, Run

UNEVEN: Final = 5
"""Multiple of the mean above which a segment is reported as uneven."""
_MAX_REPORTED: Final = 10
_UNKNOWN: Final = -1
_MISSING, _FAILED, _DONE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Evenness:
    """How evenly the items of a run are spread over its segments; ignores segments whose item count is unknown."""

    items: int
    """Items of all segments."""
    least: int
    """Items of the smallest segment."""
    mean: float
    """Mean number of items per segment."""
    most: int
    """Items of the largest segment."""
    uneven: Mapping[int, int]
    """Items by segment, for segments with over five times the mean: the ten largest, largest first."""


class Tally:
    """Which segments of a run have ended, counted from its markers."""

    def __init__(self, total: int, *, counts_items: bool = True) -> None:
        """Create an empty tally.

        Args:
            total: Segments of the run.
            counts_items: Whether to count the items of each segment, which takes 8 bytes for each.
        """
        self.total = total
        """Segments of the run."""
        self.done: int = 0
        """Segments that are done."""
        self.deliveries: int = 0
        """Deliveries of segments that ended, from the receive counts of their messages."""
        self._counts_items = counts_items
        self._ends = 0
        self._has_items = False
        """True if a segment received items, or it is unknown whether it did."""
        self._state = bytearray(total)
        self._items: array[int] | None = None
        self._reasons: dict[int, str] = {}
        self._bad_rows: dict[tuple[int, int], BadRows] = {}
        self._continued: dict[int, tuple[int, int]] = {}

    @property
    def failed(self) -> dict[int, str]:
        """Reason by segment, for segments that failed permanently and are not done; ascending."""
        return {segment: self._reasons[segment] for segment in sorted(self._reasons)}

    @property
    def duplicates(self) -> int:
        """Ends beyond the first of a segment."""
        return self._ends - self.done - len(self._reasons)

    @property
    def missing(self) -> int:
        """Segments that are neither done nor failed."""
        return self.total - self.done - len(self._reasons)

    @property
    def is_empty(self) -> bool:
        """True if every segment is done and received no items, or there are no segments."""
        return self.done == self.total and not self._has_items

    def add(self, marker: Marker) -> None:
        """Count a marker. Done overrides failed; segments outside the run are ignored."""
        if not self._has_items:  # a segment that was continued has received items
            self._has_items = any(marker.items) or len(marker.items) < len(marker.ids) or bool(marker.hops)
        counts = dict(zip(marker.ids, marker.items, strict=False)) if self._counts_items else {}
        for segment in marker.ids:
            if self._ended(segment, marker) and self._state[segment] != _DONE:
                self.done += 1
                self._reasons.pop(segment, None)
                self._state[segment] = _DONE
                if segment in counts:
                    self.add_items(segment, counts[segment])
                self._add_bad_rows(segment, marker)
        for segment, reason in marker.failed.items():
            if self._ended(segment, marker) and self._state[segment] == _MISSING:
                self._state[segment] = _FAILED
                self._reasons[segment] = reason

    def add_hop(self, hop: Hop) -> None:
        """Count the items of a hop, and its bad rows if the end that counts resumed from it; add hops after markers.

        A segment that also ended without this hop has the same bad rows in the end that counts.
        """
        self.add_items(hop.segment, hop.items)
        gen, hops = self._continued.get(hop.segment, (hop.gen, 0))
        if hop.bad_rows is not None and hop.gen == gen and hop.number < hops:
            self._bad_rows[hop.segment, hop.number] = hop.bad_rows

    @property
    def bad_rows(self) -> list[BadRows]:
        """The bad rows of the done segments, in segment order."""
        return [self._bad_rows[position] for position in sorted(self._bad_rows)]

    @property
    def items(self) -> int:
        """Items of all segments; 0 if their number is unknown."""
        return sum(items for items in self._items or () if items != _UNKNOWN)

    def redo(self, segments: Iterable[int]) -> None:
        """Count failed segments as missing again: a later generation processes them again."""
        for segment in segments:
            if segment in self._reasons:
                del self._reasons[segment]
                self._state[segment] = _MISSING
                self._ends -= 1  # so that its next end is not counted as a duplicate

    def missing_segments(self) -> list[int]:
        """Return the numbers of the segments that are neither done nor failed; ascending."""
        return [segment for segment in range(self.total) if self._state[segment] == _MISSING]

    def has_ended(self, segment: int) -> bool:
        """Return whether a segment is done or failed."""
        return self._state[segment] != _MISSING

    def add_items(self, segment: int, items: int) -> None:
        """Count items of a segment; a segment outside the run is ignored."""
        if not 0 <= segment < self.total:
            return
        if self._items is None:
            self._items = array("q", [_UNKNOWN]) * self.total
        self._items[segment] = max(0, self._items[segment]) + items

    def evenness(self) -> Evenness | None:
        """Return how evenly the items are spread; None if no segment's item count is known."""
        known = [(items, segment) for segment, items in enumerate(self._items or ()) if items != _UNKNOWN]
        if not known:
            return None
        total = sum(items for items, _ in known)
        mean = total / len(known)
        uneven = sorted((count for count in known if count[0] > UNEVEN * mean), reverse=True)[:_MAX_REPORTED]
        return Evenness(total, min(known)[0], mean, max(known)[0], {segment: items for items, segment in uneven})

    def _add_bad_rows(self, segment: int, marker: Marker) -> None:
        hops = marker.hops.get(segment, 0)
        if hops:
            self._continued[segment] = (marker.gen, hops)
        if segment in marker.bad_rows:
            self._bad_rows[segment, hops] = marker.bad_rows[segment]

    def _ended(self, segment: int, marker: Marker) -> bool:
        if not 0 <= segment < self.total:
            return False
        self._ends += 1
        self.deliveries += marker.receive_counts.get(segment, 1)
        return True


async def put_redo(key: str, segments: Sequence[int], backend: Backend) -> None:
    """Store the segments that a generation processes again."""
    await backend.put_result(key, json.dumps(encode_ids(segments)).encode())


async def redo_of(run: Run, gen: int, backend: Backend) -> Sequence[int]:
    """Return the segments that a generation, from 1, processes again; ascending."""
    return decode_ids(json.loads(await backend.get_result(run.redos[gen - 1])))


async def tally_of(
    run: Run,
    total: int,
    backend: Backend,
    *,
    only: Collection[str] | None = None,
    also: Callable[[Marker], object] | None = None,
    counts_items: bool = True,
) -> Tally:
    """Count which segments of a run have ended, in one pass over the markers of its generations.

    Args:
        run: The run.
        total: Number of segments in the run.
        backend: Holds the ledger.
        only: Ids of the markers that count; None for all.
        also: Called with each marker that counts.
        counts_items: Whether the tally counts the items of each segment.
    """
    tally = Tally(total, counts_items=counts_items)
    for gen in range(run.gen + 1):
        if gen:
            tally.redo(await redo_of(run, gen, backend))
        async for marker in backend.ledger.markers(run.id, gen):
            if only is None or marker.id in only:
                tally.add(marker)
                if also is not None:
                    also(marker)
    return tally
