"""The progress of a run, and its run report."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import anyio

from fanfold._jobs.run_details import read_details
from fanfold._jobs.tally import Evenness
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.errors import FanfoldError

POLL_SECONDS: Final = 0.25
"""Seconds between two reads of a run that is watched."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run."""

    state: RunState
    """State of the run."""
    ended: int
    """Segments that ended. A segment that ended twice counts twice, so this may exceed the total."""
    total: int | None
    """Segments of the run; None while they are still being enqueued."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """The outcome of every segment of a run, from its markers."""

    segments: int
    """Segments of the run."""
    done: int
    """Segments that are done."""
    failed: Mapping[int, str]
    """Reason by segment, for segments that failed permanently."""
    missing: int
    """Segments that have not ended."""
    deliveries: int
    """Deliveries of segments that ended, from the receive counts of their messages."""
    retries: int
    """Deliveries beyond the first of each message."""
    duplicates: int
    """Ends of segments that had already ended; they have no effect."""
    evenness: Evenness | None
    """How evenly the items are spread over the segments; None if unknown."""
    seconds: float | None
    """Seconds from the creation of the run to its end; None if it has not ended."""
    bad_rows: int = 0
    """Rows of done segments that could not be read and were collected."""


async def watch(backend: Backend, run_id: str, *, within_seconds: float) -> AsyncIterator[Progress]:
    """Yield the progress of a run repeatedly, the last time when it has ended.

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
    raise FanfoldError(f"run {run_id} has not ended within {within_seconds:.0f} s; it continues in the background")


async def read_report(backend: Backend, run: Run) -> RunReport:
    """Return the report of a run, which may not have ended yet."""
    details = await read_details(run, backend)
    spread = details.items
    return RunReport(
        segments=details.total,
        done=details.done,
        failed={end.segment: end.reason for end in details.ends() if end.reason is not None},
        missing=details.missing,
        deliveries=details.deliveries,
        retries=details.retries,
        duplicates=details.duplicates,
        evenness=None
        if spread is None
        else Evenness(
            int(spread.total),
            int(spread.least),
            spread.mean,
            int(spread.most),
            {segment: int(items) for segment, items in spread.outliers.items()},
        ),
        bad_rows=details.bad_rows,
        seconds=None if run.ended_at is None else run.ended_at - run.created_at,
    )
