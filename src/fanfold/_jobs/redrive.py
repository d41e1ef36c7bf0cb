"""Redrive a run that has ended: process its failed segments again, as a new generation with a new output.

A redrive of a cancelled run also processes the segments that had not ended. The segments to redo are stored first; one
write starts the generation; then the messages are sent, as in a scatter. A redrive can be repeated: if it dies, the
next redrive or the fold function sends the remaining messages.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from fanfold._base.concurrency import for_each
from fanfold._base.deadline import Deadline
from fanfold._jobs.fold_requests import WatchRun, send_request
from fanfold._jobs.scatter import ScatterResult, resume_scatter
from fanfold._jobs.segment_count import count_segments, total_of
from fanfold._jobs.tally import Continued, Redo, put_redo, tally_of
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.errors import FanfoldError, LedgerError, ObjectMissingError

_CONCURRENT_READS: Final = 16


@dataclass(frozen=True, slots=True)
class Failures:
    """The segments that a redrive would process again."""

    run: Run
    """The run in its current state."""
    segments: Mapping[int, str]
    """Reason by segment, for segments that failed permanently, or whose results are lost."""
    lost: Collection[int] = ()
    """Those among them that were done, and whose results are lost."""
    uncounted: int = 0
    """Ends that the counter includes, but that no readable marker holds."""
    hops: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Generation and number of the last hop, for those that continue from there."""
    total: int = 0
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
        raise FanfoldError(f"run {run_id!r} is not in the ledger: check its name with `fanfold runs`")
    counter = await backend.ledger.counter(run_id)
    is_cancelled = run.state == RunState.CANCELLED
    is_stopped = is_cancelled and counter.total is None and run.is_planned
    total = count_segments(run.plan) if is_stopped else total_of(run, counter)
    tally = await tally_of(run, total, backend, counts_items=False)
    listed = await _listed_failures(run, total, backend) if run.ended and run.failed else {}
    segments = dict(sorted({**listed, **tally.failed}.items()))
    lost = [segment for segment in segments if segment not in tally.failed and tally.has_ended(segment)]
    hops = {}
    for segment in tally.failed:
        gen, count = tally.stopped(segment)
        if count and run.gen >= gen:
            hops[segment] = (tally.gen_of_hop(segment, gen, count - 1), count - 1)
    missing = tally.missing_segments() if is_cancelled else ()
    return Failures(run, segments, lost, max(0, counter.ended - tally.counted), hops, total, missing)


async def _listed_failures(run: Run, total: int, backend: Backend) -> dict[int, str]:
    """Return the failures that the fold listed; some are not in the ledger, such as a result that is lost."""
    try:
        listed = json.loads(await backend.get_result(run.failures_key()))["segments"]
        failed = {int(segment): str(reason) for segment, reason in listed.items()}
    except (ObjectMissingError, LookupError, TypeError, ValueError, AttributeError):
        return {}
    return {segment: reason for segment, reason in failed.items() if 0 <= segment < total}


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
    lost = sorted(set(segments).intersection(failures.lost))
    continued = await _continued(run, segments, failures, backend)
    await put_redo(key, Redo(segments, lost, failures.uncounted, continued), backend)
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


async def _continued(run: Run, segments: Collection[int], failures: Failures, backend: Backend) -> dict[int, Continued]:
    """Return where segments continue, from their last hops; a segment whose hop cannot be read starts again."""
    starts: dict[int, Continued] = {}
    chosen = [segment for segment in segments if segment in failures.hops]

    async def read(segment: int) -> None:
        gen, number = failures.hops[segment]
        with suppress(LedgerError):
            hop = await backend.ledger.hop(run.id, gen, segment, number)
            if hop is not None:
                starts[segment] = Continued(gen, number + 1, hop.rest)

    await for_each(read, chosen, concurrency=_CONCURRENT_READS)
    return dict(sorted(starts.items()))


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
