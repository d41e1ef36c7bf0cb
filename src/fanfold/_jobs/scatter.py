"""Scatter a source as segments on the queue. The plan is pinned before the first segment is sent; it is resumable."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fanfold import sources
from fanfold._base.deadline import Deadline
from fanfold._base.log import logger
from fanfold._jobs.fold_requests import CheckRun, ResumeScatter, WatchRun, send_request
from fanfold._jobs.planning import Planning
from fanfold._jobs.segment import Segment, bodies
from fanfold._jobs.segment_count import part_of
from fanfold._jobs.tally import Redo, redo_of
from fanfold._ports.backend import Backend
from fanfold._ports.enqueue import enqueue
from fanfold._ports.queue import Message
from fanfold._ports.run import Run, RunState, check_name
from fanfold.errors import ConfigurationError, LedgerError

CHECKPOINT_SEGMENTS: Final = 1_000
"""Segments between two checkpoints of a scatter. A scatter that died resends at most these and a few batches."""


@dataclass(frozen=True, slots=True)
class ScatterResult:
    """The result of a scatter step."""

    run_id: str
    """The run."""
    segments: int
    """Number of segments; if not complete, the number enqueued so far."""
    complete: bool = True
    """True if all segments are enqueued. If not, the deadline was reached, and the fold function plans and enqueues the
    rest; or the run was cancelled."""


def request_of(event: Any, context: Any) -> tuple[dict[str, Any], str]:
    """Return the parameters and the run id of a request to start a run.

    Raises:
        ConfigurationError: If the event is not a valid request.
    """
    request = {} if event is None else event
    if not isinstance(request, Mapping) or not isinstance(request.get("params", {}), Mapping):
        raise ConfigurationError('the event must be {"params": {…}, "run": "…"}; both keys are optional')
    if unknown := sorted(set(request) - {"params", "run"}):
        raise ConfigurationError(f'the event may contain only "params" and "run", not {unknown[0]!r}')
    run_id = request.get("run") or getattr(context, "aws_request_id", None) or uuid.uuid4().hex
    return dict(request.get("params", {})), check_name(run_id, "run")


async def scatter(  # noqa: PLR0913 - one option each, by keyword
    job: str,
    source: sources.Source,
    *,
    run_id: str,
    params: Mapping[str, Any],
    backend: Backend,
    watch_seconds: int,
    deadline: Deadline,
    per_message: int = 1,
    allow_empty: bool = True,
    progress: Callable[[int], None] | None = None,
) -> ScatterResult:
    """Cut a source into segments and enqueue them; a second call with the same run id resumes the first.

    Args:
        job: Name of the job.
        source: What to cut; ignored for an existing run, whose plan was pinned when it was created.
        run_id: Name of the run.
        params: Parameters of the run.
        backend: Queues, ledger, and store.
        watch_seconds: Seconds between checks of the run in case a check is lost; from 1 to 900.
        per_message: Segments per message, at least 1.
        allow_empty: Whether the run may have no segments.
        progress: Called repeatedly with the number of segments enqueued so far.
        deadline: When to stop; the fold function, or another scatter of the same run, resumes from there.

    Raises:
        SourceError: If the source cannot be read, or has nothing to cut and ``allow_empty`` is False.
        EnqueueError: If the queue did not accept a segment after every attempt.
        FanfoldError: If the run belongs to another job, or a service fails; a second call resumes from there.
    """
    planning = Planning(backend, deadline, watch_seconds=watch_seconds, allow_empty=allow_empty)
    run = await planning.pin(job, source, check_name(run_id, "run"), params)
    if run.ended:
        counter = await backend.ledger.counter(run.id)
        return ScatterResult(run.id, counter.total or 0, complete=run.state != RunState.CANCELLED)
    if not planning.watched:
        # Before the first segment: if this scatter dies, the fold function still checks the run.
        await send_request(backend, WatchRun(run.id), watch_seconds)
    if not run.is_planned:
        return await _plan_later(run, planning, backend)
    return await _enqueue_rest(run, backend, deadline, per_message=per_message, progress=progress)


async def resume_scatter(
    run: Run,
    backend: Backend,
    deadline: Deadline,
    *,
    per_message: int = 1,
    progress: Callable[[int], None] | None = None,
) -> ScatterResult:
    """Finish the plan of a run if necessary, and enqueue its remaining segments, or those of a redrive.

    If the deadline is reached, request that the fold function resumes.

    Raises:
        SourceError: If the rest of the source cannot be planned.
        EnqueueError: If the queue did not accept a segment after every attempt.
        FanfoldError: If a service fails.
    """
    planning = Planning(backend, deadline)
    run = await planning.resume(run)
    if run.ended:  # someone has cancelled it
        return ScatterResult(run.id, run.position, complete=False)
    if not run.is_planned:
        return await _plan_later(run, planning, backend)
    return await _enqueue_rest(run, backend, deadline, per_message=per_message, progress=progress)


async def _plan_later(run: Run, planning: Planning, backend: Backend) -> ScatterResult:
    if not planning.overtaken:  # by an invocation that requests it itself
        await send_request(backend, ResumeScatter(run.id))
        logger.info("run %s: planning has not ended; the fold function continues it", run.id)
    return ScatterResult(run.id, 0, complete=False)


async def _enqueue_rest(
    run: Run,
    backend: Backend,
    deadline: Deadline,
    *,
    per_message: int,
    progress: Callable[[int], None] | None,
) -> ScatterResult:
    checkpointed, stopped = run.position, False
    drawn = run.position
    redo, per_message = await _redone(run, backend, per_message)

    def messages() -> Iterator[Message]:
        nonlocal drawn
        for body, taken in bodies(segments_left(run, redo), per_message):
            drawn = run.position + taken
            yield Message(body)

    def segments_in(accepted: int) -> int:
        return min(run.position + accepted * per_message, drawn)

    async def on_accepted(accepted: int) -> None:
        nonlocal checkpointed, stopped
        position = segments_in(accepted)
        if progress is not None:
            progress(position)
        if position - checkpointed >= CHECKPOINT_SEGMENTS:
            checkpointed = position
            if not await backend.ledger.checkpoint(run.id, position, gen=run.gen):
                stopped = True

    def should_stop() -> bool:
        nonlocal stopped
        stopped = stopped or deadline.clock() >= deadline.stops_at
        return stopped

    position = segments_in(
        await enqueue(
            backend.work_queue, messages(), on_accepted=on_accepted, should_stop=should_stop, sleep=backend.sleep
        )
    )
    return await _stopped_at(position, run, backend, is_complete=not stopped)


async def _stopped_at(position: int, run: Run, backend: Backend, *, is_complete: bool) -> ScatterResult:
    """Record how many segments are enqueued, and request what follows, unless the run was cancelled or redriven."""
    if not await backend.ledger.checkpoint(run.id, position, gen=run.gen):
        logger.info("run %s: cancelled or redriven after %d segments were enqueued", run.id, position)
        return ScatterResult(run.id, position, complete=False)
    if not is_complete:
        await send_request(backend, ResumeScatter(run.id))
        logger.info("run %s: %d segments enqueued; the fold function enqueues the rest", run.id, position)
        return ScatterResult(run.id, position, complete=False)
    counter = await (backend.ledger.counter(run.id) if run.gen else backend.ledger.seal(run.id, position))
    if counter.due:
        await send_request(backend, CheckRun(run.id))
    logger.info("run %s: %d segments enqueued", run.id, position)
    return ScatterResult(run.id, position)


async def _redone(run: Run, backend: Backend, per_message: int) -> tuple[Redo | None, int]:
    """Return what a redrive processes again, and the segments per message: a continued one is alone in its message."""
    if run.gen == 0:
        return None, per_message
    redo = await redo_of(run, run.gen, backend)
    return redo, 1 if redo.continued else per_message


def segments_left(run: Run, redo: Redo | None = None) -> Iterator[Segment]:
    """Yield the segments of a generation that are not enqueued yet: all in the first, only redos in a later one."""
    if redo is None:
        for number, part in enumerate(sources.cut(run.plan, run.position), run.position):
            yield Segment(run.job, run.id, number, part, gen=run.gen)
        return
    for number in redo.segments[run.position :]:
        if (start := redo.continued.get(number)) is not None:
            yield Segment(run.job, run.id, number, start.rest, gen=run.gen, hop=start.hop)
            continue
        if (redone := part_of(run.plan, number)) is None:
            raise LedgerError(f"run {run.id}: the list of redriven segments contains {number}, which the run lacks")
        yield Segment(run.job, run.id, number, redone, gen=run.gen)
