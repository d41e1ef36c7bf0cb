"""The progress of a run, and its run report."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import anyio

from fanfold._jobs.run_details import read_details
from fanfold._jobs.tally import Evenness
from fanfold._ports.backend import Backend
from fanfold._ports.run import Counter, Run, RunState
from fanfold.errors import FanfoldError

POLL_SECONDS: Final = 0.25
"""Seconds between two reads of a run that is watched."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run."""

    state: RunState
    """State of the run."""
    ended: int
    """Segments that ended; of a redrive, only redriven ones. Slightly too high if a segment ended twice."""
    total: int | None
    """Segments of the run, or redriven segments; None while the segments of the run are being enqueued."""
    is_redrive: bool = False
    """True if a redrive is in progress, or has ended."""


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
                raise FanfoldError(f"run {run_id!r} is not in the ledger: check its name with `fanfold runs`")
            yield progress_of(run, counter)
            if run.ended:
                return
            await anyio.sleep(POLL_SECONDS)
    raise FanfoldError(
        f"run {run_id} has not ended within {within_seconds:.0f} s and continues: `fanfold status {run_id}` shows it"
    )


def progress_of(run: Run, counter: Counter) -> Progress:
    """Return the progress of a run.

    At least ``next - ended`` segments are missing: ``next`` was the counter plus the missing segments, and each of them
    adds at least one to the counter when it ends. When a redrive starts, ``next`` is raised after ``gen``.
    """
    total = run.redo if run.gen else counter.total
    if total is None or counter.next is None:
        return Progress(run.state, counter.ended, None)
    ended = total - min(total, max(0, counter.next - counter.ended))
    if not run.enqueued:
        ended = min(ended, run.position)
    return Progress(run.state, ended, total, is_redrive=run.gen > 0)


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
