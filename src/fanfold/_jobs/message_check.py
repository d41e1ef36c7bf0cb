"""Check a message of the work queue against its run before it is processed: its run, generation, number, and data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from fanfold._base.context import BatchContext
from fanfold._jobs.job_state import JobState, logger_of
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_count import part_of
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.errors import SegmentError


async def live_run(job: str, segments: Sequence[Segment], batch: BatchContext[JobState]) -> Run | None:
    """Return the run of the segments in a message; None if the run no longer waits for them.

    The ledger determines what a segment is: its data is part of the plan or, after a continuation, of a hop. A message
    that differs was not sent by fanfold.

    Args:
        job: Name of the job.
        segments: The segments of a message, at least one.
        batch: The batch, in which each run is read once.

    Raises:
        SegmentError: If the run is unknown, or the message is not one of this run.
        FanfoldError: If the ledger cannot be read.
    """
    first = segments[0]
    if first.job != job:
        raise SegmentError(f"the segment belongs to job {first.job!r}, not to {job!r}")
    runs = batch.shared
    if first.run not in runs:
        runs[first.run] = asyncio.ensure_future(batch.state.backend.ledger.run(first.run))
    run: Run | None = await asyncio.shield(runs[first.run])
    if run is None:
        raise SegmentError(f"the segment belongs to run {first.run!r}, which is not in the ledger")
    if run.job != job:
        raise SegmentError(f"run {run.id} belongs to job {run.job!r}, not to {job!r}")
    if first.gen > run.gen:
        raise SegmentError(f"run {run.id}: the segment is of generation {first.gen}, but the run is in {run.gen}")
    for segment in segments:
        await _check_data(segment, run, batch.state.backend)
    if run.state != RunState.RUNNING or first.gen < run.gen:
        logger_of(batch).info("run %s is %s: segment %d is late and is skipped", run.id, run.state, first.number)
        return None
    return run


async def _check_data(segment: Segment, run: Run, backend: Backend) -> None:
    where = f"run {run.id}, segment {segment.number}"
    if not run.is_planned:
        raise SegmentError(f"{where}: the run has no complete plan yet")
    part = part_of(run.plan, segment.number)
    if part is None:
        raise SegmentError(f"{where}: the run has no segment of this number")
    for gen in range(segment.gen, -1, -1) if segment.hop else ():  # a redrive continues hops of earlier generations
        if (hop := await backend.ledger.hop(run.id, gen, segment.number, segment.hop - 1)) is not None:
            part = hop.rest
            break
    # As JSON: a plan may contain tuples, which a message has as lists.
    if part != segment.source and json.loads(json.dumps(part)) != segment.source:
        raise SegmentError(f"{where}: the data in the message is not the data in the plan of the run")
