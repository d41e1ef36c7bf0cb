"""A run that ended with failures is done again where it failed: one more generation, and one more output.

The segments to do again are written down first; one write begins the generation; then the messages are sent, as by a
scatter. Done again, it resumes: what a redrive that died has not sent is sent by the next one, or by the fold function.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fanfold._base.deadline import Deadline
from fanfold._jobs.fold_requests import WatchRun, send_request
from fanfold._jobs.scatter import ScatterResult, resume_scatter
from fanfold._jobs.tally import put_redo, tally_of
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.errors import FanfoldError


@dataclass(frozen=True, slots=True)
class Failures:
    """What a redrive would do again."""

    run: Run
    """The run as it stands."""
    segments: Mapping[int, str]
    """Reason by segment, for those that failed for good."""


async def failures_of(run_id: str, backend: Backend) -> Failures:
    """Return what failed for good in a run.

    Raises:
        FanfoldError: If there is no such run in the ledger.
    """
    run = await backend.ledger.run(run_id)
    if run is None:
        raise FanfoldError(f"run {run_id!r} is not in the ledger")
    counter = await backend.ledger.counter(run_id)
    tally = await tally_of(run, run.position if counter.total is None else counter.total, backend)
    return Failures(run, tally.failed)


async def redrive(
    run_id: str, backend: Backend, *, only: Collection[int] | None = None, watch_seconds: int = 900
) -> ScatterResult:
    """Do again what failed in a run that has ended; what was done stays done. A run whose fold failed is folded again.

    Args:
        run_id: The run.
        backend: Queues, ledger and store.
        only: Segments to do again, of those that failed; None for all.
        watch_seconds: Seconds between looks at the run in case a check is lost; from 1 to 900.

    Returns:
        The run, and how many segments were sent.

    Raises:
        FanfoldError: If there is no such run, it has not ended, nothing in it failed, or a segment of ``only`` did not.
        EnqueueError: If the queue did not take a segment; a second call goes on from there.
    """
    failures = await failures_of(run_id, backend)
    run = failures.run
    if not run.ended and not run.enqueued:
        return await resume_scatter(run, backend, Deadline.never())  # begun by a redrive that died
    segments = _chosen(run, failures.segments, only)
    key = f"runs/{run.id}/{run.gen + 1}/redo-{uuid.uuid4().hex}.json"
    await put_redo(key, segments, backend)
    # Before the generation begins: should this process die, somebody looks.
    await send_request(backend, WatchRun(run.id), watch_seconds)
    counter = await backend.ledger.counter(run.id)
    begun = await backend.ledger.redrive(run.id, gen=run.gen + 1, redos=[*run.redos, key], redo=len(segments))
    if not begun:
        raise FanfoldError(f"run {run.id} was redriven by somebody else just now: look at its status")
    await backend.ledger.raise_next(run.id, counter.ended + len(segments))
    again = await backend.ledger.run(run.id)
    assert again is not None  # noqa: S101 - it was begun
    return await resume_scatter(again, backend, Deadline.never())


def _chosen(run: Run, failed: Mapping[int, str], only: Collection[int] | None) -> list[int]:
    if run.state == RunState.FOLDING:
        raise FanfoldError(f"run {run.id} is being folded: redrive it when it has ended")
    if not run.ended:
        raise FanfoldError(f"run {run.id} is still running: redrive it when it has ended")
    if not failed and run.state != RunState.FAILED:
        raise FanfoldError(f"run {run.id} has succeeded, and nothing in it failed: there is nothing to redrive")
    if only is None:
        return sorted(failed)
    if unknown := sorted(set(only) - failed.keys()):
        raise FanfoldError(f"run {run.id}: segment {unknown[0]} did not fail, so there is nothing to do again")
    return sorted(set(only))
