"""From a source to segments on the queue: pinned before the first is sent, resumed where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from fanfold import sources
from fanfold.deadline import Deadline
from fanfold.enqueue import enqueue
from fanfold.errors import FanfoldError
from fanfold.marks import Check, send_check
from fanfold.protocols import Backend, Message
from fanfold.run import Run, check_name, source_prefix
from fanfold.segment import Segment

__all__ = ["Scattered", "scatter"]

logger = logging.getLogger("fanfold")

EXPIRY_SECONDS: Final = 30 * 24 * 3600
"""How long the ledger remembers a run: longer than a message can live in the work queue and then in the dead-letter
queue, 14 days each (SQS quotas)."""


@dataclass(frozen=True, slots=True)
class Scattered:
    """What a scatter step did."""

    run: str
    """The run."""
    segments: int
    """Its segments."""


async def scatter(
    job: str,
    source: sources.Source,
    *,
    run_id: str,
    params: Mapping[str, Any],
    backend: Backend,
    watch_seconds: int,
    deadline: Deadline,
) -> Scattered:
    """Cut a source into segments and enqueue them; a second call with the same run id resumes the first.

    Args:
        job: Name of the job.
        source: What to cut; ignored for a run that exists, whose plan was pinned when it was created.
        run_id: Name of the run.
        params: What whoever started the run gave it.
        backend: Queues, ledger and store.
        watch_seconds: Seconds between looks at the run in case a check is lost; from 1 to 900.
        deadline: When to stop; what is left is sent when the same run is scattered again.

    Raises:
        SourceError: If there is nothing to cut.
        EnqueueError: If the queue did not take a segment after every attempt.
        FanfoldError: If the time is over before the last segment is sent; the next try goes on from there.
    """
    run = await _pinned(job, source, check_name(run_id, "run"), params, backend)
    if run.ended:
        counter = await backend.ledger.counter(run.run)
        return Scattered(run.run, counter.total or 0)
    # Before the first segment: should this scatter die, somebody still looks.
    await send_check(backend, Check(run.run, watch=True), watch_seconds)
    position = run.position
    async with aclosing(enqueue(backend.work_queue, _messages(run))) as accepted:  # type: ignore[type-var] # a generator
        async for count in accepted:
            position = run.position + count
            await backend.ledger.checkpoint(run.run, position)
            if deadline.clock() >= deadline.stops_at:
                raise FanfoldError(
                    f"run {run.run}: the time was over after {position} segments; start the same run again to go on"
                )
    counter = await backend.ledger.seal(run.run, position)
    if counter.due:
        await send_check(backend, Check(run.run))
    logger.info("run %s: %d segments enqueued", run.run, position)
    return Scattered(run.run, position)


async def _pinned(job: str, source: sources.Source, run_id: str, params: Mapping[str, Any], backend: Backend) -> Run:
    known = await backend.ledger.run(run_id)
    if known is None:
        now = backend.now()
        plan = await source.pin(backend, source_prefix(run_id))
        known = await backend.ledger.open_run(
            Run(run_id, job, params, plan, created_at=now, expires_at=int(now) + EXPIRY_SECONDS)
        )
    if known.job != job:
        raise FanfoldError(f"run {run_id} is one of job {known.job!r}: give this run another name")
    return known


def _messages(run: Run) -> Iterator[Message]:
    for number, part in enumerate(sources.cut(run.plan, run.position), run.position):
        yield Message(Segment(run.job, run.run, number, part, gen=run.gen).to_body())
