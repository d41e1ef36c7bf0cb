"""The details of a run in one pass over its ledger: attempts, ends, and groups of failures.

Memory is bounded for a million segments: a few numbers for each, and each text once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from fanfold._jobs.deliveries import ATTEMPT, Event
from fanfold._jobs.failure_groups import FailureGroup, groups_of
from fanfold._jobs.run_columns import Attempts, Ends, SegmentEnd, SegmentPart
from fanfold._jobs.segment_count import total_of
from fanfold._jobs.tally import hops_of, tally_of
from fanfold._ports.backend import Backend
from fanfold._ports.run import Attempt, Run, Unreadable

RATE_SECONDS: Final = 60.0
"""Seconds before now over which the rate is counted."""
OUTLIER: Final = 5
"""Multiple of the mean above which a segment stands out."""
_MAX_OUTLIERS: Final = 10


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity is spread over the segments that ended."""

    total: float
    """Sum over all segments."""
    least: float
    """Of the segment with the least."""
    mean: float
    """Mean of the segments."""
    median: float
    """Median of the segments."""
    most: float
    """Of the segment with the most."""
    outliers: dict[int, float]
    """By segment, for segments with over five times the mean: the ten largest, largest first."""


@dataclass(frozen=True, slots=True)
class RunDetails:
    """The details of a run, which may not have ended yet."""

    run: Run
    """The run."""
    now: float
    """When they were read; seconds since 1970."""
    total: int
    """Segments of the run; while they are being enqueued, those enqueued so far."""
    is_enqueued: bool
    """True if all segments are enqueued."""
    is_exact: bool
    """True if the numbers of deliveries, retries and duplicates are exact; otherwise, they are "at least": a delivery
    that was killed is known only from the next one."""
    done: int
    """Segments that are done."""
    failed: int
    """Segments that failed permanently."""
    failing: int
    """Segments that have not ended, and of which a delivery failed."""
    deliveries: int
    """Deliveries of segments, those of earlier generations included."""
    retries: int
    """Deliveries after the first of a segment or of one of its parts, without duplicates."""
    duplicates: int
    """Ends of segments that were already done; they have no effect."""
    failed_attempts: int
    """Deliveries that failed."""
    failing_now: Sequence[FailureGroup]
    """The last failures of the segments that are failing; largest group first."""
    failed_groups: Sequence[FailureGroup]
    """The failures of the segments that failed permanently; largest group first."""
    items: Spread | None
    """How evenly the items are spread; None if unknown."""
    seconds: Spread | None
    """How evenly the processing time is spread; None if unknown."""
    continued: int
    """Segments that have ended after continuations."""
    most_parts: int
    """Highest number of parts of a segment that has ended, at least 1."""
    bad_rows: int
    """Rows of done segments that could not be read and were collected."""
    rate: float | None
    """Segments that ended per second: over the last minute, or from creation to end of a run that has ended. None if
    unknown."""
    estimated_end: float | None
    """When the last segment will have ended at this rate; seconds since 1970. None if unknown, or the run has ended."""
    unreadable: Sequence[Unreadable]
    """Items of the ledger that cannot be read."""
    _ends: Ends = field(repr=False)
    _attempts: Attempts = field(repr=False)

    @property
    def missing(self) -> int:
        """Segments that have not ended."""
        return self.total - self.done - self.failed

    @property
    def elapsed(self) -> float:
        """Seconds from the creation of the run to its end, or to now."""
        return max(0.0, (self.now if self.run.ended_at is None else self.run.ended_at) - self.run.created_at)

    def ends(self) -> Iterator[SegmentEnd]:
        """Yield the end of each segment that has ended, by number."""
        return self._ends.all()

    def parts(self) -> Iterator[SegmentPart]:
        """Yield the parts before the last of continued segments whose times are known, in any order."""
        return self._ends.parts()

    def recovered(self) -> list[FailureGroup]:
        """Return the failures of segments that are done since, by their last failed attempt; largest group first."""
        tally, failed = self._ends.tally, self._ends.tally.failed
        segments = sorted(
            segment
            for gen in range(self.run.gen + 1)
            for segment in self._attempts.last_of(gen)
            if tally.has_ended(segment) and segment not in failed
        )
        return groups_of({segment: self._attempts.last(segment) for segment in segments}, {})

    def attempts(self) -> Iterator[Attempt]:
        """Yield the failed attempts, in any order; at most ``MAX_ATTEMPTS``."""
        return self._attempts.all()


