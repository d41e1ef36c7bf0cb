"""The fold function: look whether all segments have ended, and if so commit one output.

It also goes on with a scatter whose time was over, or that died. Every step may be repeated, and another invocation may
do the same at the same time:

1. *look*: the counter, then the markers; with segments missing, say when to look again;
2. *combine* them, where the job has a combine function and there are many; see ``fanfold._jobs.combine``;
3. *claim* this generation of the run, with a lease and a fence;
4. *pin* which markers count, so that a fold that is done again sees the same results;
5. *fold* them in segment order;
6. *commit*: write the output if there is none under this run and generation, then the end state, under the fence.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from fanfold._base.context import Context
from fanfold._base.outcome import Retry
from fanfold._base.record import Record
from fanfold._jobs.combine import Reduction, advance, combine, is_complete, left_of, tree_of
from fanfold._jobs.completion_check import Check, CombineGroup, ResumeScatter, Watch, from_body, send_check
from fanfold._jobs.generations import markers_of, tally_of
from fanfold._jobs.job_state import JobState
from fanfold._jobs.notify import is_tolerated, tell_of_the_end
from fanfold._jobs.output import FoldFunction, apply, commit
from fanfold._jobs.results import collect, opened
from fanfold._jobs.scatter import scatter_on
from fanfold._jobs.tally import Tally
from fanfold._ports.backend import Backend
from fanfold._ports.run import Counter, Run, RunState
from fanfold.errors import FanfoldError, ObjectExistsError, SegmentError

__all__ = ["Folding", "check_and_fold"]

logger = logging.getLogger("fanfold")

LEASE_SLACK_SECONDS: Final = 5.0
"""How much longer than its invocation a claim lasts."""
LONGEST_INVOCATION_SECONDS: Final = 900.0
"""Lambda's longest timeout (Lambda quotas)."""
FOLD_ATTEMPTS: Final = 3
"""Deliveries of a check after which a fold that raises fails the run; fewer than the fold queue's receive limit."""


@dataclass(frozen=True, slots=True)
class Folding:
    """How a job folds."""

    function: FoldFunction
    """The user's fold."""
    tolerated: float = 0
    """Segments that may have failed: how many, or their share of all; see ``run_end.is_tolerated``."""
    reduction: Reduction | None = None
    """How results are combined before; None for not at all."""
    alone: bool = False
    """Whether the invocation does all of it, and sends no messages: there is no fold queue on Step Functions."""


async def check_and_fold(
    job: str,
    folding: Folding,
    record: Record,
    ctx: Context[JobState],
    *,
    watch_seconds: int,
    per_message: int = 1,
) -> RunState:
    """Handle one message of the fold queue; return the state the run is in afterwards.

    Raises:
        Retry: If another invocation has claimed the fold.
        SegmentError: If the message is no check, or of an unknown run: permanent.
        FanfoldError: If a service fails; the message comes back, and every step can be done again.
        Exception: Whatever the user's functions raise.
    """
    check = from_body(record.body)
    backend = ctx.state.backend
    run = await backend.ledger.run(check.run_id)
    if run is None or run.job != job:
        raise SegmentError(f"a check of run {check.run_id!r}, which is no run of job {job!r} in the ledger")
    if not run.ended and await _scatter_stands_still(check, run, backend):
        await scatter_on(run, backend, ctx.deadline, per_message=per_message)
    state = run.state if run.ended else await _advance(run, check, folding, ctx)
    if state.is_final:
        await tell_of_the_end(run.id, backend)
    if isinstance(check, Watch) and not state.is_final and backend.now() < run.expires_at:
        # Last, and once: a check that fails comes back by itself.
        await send_check(backend, replace(check, position=run.position), watch_seconds)
    return state


async def _scatter_stands_still(check: Check, run: Run, backend: Backend) -> bool:
    """Tell whether nobody goes on enqueueing the segments of a run: its scatter says so, or has got no further."""
    resumes = isinstance(check, ResumeScatter) or (isinstance(check, Watch) and check.position == run.position)
    if not resumes:
        return False
    return not run.enqueued or (run.gen == 0 and (await backend.ledger.counter(run.id)).total is None)


async def _advance(run: Run, check: Check, folding: Folding, ctx: Context[JobState]) -> RunState:
    backend = ctx.state.backend
    last_try = ctx.receive_count >= FOLD_ATTEMPTS
    broken: str | None = None
    try:
        again = isinstance(check, Watch) or (not isinstance(check, CombineGroup) and ctx.receive_count > 1)
        if not await _is_combined(run, check, folding, backend, again=again):
            return run.state
    except Exception as error:
        broken = _why_it_fails(error, run, last_try=last_try)
        if broken is None:
            raise
        if await _all_ended(run, backend) is None:  # nor may it be folded if that cannot be found out
            return run.state
    left = ctx.deadline.remaining()
    lease = (LONGEST_INVOCATION_SECONDS if math.isinf(left) else left) + LEASE_SLACK_SECONDS
    # Of this generation: who looked before a redrive must not fold, nor end, what is only being done again.
    fence = await backend.ledger.claim(run.id, gen=run.gen, now=backend.now(), lease_seconds=lease)
    if fence is None:
        # Another invocation has it. Should that one die, this message may be its own: it comes back after the lease.
        raise Retry(f"run {run.id} is being folded by another invocation", after=lease)
    try:
        return await _fold(run, folding, backend, fence, last_try=last_try, broken=broken)
    except BaseException:
        with contextlib.suppress(FanfoldError):  # the next try need not wait for the lease
            await backend.ledger.release(run.id, fence=fence)
        raise


