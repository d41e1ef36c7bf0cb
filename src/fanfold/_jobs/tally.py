"""Count from a run's markers whether all of its segments have ended.

The counter of a run is never too low but may be too high, so it determines when to check, not whether the run is
complete. The union of the markers determines which segments are done. Let ``n`` be the counter read **before** the
markers, and ``m`` the number of segments missing in them. The next check is due when the counter reaches ``n + m``,
because each missing segment will add at least one.

A run has generations: the first processes all segments, and each redrive adds one with the segments that had failed.
A segment that was done in any generation is done. A failure counts unless a later generation processed the segment
again, so a failure that a duplicate of an old message records late has no effect.

An item that cannot be read costs itself: the tally lists it, and the segments that only it holds stay missing.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold._ports.ledger_encoding import decode_ids, encode_ids
from fanfold._ports.run import BadRows, Hop, Marker, Run, Unreadable
from fanfold.errors import LedgerError, ObjectMissingError

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
        self.counted: int = 0
        """Ends in all markers; the counter of the run is at least as high."""
        self.uncounted: int = 0
        """Ends that the counter included when the generation started, but that no readable marker holds."""
        self.unreadable: list[Unreadable] = []
        """Items that cannot be read."""
        self._counts_items = counts_items
        self._ends = 0
        self._has_items = False
        """True if a segment received items, or it is unknown whether it did."""
        self._state = bytearray(total)
        self._items: array[int] | None = None
        self._reasons: dict[int, str] = {}
        self._bad_rows: dict[tuple[int, int], BadRows] = {}
        self._continued: dict[int, tuple[int, int]] = {}
        self._stopped: dict[int, tuple[int, int]] = {}
        self._bases: dict[tuple[int, int], Continued] = {}

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
        self.counted += len(marker.ids) + len(marker.failed)
        if not self._has_items:  # a segment that was continued has received items
            self._has_items = any(marker.items) or len(marker.items) < len(marker.ids) or bool(marker.hops)
        counts = dict(zip(marker.ids, marker.items, strict=False)) if self._counts_items else {}
        for segment in marker.ids:
            if self._ended(segment) and self._state[segment] != _DONE:
                self.done += 1
                self._reasons.pop(segment, None)
                self._state[segment] = _DONE
                if segment in counts:
                    self.add_items(segment, counts[segment])
                self._add_bad_rows(segment, marker)
        for segment, reason in marker.failed.items():
            if self._ended(segment) and self._state[segment] == _MISSING:
                self._state[segment] = _FAILED
                self._reasons[segment] = reason
                self._stopped[segment] = marker.gen, marker.hops.get(segment, 0)

    def add_hop(self, hop: Hop) -> None:
        """Count the items of a hop, and its bad rows if the end that counts resumed from it; add hops after markers.

        A segment that also ended without this hop has the same bad rows in the end that counts.
        """
        self.add_items(hop.segment, hop.items)
        gen, hops = self._continued.get(hop.segment, (hop.gen, 0))
        if hop.bad_rows is not None and hop.number < hops and self.is_in_chain(hop, gen):
            self._bad_rows[hop.segment, hop.number] = hop.bad_rows

    def is_in_chain(self, hop: Hop, gen: int) -> bool:
        """Return whether the end of a segment in a generation resumed from a hop, possibly of an earlier generation."""
        return self.gen_of_hop(hop.segment, gen, hop.number) == hop.gen

    def gen_of_hop(self, segment: int, gen: int, number: int) -> int:
        """Return the generation of the hop with a number from which an end in a generation resumed."""
        while (base := self._bases.get((segment, gen))) is not None and number < base.hop and base.gen < gen:
            gen = base.gen
        return gen

    def stopped(self, segment: int) -> tuple[int, int]:
        """Return the generation in which a failed segment failed, and the number of its hops until then."""
        return self._stopped.get(segment, (0, 0))

    @property
    def bad_rows(self) -> list[BadRows]:
        """The bad rows of the done segments, in segment order."""
        return [self._bad_rows[position] for position in sorted(self._bad_rows)]

    @property
    def items(self) -> int:
        """Items of all segments; 0 if their number is unknown."""
        return sum(items for items in self._items or () if items != _UNKNOWN)

    def redo(self, redone: Redo, gen: int = 1) -> None:
        """Count failed segments as missing again: this generation processes them again."""
        self.uncounted = redone.uncounted
        self._bases.update({(segment, gen): continued for segment, continued in redone.continued.items()})
        for segment in redone.segments:
            if segment in self._reasons:
                del self._reasons[segment]
                self._reset(segment)
        for segment in redone.lost:
            if 0 <= segment < self.total and self._state[segment] == _DONE:
                self.done -= 1
                self._reset(segment)

    def fail(self, segments: Iterable[int], reason: str) -> None:
        """Count segments as failed that are missing, or that are done and whose results are lost."""
        for segment in segments:
            if self._state[segment] == _DONE:
                self.done -= 1
            else:
                self._ends += 1
            self._state[segment] = _FAILED
            self._reasons[segment] = reason

    def _reset(self, segment: int) -> None:
        self._state[segment] = _MISSING
        self._ends -= 1  # so that its next end is not counted as a duplicate

    def missing_segments(self) -> list[int]:
        """Return the numbers of the segments that are neither done nor failed; ascending."""
        return [segment for segment in range(self.total) if self._state[segment] == _MISSING]

    def has_ended(self, segment: int) -> bool:
        """Return whether a segment is done or failed."""
        return self._state[segment] != _MISSING

    def done_segments(self) -> list[int]:
        """Return the numbers of the segments that are done; ascending."""
        return [segment for segment in range(self.total) if self._state[segment] == _DONE]

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

    def _ended(self, segment: int) -> bool:
        if not 0 <= segment < self.total:
            return False
        self._ends += 1
        return True


@dataclass(frozen=True, slots=True)
class Continued:
    """Where a redriven segment continues."""

    gen: int
    """The generation in which it failed."""
    hop: int
    """Number of its hops until then."""
    rest: Mapping[str, Any]
    """The unread rest of the segment, in the format of the source."""


@dataclass(frozen=True, slots=True)
class Redo:
    """The segments that a generation processes again."""

    segments: Sequence[int]
    """Their numbers, ascending."""
    lost: Sequence[int] = ()
    """Those among them that were done, and whose results are lost; ascending."""
    uncounted: int = 0
    """Ends that the counter includes when the generation starts, but that no readable marker holds."""
    continued: Mapping[int, Continued] = field(default_factory=dict)
    """Where segments continue, by number; the others start again."""


async def put_redo(key: str, redone: Redo, backend: Backend) -> None:
    """Store the segments that a generation processes again."""
    continued = {segment: [start.gen, start.hop, start.rest] for segment, start in redone.continued.items()}
    document = [encode_ids(redone.segments), encode_ids(redone.lost), redone.uncounted, continued]
    await backend.put_result(key, json.dumps(document).encode())


async def redo_of(run: Run, gen: int, backend: Backend) -> Redo:
    """Return the segments that a generation, from 1, processes again.

    Raises:
        LedgerError: If the object that lists them is missing or malformed.
    """
    key = run.redos[gen - 1]
    try:
        segments, lost, uncounted, continued = json.loads(await backend.get_result(key))
        starts = {
            int(segment): Continued(int(gen), int(hop), dict(rest)) for segment, (gen, hop, rest) in continued.items()
        }
        return Redo(decode_ids(segments), decode_ids(lost), int(uncounted), starts)
    except (ObjectMissingError, LedgerError, ValueError, TypeError, AttributeError) as error:
        raise LedgerError(f"run {run.id}: the list of redriven segments cannot be read: {key}: {error}") from error


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
            try:
                tally.redo(await redo_of(run, gen, backend), gen)
            except LedgerError as error:
                tally.unreadable.append(Unreadable(run.redos[gen - 1], str(error)))
        async for marker in backend.ledger.markers(run.id, gen):
            if isinstance(marker, Unreadable):
                tally.unreadable.append(marker)
            elif only is None or marker.id in only:
                tally.add(marker)
                if also is not None:
                    also(marker)
    return tally


async def hops_of(run: Run, backend: Backend, unreadable: list[Unreadable]) -> AsyncIterator[Hop]:
    """Yield the hops of all generations of a run; add those that cannot be read to a list."""
    for gen in range(run.gen + 1):
        async for hop in backend.ledger.hops(run.id, gen):
            if isinstance(hop, Unreadable):
                unreadable.append(hop)
            else:
                yield hop
