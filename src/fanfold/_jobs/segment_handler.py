"""The segment function: from a segment's message to its result."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

from fanfold import sources
from fanfold._base.context import BatchContext, Context
from fanfold._base.dead_letter import configured_max_receives
from fanfold._base.deadline import Deadline
from fanfold._base.frozen import put
from fanfold._base.log import logger
from fanfold._base.log_context import add_record_keys
from fanfold._base.outcome import Reject, Retry
from fanfold._base.record import Record
from fanfold._jobs.job_state import JobState
from fanfold._jobs.segment import Segment, segments_of
from fanfold._jobs.segment_result import (
    BundleResult,
    MessageResult,
    SegmentDone,
    SegmentResult,
    SegmentStopped,
    Unrecorded,
    reason_of,
)
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold._ports.stores import Store
from fanfold.errors import FanfoldError, SegmentError


class SegmentItems:
    """The items of a segment, as its handler sees them; they end early when the time is over.

    Args:
        part: What to read.
        backend: Where from.
        over: Tells, before each item but the first, whether to stop; None to never.
    """

    def __init__(self, part: Mapping[str, Any], backend: Backend, over: Callable[[], bool] | None = None) -> None:
        self.given: int = 0
        """Items the handler was given."""
        self.rest: Mapping[str, Any] | None = None
        """What is left to read; None unless the items ended early."""
        self._part = part
        self._backend = backend
        self._over = over

    async def read(self) -> AsyncGenerator[Any, None]:
        """Yield the items; a handler that asks for another one is done with the one before."""
        over = self._over
        async with aclosing(sources.read(self._part, self._backend)) as found:
            async for some in found:
                for item, mark in some:
                    self.given += 1
                    yield item
                    if over is not None and mark is not None and over():
                        self.rest = sources.rest(self._part, mark)
                        return


class SegmentContext(Context[Any]):
    """A segment handler's second parameter."""

    __slots__ = ("segment", "run")  # noqa: RUF023 - in the order of __init__

    segment: Segment
    """The segment."""
    run: Run
    """Its run, as it stood when the batch began."""

    def __init__(self, record: Record, batch: BatchContext[Any], segment: Segment, run: Run) -> None:
        super().__init__(record, batch)
        put(self, "segment", segment)
        put(self, "run", run)

    @property
    def state(self) -> Any:
        """What the job's lifespan yielded; None without one."""
        return self.batch.state.user

    @property
    def store(self) -> Store:
        """The object store the job works with, for ``fanfold.sinks``."""
        store: Store = self.batch.state.backend.store
        return store


SegmentFunction: TypeAlias = Callable[[AsyncIterator[Any], SegmentContext], Awaitable[Any]]
"""A user's segment handler: the items of one segment in, one JSON value out."""


async def process_message(
    job: str, function: SegmentFunction, record: Record, ctx: Context[JobState], *, max_hops: int = 0
) -> MessageResult:
    """Run a segment handler over the items of the segment in a message; of several, over one after another.

    Args:
        job: Name of the job.
        function: The segment handler.
        record: The message.
        ctx: What the batch shares.
        max_hops: How often a segment whose time is over may go on in another message; 0 for never.

    Returns:
        What to enter in the ledger, or why nothing is.

    Raises:
        SegmentError: If the message is no segment of a live run of this job, its data is not what was pinned, or the
            result is no JSON value: permanent.
        Exception: Whatever the handler raises; of several segments, for the first, if none ends and a further delivery
            may mend them all.
        Reject: With its words, for what a segment raises at the last delivery of its message: the dead letter then
            tells why.
    """
    segments = segments_of(record.body)
    run = await live_run(job, segments[0], ctx.batch)
    if run is None:
        return Unrecorded.LATE
    is_last = (most := configured_max_receives()) is not None and ctx.receive_count >= most
    if len(segments) == 1:
        try:
            return await process_segment(segments[0], run, function, record, ctx, max_hops)
        except Exception as error:
            if not is_last or isinstance(error, Retry) or _is_permanent(error):
                raise
            raise Reject(reason_of(error)) from error
    ended: list[SegmentResult] = []
    left: list[Segment] = []
    errors: list[Exception] = []
    is_over = _is_over(ctx.deadline)
    for segment in segments:
        if ended and is_over():
            left.append(segment)
            continue
        try:
            ended.append(await process_segment(segment, run, function, record, ctx, max_hops))
        except Exception as error:
            logger.warning("run %s, segment %d failed, and is sent on alone", run.id, segment.number, exc_info=error)
            errors.append(error)
            left.append(segment)
    if not ended and not is_last and not any(map(_is_permanent, errors)):
        raise errors[0]
    return BundleResult(
        ended, left
    )  # one that fails for good does so alone: with its own reason, and nothing beside it


def _is_permanent(error: Exception) -> bool:
    return isinstance(error, Reject) or (isinstance(error, FanfoldError) and error.permanent)


async def process_segment(
    segment: Segment, run: Run, function: SegmentFunction, record: Record, ctx: Context[JobState], max_hops: int
) -> SegmentDone | SegmentStopped:
    """Run a segment handler over the items of one segment; as ``process_message``, without a look at its run."""
    rows = SegmentItems(segment.source, ctx.state.backend, _is_over(ctx.deadline) if segment.hop < max_hops else None)
    with add_record_keys(run=run.id, segment=segment.number):
        async with aclosing(rows.read()) as items:
            value = await function(items, SegmentContext(record, ctx.batch, segment, run))
    try:
        result = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SegmentError(f"the segment handler returned what is no JSON value: {error}") from error
    if rows.rest is not None:
        return SegmentStopped(segment, result, rows.given, rows.rest)
    return SegmentDone(segment, ctx.receive_count, result, rows.given)


def _is_over(deadline: Deadline) -> Callable[[], bool]:
    return lambda: deadline.clock() >= deadline.stops_at


async def live_run(job: str, segment: Segment, batch: BatchContext[JobState]) -> Run | None:
    """Return the run a segment belongs to, read once a batch; None if the run no longer waits for this segment.

    Raises:
        SegmentError: If the run is unknown, or of another job.
    """
    if segment.job != job:
        raise SegmentError(f"a segment of job {segment.job!r}, not of {job!r}")
    runs = batch.shared
    if segment.run not in runs:
        runs[segment.run] = asyncio.ensure_future(batch.state.backend.ledger.run(segment.run))
    run: Run | None = await asyncio.shield(runs[segment.run])
    if run is None:
        raise SegmentError(f"a segment of run {segment.run!r}, which is not in the ledger")
    if run.state != RunState.RUNNING or segment.gen < run.gen:
        logger.info("run %s is %s: segment %d is late and is not worked on", run.id, run.state, segment.number)
        return None
    return run
