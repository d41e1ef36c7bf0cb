"""The segment function: from a segment's message to its result."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

from fanfold import sources
from fanfold._base.callables import is_coroutine_function
from fanfold._base.context import BatchContext, Context
from fanfold._base.dead_letter import configured_max_receives, deliveries_of, earlier_deliveries, tag_of
from fanfold._base.deadline import Deadline
from fanfold._base.frozen import put
from fanfold._base.log_context import add_record_keys
from fanfold._base.outcome import Reject, Retry
from fanfold._base.record import Record
from fanfold._jobs.attempts import attempts_of
from fanfold._jobs.bad_rows import BadRowBuffer
from fanfold._jobs.job_state import JobState, logger_of
from fanfold._jobs.message_check import live_run
from fanfold._jobs.result_text import CheckResult, result_text
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
from fanfold._jobs.segment_thread import Batch, call_on_thread
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run
from fanfold._ports.stores import Store
from fanfold.errors import FanfoldError
from fanfold.sources.bad_rows import BadRow


class SegmentItems:
    """The items of a segment as its handler sees them. They end early if the segment cannot end in time.

    Args:
        part: What to read.
        backend: Holds the source.
        must_stop: Returns, before each item but the first, whether to stop; None to never stop.
    """

    def __init__(self, part: Mapping[str, Any], backend: Backend, must_stop: Callable[[], bool] | None = None) -> None:
        self.count: int = 0
        """Items that the handler received."""
        self.bad_rows: BadRowBuffer = BadRowBuffer()
        """The bad rows, which the handler does not receive."""
        self.rest: Mapping[str, Any] | None = None
        """The part that was not read; None unless the items ended early."""
        self._part = part
        self._backend = backend
        self._must_stop = must_stop

    async def read(self) -> AsyncGenerator[Any, None]:
        """Yield the items."""
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                for item in self.items_of(batch):
                    yield item
                if self.is_stopped:
                    return

    def batches(self) -> AsyncGenerator[Batch, None]:
        """Read the items, several at a time."""
        return sources.read(self._part, self._backend)

    def items_of(self, batch: Batch) -> Iterator[Any]:
        """Yield the items of a batch. A handler that requests the next item has processed the one before."""
        must_stop = self._must_stop
        for item, mark in batch:
            if type(item) is BadRow:
                self.bad_rows.add(item)
                continue
            self.count += 1
            yield item
            if must_stop is not None and mark is not None and must_stop():
                self.rest = sources.rest(self._part, mark)
                return

    @property
    def is_stopped(self) -> bool:
        """True if the items ended early."""
        return self.rest is not None


class SegmentContext(Context[Any]):
    """A segment handler's second parameter."""

    __slots__ = ("segment", "run")  # noqa: RUF023 - in the order of __init__

    segment: Segment
    """The segment."""
    run: Run
    """Its run, as of the start of the batch."""

    def __init__(self, record: Record, batch: BatchContext[Any], segment: Segment, run: Run) -> None:
        super().__init__(record, batch)
        put(self, "segment", segment)
        put(self, "run", run)

    @property
    def state(self) -> Any:
        """The value that the job's lifespan yielded; None without a lifespan."""
        return self.batch.state.user

    @property
    def store(self) -> Store:
        """The object store of the job, for ``fanfold.sinks``."""
        store: Store = self.batch.state.backend.store
        return store


SegmentFunction: TypeAlias = Callable[[Any, SegmentContext], Any]
"""A user's segment handler: takes an async iterator of the items of one segment, or, as a ``def``, an iterator of them;
returns one JSON value."""


async def process_message(
    job: str,
    function: SegmentFunction,
    record: Record,
    ctx: Context[JobState],
    *,
    max_hops: int = 0,
    check: CheckResult | None = None,
) -> MessageResult:
    """Run the segment handler for the segment in a message, or for several segments one after another.

    Args:
        job: Name of the job.
        function: The segment handler.
        record: The message.
        ctx: The context of the record.
        max_hops: How often a segment that cannot end in time may continue in another message; 0 for never. After that,
            it fails where it stops.
        check: The check of the job's fold for results; None if it has none.

    Returns:
        The results to record in the ledger, or why none are recorded.

    Raises:
        SegmentError: If the message is not a segment of a running run of this job, its data is not what was pinned, or
            the fold cannot use the result, or it is not a JSON value: permanent.
        Exception: Any error that the handler raises. With several segments: the first error, if no segment ended and a
            retry may succeed.
        Reject: At the last delivery of a message, in place of the handler's error and with its text, so that the
            message in the dead-letter queue states the reason.
    """
    segments = segments_of(record.body)
    run = await live_run(job, segments, ctx.batch)
    if run is None:
        return Unrecorded.LATE
    is_last = (max_receives := configured_max_receives()) is not None and ctx.receive_count >= max_receives
    if len(segments) == 1:
        try:
            return await process_segment(segments[0], run, function, record, ctx, max_hops, check)
        except Exception as error:
            if not is_last or isinstance(error, Retry) or _is_permanent(error):
                raise
            raise Reject(reason_of(error)) from error
    ended: list[SegmentResult] = []
    left: list[Segment] = []
    errors: list[Exception] = []
    must_stop, logger = _must_stop(ctx.deadline), logger_of(ctx.batch)
    for segment in segments:
        if ended and must_stop():
            left.append(segment)
            continue
        try:
            ended.append(await process_segment(segment, run, function, record, ctx, max_hops, check))
        except Exception as error:
            logger.warning(
                "run %s, segment %d failed and is sent in a separate message", run.id, segment.number, exc_info=error
            )
            errors.append(error)
            left.append(segment)
    if not ended and not is_last and not any(map(_is_permanent, errors)):
        raise errors[0]
    # A segment that fails permanently does so in a separate message, with its own reason.
    return BundleResult(ended, left, deliveries_of(record))


def _is_permanent(error: Exception) -> bool:
    return isinstance(error, Reject) or (isinstance(error, FanfoldError) and error.permanent)


async def process_segment(
    segment: Segment,
    run: Run,
    function: SegmentFunction,
    record: Record,
    ctx: Context[JobState],
    max_hops: int,
    check: CheckResult | None,
) -> SegmentDone | SegmentStopped:
    """Run the segment handler for one segment, like ``process_message``, but without checking its run."""
    rows = SegmentItems(segment.source, ctx.state.backend, _must_stop(ctx.deadline) if max_hops else None)
    with attempts_of(ctx.batch).attempt(segment, ctx) as timing:
        with add_record_keys(run=run.id, segment=segment.number):
            value = await _call(function, rows, SegmentContext(record, ctx.batch, segment, run), ctx.state)
        result = result_text(value, segment.source, check)
        bad_rows = await rows.bad_rows.store(segment, ctx.state.backend)
    deliveries, message = deliveries_of(record), (tag_of(record), earlier_deliveries(record))
    if rows.rest is not None:
        is_last = (segment.hop + 1) % (max_hops + 1) == 0  # a redrive has as many continuations again
        return SegmentStopped(segment, result, rows.count, rows.rest, bad_rows, deliveries, timing, message, is_last)
    return SegmentDone(segment, deliveries, result, rows.count, bad_rows, timing, message)


async def _call(function: SegmentFunction, rows: SegmentItems, context: SegmentContext, state: JobState) -> Any:
    if not is_coroutine_function(function):
        return await call_on_thread(function, rows, context, state.threads)
    async with aclosing(rows.read()) as items:
        return await function(items, context)


def _must_stop(deadline: Deadline) -> Callable[[], bool]:
    return lambda: deadline.clock() >= deadline.stops_at