async def read_details(run: Run, backend: Backend) -> RunDetails:
    """Return the details of a run, which may not have ended yet.

    Args:
        run: The run in its current state.
        backend: Holds the ledger.
    """
    counter = await backend.ledger.counter(run.id)
    total = total_of(run, counter)
    ends, attempts = Ends(total), Attempts(total)
    ends.tally = await tally_of(run, total, backend, also=ends.add)
    async for hop in hops_of(run, backend, ends.tally.unreadable):
        ends.add_hop(hop)
    for gen in range(run.gen + 1):
        async for batch in backend.ledger.attempts(run.id, gen):
            if isinstance(batch, Unreadable):
                ends.tally.unreadable.append(batch)
                continue
            for attempt in batch.attempts:
                event = Event(ATTEMPT, attempt.number, attempt.tag, attempt.earlier)
                ends.deliveries.add(attempt.segment, attempt.gen, attempt.hop, event)
                attempts.add(attempt)
    ends.deliveries.count()
    return _details(run, backend.now(), ends, attempts, is_enqueued=counter.total is not None and run.enqueued)


def _details(run: Run, now: float, ends: Ends, attempts: Attempts, *, is_enqueued: bool) -> RunDetails:
    tally, deliveries = ends.tally, ends.deliveries
    failed = tally.failed
    failing = [segment for segment in attempts.last_of(run.gen) if not tally.has_ended(segment)]
    rate = _rate(run, now, ends)
    continued, most_parts = ends.continued()
    waits = not run.ended and tally.missing and rate
    return RunDetails(
        run=run,
        now=now,
        total=tally.total,
        is_enqueued=is_enqueued,
        is_exact=not (tally.missing or tally.unreadable or deliveries.is_ambiguous) and is_enqueued,
        done=tally.done,
        failed=len(failed),
        failing=len(failing),
        deliveries=deliveries.total,
        retries=deliveries.retries,
        duplicates=tally.duplicates,
        failed_attempts=deliveries.attempts,
        failing_now=groups_of({segment: attempts.last(segment) for segment in failing}, {}),
        failed_groups=groups_of({segment: attempts.last(segment) for segment in failed}, failed),
        items=_spread({end.segment: end.items for end in ends.all() if end.items is not None}),
        seconds=_spread({end.segment: end.seconds for end in ends.all() if end.seconds is not None}),
        continued=continued,
        most_parts=most_parts,
        bad_rows=sum(bad.count for bad in tally.bad_rows),
        rate=rate,
        estimated_end=now + tally.missing / rate if waits and rate else None,
        unreadable=tally.unreadable,
        _ends=ends,
        _attempts=attempts,
    )


def _spread(amounts: dict[int, float]) -> Spread | None:
    if not amounts:
        return None
    ordered = sorted(amounts.values())
    total = sum(ordered)
    mean = total / len(ordered)
    outliers = sorted(
        ((amount, segment) for segment, amount in amounts.items() if amount > OUTLIER * mean), reverse=True
    )[:_MAX_OUTLIERS]
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return Spread(total, ordered[0], mean, median, ordered[-1], {segment: amount for amount, segment in outliers})


def _rate(run: Run, now: float, ends: Ends) -> float | None:
    if run.ended_at is not None:
        seconds = run.ended_at - run.created_at
        return (ends.tally.total - ends.tally.missing) / seconds if seconds > 0 else None
    seconds = min(RATE_SECONDS, now - run.created_at)
    return ends.ended_since(now - seconds) / seconds if seconds > 0 else None
