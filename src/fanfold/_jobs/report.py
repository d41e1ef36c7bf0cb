"""What became of a run: watched while it goes on, and its account when it has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import anyio

from fanfold._jobs.tally import Evenness, tally_of
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.errors import FanfoldError

POLL_SECONDS: Final = 0.25
"""Seconds between two looks at a run that is watched."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    state: RunState
    """Where the run stands."""
    ended: int
    """Segments that ended; those that ended twice count twice, so it may pass the total."""
    total: int | None
    """Segments of the run; None while they are still being enqueued."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """What became of every segment of a run, from its markers."""

    segments: int
    """Segments of the run."""
    done: int
    """Segments that are done."""
    failed: Mapping[int, str]
    """Reason by segment, for those that failed for good."""
    missing: int
    """Segments that have not ended."""
    deliveries: int
    """Deliveries of segments that ended, as their messages' receive counts say."""
    retries: int
    """Deliveries beyond the first of each message."""
    duplicates: int
    """Ends of a segment that had ended before; they change nothing."""
    evenness: Evenness | None
    """How evenly the items lie in the segments; None if that is not known."""
    seconds: float | None
    """From the creation of the run to its end; None if it has not ended."""


async def watch(backend: Backend, run_id: str, *, within_seconds: float) -> AsyncIterator[Progress]:
    """Yield how far a run is, now and then, the last time when it has ended.

    Raises:
        FanfoldError: If the run is not in the ledger, or has not ended in time.
    """
    with anyio.move_on_after(within_seconds):
        while True:
            run, counter = await backend.ledger.run(run_id), await backend.ledger.counter(run_id)
            if run is None:
                raise FanfoldError(f"run {run_id!r} is not in the ledger")
            yield Progress(run.state, counter.ended, counter.total)
            if run.ended:
                return
            await anyio.sleep(POLL_SECONDS)
    raise FanfoldError(f"run {run_id} has not ended in {within_seconds:.0f} s; it goes on by itself")


async def read_report(backend: Backend, run: Run) -> RunReport:
    """Return the account of a run, ended or not."""
    counter = await backend.ledger.counter(run.id)
    total = run.position if counter.total is None else counter.total
    tally = await tally_of(run, total, backend)
    for gen in range(run.gen + 1):
        async for hop in backend.ledger.hops(run.id, gen):
            tally.add_items(hop.segment, hop.items)
    return RunReport(
        segments=total,
        done=tally.done,
        failed=tally.failed,
        missing=tally.missing,
        deliveries=tally.deliveries,
        retries=tally.deliveries - tally.done - len(tally.failed) - tally.duplicates,
        duplicates=tally.duplicates,
        evenness=tally.evenness(),
        seconds=None if run.ended_at is None else run.ended_at - run.created_at,
    )
