"""The fold function: look whether all segments have ended, and if so commit one output.

It also goes on with a scatter whose time was over, or that died. Every step may be repeated, and another invocation may
do the same at the same time:

1. *look*: the counter, then the markers; with segments missing, say when to look again;
2. *claim* this generation of the run, with a lease and a fence;
3. *pin* which markers count, so that a fold that is done again sees the same results;
4. *fold* them in segment order;
5. *commit*: write the output if there is none under this run and generation, then the end state, under the fence.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from fanfold.context import Context
from fanfold.ended import JobState
from fanfold.errors import FanfoldError, ObjectExistsError, SegmentError
from fanfold.generations import markers_of, tally_of
from fanfold.marks import Check, send_check
from fanfold.outcome import Retry
from fanfold.outputs import FoldFunction, apply, commit
from fanfold.protocols import Backend
from fanfold.record import Record
from fanfold.results import collect
from fanfold.run import FAILED, SUCCEEDED, Counter, Run
from fanfold.run_end import is_tolerated, tell_of_the_end
from fanfold.scatter import scatter_on

__all__ = ["check_and_fold"]

logger = logging.getLogger("fanfold")

LEASE_SLACK_SECONDS: Final = 5.0
"""How much longer than its invocation a claim lasts."""
LONGEST_INVOCATION_SECONDS: Final = 900.0
"""Lambda's longest timeout (Lambda quotas)."""
FOLD_ATTEMPTS: Final = 3
"""Deliveries of a check after which a fold that raises fails the run; fewer than the fold queue's receive limit."""


async def check_and_fold(
    job: str,
    function: FoldFunction,
    record: Record,
    ctx: Context[JobState],
    *,
    watch_seconds: int,
    per_message: int = 1,
    tolerated: float = 0,
) -> str:
    """Handle one message of the fold queue; return the state the run is in afterwards.

    Raises:
        Retry: If another invocation has claimed the fold.
        SegmentError: If the message is no check, or of an unknown run: permanent.
        FanfoldError: If a service fails; the message comes back, and every step can be done again.
        Exception: Whatever the user's fold raises.
    """
    check = Check.from_body(record.body)
    backend = ctx.state.backend
    run = await backend.ledger.run(check.run)
    if run is None or run.job != job:
        raise SegmentError(f"a check of run {check.run!r}, which is no run of job {job!r} in the ledger")
    if not run.ended and await _scatter_stands_still(check, run, backend):
        await scatter_on(run, backend, ctx.deadline, per_message=per_message)
    state = run.state if run.ended else await _advance(run, function, ctx, tolerated)
    if state in {SUCCEEDED, FAILED}:
        await tell_of_the_end(run.run, backend)
    if check.watch and state not in {SUCCEEDED, FAILED} and backend.now() < run.expires_at:
        # Last, and once: a check that fails comes back by itself.
        await send_check(backend, replace(check, position=run.position), watch_seconds)
    return state


async def _scatter_stands_still(check: Check, run: Run, backend: Backend) -> bool:
    """Tell whether nobody goes on enqueueing the segments of a run: its scatter says so, or has got no further."""
    if not check.scatter and check.position != run.position:
        return False
    return not run.enqueued or (run.gen == 0 and (await backend.ledger.counter(run.run)).total is None)


async def _advance(run: Run, function: FoldFunction, ctx: Context[JobState], tolerated: float) -> str:
    backend = ctx.state.backend
    if not await _all_ended(run, backend):
        return run.state
    left = ctx.deadline.remaining()
    lease = (LONGEST_INVOCATION_SECONDS if math.isinf(left) else left) + LEASE_SLACK_SECONDS
    # Of this generation: who looked before a redrive must not fold, nor end, what is only being done again.
    fence = await backend.ledger.claim(run.run, gen=run.gen, now=backend.now(), lease_seconds=lease)
    if fence is None:
        # Another invocation has it. Should that one die, this message may be its own: it comes back after the lease.
        raise Retry(f"run {run.run} is being folded by another invocation", after=lease)
    try:
        last_try = ctx.receive_count >= FOLD_ATTEMPTS
        return await _fold(run, function, backend, fence, last_try=last_try, tolerated=tolerated)
    except BaseException:
        with contextlib.suppress(FanfoldError):  # the next try need not wait for the lease
            await backend.ledger.release(run.run, fence=fence)
        raise


async def _all_ended(run: Run, backend: Backend) -> bool:
    counter = await backend.ledger.counter(run.run)
    while counter.total is not None:
        tally = await tally_of(run, counter.total, backend)
        if not tally.missing:
            return True
        threshold = counter.ended + tally.missing
        counter = await backend.ledger.raise_next(run.run, threshold)
        if not counter.due:
            logger.info("run %s: %d of %d segments have not ended", run.run, tally.missing, tally.total)
            return False
    return False


async def _fold(
    run: Run, function: FoldFunction, backend: Backend, fence: int, *, last_try: bool, tolerated: float
) -> str:
    counter: Counter = await backend.ledger.counter(run.run)
    pinned = await _pin_markers(run, backend)
    tally = await tally_of(run, counter.total or 0, backend, pinned)
    if tally.missing:
        raise FanfoldError(f"run {run.run}: {tally.missing} segments are missing in the pinned markers")
    if tally.failed:
        await commit(run.failures_key(), {"segments": tally.failed}, backend)
    if not is_tolerated(len(tally.failed), tally.total, tolerated):
        state, output = FAILED, run.failures_key()
    else:
        state, output = await _folded(run, function, backend, pinned, total=tally.total, last_try=last_try)
    await backend.ledger.finish(
        run.run, fence=fence, state=state, output=output, ended_at=backend.now(), failed=len(tally.failed)
    )
    logger.info("run %s: %s, %s", run.run, state, output)
    return state


async def _folded(
    run: Run, function: FoldFunction, backend: Backend, pinned: Collection[str], *, total: int, last_try: bool
) -> tuple[str, str]:
    """Commit the output; a fold that raises in its last try fails the run, which else would never end."""
    output = f"{run.prefix()}/output.json"
    try:
        await commit(output, await _apply(run, function, backend, pinned, total), backend)
    except FanfoldError as error:
        if not error.permanent:
            raise
        reason = str(error)
    except Exception as error:
        if not last_try:
            raise
        logger.exception("run %s: the fold failed %d times", run.run, FOLD_ATTEMPTS)
        reason = f"{type(error).__qualname__}: {error}"
    else:
        return SUCCEEDED, output
    failure = f"{run.prefix()}/fold-failure.json"
    await commit(failure, {"fold": reason}, backend)
    return FAILED, failure


async def _pin_markers(run: Run, backend: Backend) -> frozenset[str]:
    key = f"{run.prefix()}/markers.json"
    names = [marker.marker async for marker in markers_of(run, backend)]
    try:
        await backend.put_result(key, json.dumps(names).encode(), if_absent=True)
    except ObjectExistsError:
        names = json.loads(await backend.get_result(key))
    return frozenset(names)


async def _apply(run: Run, function: FoldFunction, backend: Backend, pinned: Collection[str], total: int) -> Any:
    # An empty name makes a database on disk that sqlite removes by itself; it sorts more than memory holds.
    with closing(sqlite3.connect("", check_same_thread=False)) as rows:
        results = await collect(run, pinned, total, backend, rows)
        return await apply(function, results)
