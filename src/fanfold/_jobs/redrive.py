"""Redrive a run that has ended: process its failed segments again, as a new generation with a new output.

A redrive of a cancelled run also processes the segments that had not ended. The segments to redo are stored first; one
write starts the generation; then the messages are sent, as in a scatter. A redrive can be repeated: if it dies, the
next redrive or the fold function sends the remaining messages.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fanfold import sources
from fanfold._base.deadline import Deadline
from fanfold._jobs.fold_requests import WatchRun, send_request
from fanfold._jobs.scatter import ScatterResult, resume_scatter
from fanfold._jobs.tally import put_redo, tally_of
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.errors import FanfoldError


@dataclass(frozen=True, slots=True)
class Failures:
    """The segments that a redrive would process again."""

    run: Run
    """The run in its current state."""
    segments: Mapping[int, str]
    """Reason by segment, for segments that failed permanently."""
    total: int
    """Segments of the run; those enqueued so far, if that is not known."""
    missing: Sequence[int] = ()
    """Segments that have not ended, if the run is cancelled."""

    @property
    def chosen(self) -> list[int]:
        """All segments that a redrive may process, ascending."""
        return sorted([*self.segments, *self.missing])


async def failures_of(run_id: str, backend: Backend) -> Failures:
    """Return the segments of a run that failed permanently, and of a cancelled run also those that have not ended.

    Raises:
        FanfoldError: If the run is not in the ledger.
    """
    run = await backend.ledger.run(run_id)
    if run is None:
        raise FanfoldError(f"run {run_id!r} is not in the ledger")
    total, is_cancelled = (await backend.ledger.counter(run_id)).total, run.state == RunState.CANCELLED
    if total is None:
        total = sum(1 for _ in sources.cut(run.plan)) if is_cancelled and run.is_planned else run.position
    tally = await tally_of(run, total, backend)
    return Failures(run, tally.failed, total, tally.missing_segments() if is_cancelled else ())


async def redrive(
    run_id: str, backend: Backend, *, only: Collection[int] | None = None, watch_seconds: int = 900
) -> ScatterResult:
    """Process the failed segments of an ended run again. Done segments are kept. A failed fold is repeated.

    Args:
        run_id: The run.
        backend: Queues, ledger, and store.
        only: The failed segments to process again; None for all.
        watch_seconds: Seconds between checks of the run in case a check is lost; from 1 to 900.

    Returns:
        The run, and how many segments were sent.

    Raises:
        FanfoldError: If the run does not exist, has not ended, has no failures, or a segment of ``only`` did not fail.
        EnqueueError: If the queue did not accept a segment; a second call resumes from there.
    """
    failures = await failures_of(run_id, backend)
    run = failures.run
    if not run.ended and not run.enqueued:
        return await resume_scatter(run, backend, Deadline.never())  # started by a redrive that died
    segments = chosen_of(failures, only)
    key = f"runs/{run.id}/{run.gen + 1}/redo-{uuid.uuid4().hex}.json"
    await put_redo(key, segments, backend)
    # Before the generation starts: if this process dies, the fold function still checks the run.
    await send_request(backend, WatchRun(run.id), watch_seconds)
    counter = await backend.ledger.seal(run.id, failures.total)  # a scatter that was cancelled has not sealed it
    started = await backend.ledger.redrive(run.id, gen=run.gen + 1, redos=[*run.redos, key], redo=len(segments))
    if not started:
        raise FanfoldError(f"run {run.id} has just been redriven by another process: check its status")
    await backend.ledger.raise_next(run.id, counter.ended + len(segments))
    redriven = await backend.ledger.run(run.id)
    assert redriven is not None  # noqa: S101 - started above
    return await resume_scatter(redriven, backend, Deadline.never())


def chosen_of(failures: Failures, only: Collection[int] | None) -> list[int]:
    """Return the segments that a redrive processes, ascending.

    Raises:
        FanfoldError: If the run cannot be redriven, or a segment of ``only`` did not fail.
    """
    run = failures.run
    if run.state == RunState.FOLDING:
        raise FanfoldError(f"run {run.id} is being folded: redrive it after it has ended")
    if not run.is_planned:
        raise FanfoldError(f"run {run.id} has no complete plan: correct the input, and start a new run")
    if not run.ended:
        raise FanfoldError(f"run {run.id} is still running: redrive it after it has ended")
    if not failures.segments and run.state == RunState.SUCCEEDED:
        raise FanfoldError(f"run {run.id} succeeded without failed segments: there is nothing to redrive")
    if only is None:
        return failures.chosen
    if failures.missing:
        raise FanfoldError(
            f"run {run.id} was cancelled with {len(failures.missing)} segments that have not ended, and a redrive "
            "processes all of them: redrive it without a choice of segments"
        )
    if unknown := sorted(set(only) - failures.segments.keys()):
        raise FanfoldError(f"run {run.id}: segment {unknown[0]} did not fail, so it cannot be redriven")
    return sorted(set(only))
