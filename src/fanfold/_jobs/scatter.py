"""From a source to segments on the queue: pinned before the first is sent, resumed where it stopped."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fanfold import sources
from fanfold._base.deadline import Deadline
from fanfold._base.log import logger
from fanfold._jobs.fold_requests import CheckRun, ResumeScatter, WatchRun, send_request
from fanfold._jobs.segment import Segment, bodies
from fanfold._jobs.tally import redo_of
from fanfold._ports.backend import Backend
from fanfold._ports.enqueue import enqueue
from fanfold._ports.queue import Message
from fanfold._ports.run import EXPIRY_SECONDS, Run, check_name, source_prefix
from fanfold.errors import ConfigurationError, FanfoldError

CHECKPOINT_SEGMENTS: Final = 1_000
"""Segments between two notes of how far a scatter is: what one that died sends again at most, and a few batches."""


@dataclass(frozen=True, slots=True)
class ScatterResult:
    """What a scatter step did."""

    run_id: str
    """The run."""
    segments: int
    """Its segments; those enqueued so far, if it is not complete."""
    complete: bool = True
    """Whether all are enqueued; if not, the time was over, and the fold function goes on."""


def request_of(event: Any, context: Any) -> tuple[dict[str, Any], str]:
    """Return the parameters and the run id that whoever starts a run gave.

    Raises:
        ConfigurationError: If it is no such request.
    """
    given = {} if event is None else event
    if not isinstance(given, Mapping) or not isinstance(given.get("params", {}), Mapping):
        raise ConfigurationError('a run is started with {"params": {…}, "run": "…"}, both optional')
    if unknown := sorted(set(given) - {"params", "run"}):
        raise ConfigurationError(f'a run is started with "params" and "run"; {unknown[0]!r} is not known')
    run_id = given.get("run") or getattr(context, "aws_request_id", None) or uuid.uuid4().hex
    return dict(given.get("params", {})), check_name(run_id, "run")


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
    progress: Callable[[int], None] | None = None,
) -> ScatterResult:
    """Cut a source into segments and enqueue them; a second call with the same run id resumes the first.

    Args:
        job: Name of the job.
        source: What to cut; ignored for a run that exists, whose plan was pinned when it was created.
        run_id: Name of the run.
        params: What whoever started the run gave it.
        backend: Queues, ledger and store.
        watch_seconds: Seconds between looks at the run in case a check is lost; from 1 to 900.
        per_message: Segments in a message, from 1.
        progress: Called, again and again, with how many segments have been enqueued by then.
        deadline: When to stop; the fold function, or another scatter of the same run, goes on from there.

    Raises:
        SourceError: If there is nothing to cut.
        EnqueueError: If the queue did not take a segment after every attempt.
        FanfoldError: If the run is one of another job, or a service fails; a second try goes on from there.
    """
    run = await pin_run(job, source, check_name(run_id, "run"), params, backend)
    if run.ended:
        counter = await backend.ledger.counter(run.id)
        return ScatterResult(run.id, counter.total or 0)
    # Before the first segment: should this scatter die, somebody still looks.
    await send_request(backend, WatchRun(run.id), watch_seconds)
    return await resume_scatter(run, backend, deadline, per_message=per_message, progress=progress)


async def resume_scatter(
    run: Run,
    backend: Backend,
    deadline: Deadline,
    *,
    per_message: int = 1,
    progress: Callable[[int], None] | None = None,
) -> ScatterResult:
    """Enqueue what is left of a run's segments, or of those that are redriven.

    When the time is over, have the fold function go on.

    Raises:
        EnqueueError: If the queue did not take a segment after every attempt.
        FanfoldError: If a service fails.
    """
    remembered, stopped = run.position, False
    drawn = run.position
    redo = await redo_of(run, run.gen, backend) if run.gen else None

    def messages() -> Iterator[Message]:
        nonlocal drawn
        for body, taken in bodies(segments_left(run, redo), per_message):
            drawn = run.position + taken
            yield Message(body)

    def segments_in(accepted: int) -> int:
        return min(run.position + accepted * per_message, drawn)

    async def reached(accepted: int) -> None:
        nonlocal remembered
        position = segments_in(accepted)
        if progress is not None:
            progress(position)
        if position - remembered >= CHECKPOINT_SEGMENTS:
            remembered = position
            await backend.ledger.checkpoint(run.id, position, gen=run.gen)

    def over() -> bool:
        nonlocal stopped
        stopped = stopped or deadline.clock() >= deadline.stops_at
        return stopped

    position = segments_in(
        await enqueue(backend.work_queue, messages(), on_accepted=reached, should_stop=over, sleep=backend.sleep)
    )
    await backend.ledger.checkpoint(run.id, position, gen=run.gen)
    if stopped:
        await send_request(backend, ResumeScatter(run.id))
        logger.info("run %s: %d segments enqueued; the fold function goes on", run.id, position)
        return ScatterResult(run.id, position, complete=False)
    counter = await (backend.ledger.counter(run.id) if run.gen else backend.ledger.seal(run.id, position))
    if counter.due:
        await send_request(backend, CheckRun(run.id))
    logger.info("run %s: %d segments enqueued", run.id, position)
    return ScatterResult(run.id, position)


async def pin_run(job: str, source: sources.Source, run_id: str, params: Mapping[str, Any], backend: Backend) -> Run:
    """Return the run of this name; one that is new is planned, and created with its plan.

    Raises:
        SourceError: If there is nothing to cut.
        FanfoldError: If it is one of another job, or was begun with other parameters, or a service fails.
    """
    known = await backend.ledger.run(run_id)
    if known is None:
        now = backend.now()
        plan = await source.pin(backend, source_prefix(run_id))
        known = await backend.ledger.open_run(
            Run(run_id, job, params, plan, created_at=now, expires_at=int(now) + EXPIRY_SECONDS)
        )
    if known.job != job:
        raise FanfoldError(f"run {run_id} is one of job {known.job!r}: give this run another name")
    if (begun := _text(known.params)) != _text(params):
        raise FanfoldError(f"run {run_id} was begun with params {begun}: give the same, or another name")
    return known


def _text(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True)


def segments_left(run: Run, redo: Sequence[int] | None = None) -> Iterator[Segment]:
    """Yield what is left to enqueue of a generation: of the first one all segments, of a later one those it redoes."""
    if redo is None:
        for number, part in enumerate(sources.cut(run.plan, run.position), run.position):
            yield Segment(run.job, run.id, number, part, gen=run.gen)
        return
    for number in redo[run.position :]:
        yield Segment(run.job, run.id, number, next(sources.cut(run.plan, number)), gen=run.gen)