async def _is_combined(run: Run, check: Check, folding: Folding, backend: Backend, *, again: bool) -> bool:
    """Have combined what is next; return whether all segments have ended and all is combined that has to be."""
    reduction = folding.reduction
    combines = check if isinstance(check, CombineGroup) else None
    if reduction is not None and combines is not None:
        tree = await tree_of(run, backend)
        if tree is None or not tree.has(combines.level, combines.group):  # of a generation before
            return False
        await combine(run, tree, (combines.level, combines.group), reduction, backend)
        if not await is_complete(run, tree, combines.level, backend):
            return False
    tally = await _all_ended(run, backend)
    if tally is None:
        return False
    if reduction is None or not _is_reduced(tally, folding):
        return True
    pinned = partial(_pin_markers, run, backend)
    combined = None if combines is None else combines.level
    return await advance(
        run, reduction, pinned, tally.total, backend, combined=combined, again=again, here=folding.alone
    )


def _is_reduced(tally: Tally, folding: Folding) -> bool:
    """Tell whether the results are combined before the fold: there are many, and they will be folded."""
    reduction = folding.reduction
    return (
        reduction is not None
        and tally.total > reduction.fan_in
        and is_tolerated(len(tally.failed), tally.total, folding.tolerated)
    )


async def _all_ended(run: Run, backend: Backend) -> Tally | None:
    counter = await backend.ledger.counter(run.id)
    while counter.total is not None:
        tally = await tally_of(run, counter.total, backend)
        if not tally.missing:
            return tally
        threshold = counter.ended + tally.missing
        counter = await backend.ledger.raise_next(run.id, threshold)
        if not counter.due:
            logger.info("run %s: %d of %d segments have not ended", run.id, tally.missing, tally.total)
            return None
    return None


async def _fold(
    run: Run, folding: Folding, backend: Backend, fence: int, *, last_try: bool, broken: str | None
) -> RunState:
    counter: Counter = await backend.ledger.counter(run.id)
    pinned = await _pin_markers(run, backend)
    tally = await tally_of(run, counter.total or 0, backend, pinned)
    if tally.missing:
        raise FanfoldError(f"run {run.id}: {tally.missing} segments are missing in the pinned markers")
    if tally.failed:
        await commit(run.failures_key(), {"segments": tally.failed}, backend)
    if not is_tolerated(len(tally.failed), tally.total, folding.tolerated):
        state, output = RunState.FAILED, run.failures_key()
    elif broken is not None:
        state, output = await _failed(run, broken, backend)
    else:
        state, output = await _folded(run, folding, backend, pinned, tally, last_try=last_try)
    await backend.ledger.finish(
        run.id, fence=fence, state=state, output=output, ended_at=backend.now(), failed=len(tally.failed)
    )
    logger.info("run %s: %s, %s", run.id, state, output)
    return state


async def _folded(
    run: Run, folding: Folding, backend: Backend, pinned: Collection[str], tally: Tally, *, last_try: bool
) -> tuple[RunState, str]:
    """Commit the output; a fold that raises in its last try fails the run, which else would never end."""
    output = f"{run.prefix()}/output.json"
    try:
        await commit(output, await _apply(run, folding, backend, pinned, tally), backend)
    except Exception as error:
        reason = _why_it_fails(error, run, last_try=last_try)
        if reason is None:
            raise
        return await _failed(run, reason, backend)
    return RunState.SUCCEEDED, output


def _why_it_fails(error: Exception, run: Run, *, last_try: bool) -> str | None:
    """Return why a run fails for what a user's function, or a service, raised; None if there is another try."""
    if isinstance(error, FanfoldError):
        return str(error) if error.permanent else None
    if not last_try:
        return None
    logger.error("run %s: its fold failed %d times", run.id, FOLD_ATTEMPTS, exc_info=error)
    return f"{type(error).__qualname__}: {error}"


async def _failed(run: Run, reason: str, backend: Backend) -> tuple[RunState, str]:
    failure = f"{run.prefix()}/fold-failure.json"
    await commit(failure, {"fold": reason}, backend)
    return RunState.FAILED, failure


async def _pin_markers(run: Run, backend: Backend) -> frozenset[str]:
    key = f"{run.prefix()}/markers.json"
    names = [marker.id async for marker in markers_of(run, backend)]
    try:
        await backend.put_result(key, json.dumps(names).encode(), if_absent=True)
    except ObjectExistsError:
        names = json.loads(await backend.get_result(key))
    return frozenset(names)


async def _apply(run: Run, folding: Folding, backend: Backend, pinned: Collection[str], tally: Tally) -> Any:
    with opened() as rows:
        tree = await tree_of(run, backend) if _is_reduced(tally, folding) else None
        if tree is not None and tree.levels:
            results = await left_of(run, tree, backend, rows)
        else:
            results = await collect(run, pinned, tally.total, backend, rows)
        return await apply(folding.function, results)
