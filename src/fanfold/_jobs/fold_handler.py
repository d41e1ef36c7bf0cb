"""The fold function: look whether all segments have ended, and if so commit one output.

It also goes on with a scatter whose time was over, or that died. Every step may be repeated, and another invocation may
do the same at the same time:

1. *look*: the counter, then the markers, read once; with segments missing, say when to look again;
2. *combine* them, where the job has a combine function and there are many; see ``fanfold._jobs.combine``;
3. *claim* this generation of the run, with a lease and a fence;
4. *pin* which markers count, so that a fold that is done again sees the same results;
5. *fold* them in segment order;
6. *commit*: write the output if there is none under this run and generation, then the end state, under the fence.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, TypeVar

from fanfold._base import aws_limits
from fanfold._base.context import Context
from fanfold._base.log import logger
from fanfold._base.outcome import Retry
from fanfold._base.record import Record
from fanfold._jobs.collect import Collected, collect
from fanfold._jobs.combine import Reduction, advance, combine, is_complete, left_of, tree_of
from fanfold._jobs.fold_requests import CombineGroup, FoldRequest, ResumeScatter, WatchRun, from_body, send_request
from fanfold._jobs.job_state import JobState
from fanfold._jobs.notify import is_tolerated, notify_run_ended
from fanfold._jobs.output import apply, commit
from fanfold._jobs.results import FoldFunction, Results, opened, results_of
from fanfold._jobs.scatter import resume_scatter
from fanfold._jobs.segment_result import reason_of
from fanfold._jobs.tally import Tally
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.errors import FanfoldError, SegmentError

LEASE_SLACK_SECONDS: Final = 5.0
"""How much longer than its invocation a claim lasts."""
FOLD_ATTEMPTS: Final = 3
"""Deliveries of a check after which a fold that raises fails the run; fewer than the fold queue's receive limit."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Folding:
    """How a job folds."""

    function: FoldFunction
    """The user's fold."""
    tolerated: float = 0
    """Segments that may have failed: how many, or their share of all; see ``notify.is_tolerated``."""
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
    if not run.ended and await _is_scatter_stalled(check, run, backend):
        await resume_scatter(run, backend, ctx.deadline, per_message=per_message)
    state = run.state if run.ended else await _Attempt(run, check, folding, backend, ctx).advance()
    if state.is_final:
        await notify_run_ended(run.id, backend)
    elif isinstance(check, WatchRun) and backend.now() < run.expires_at:
        # Last, and once: a check that fails comes back by itself.
        await send_request(backend, WatchRun(run.id, run.position), watch_seconds)
    return state


async def _is_scatter_stalled(check: FoldRequest, run: Run, backend: Backend) -> bool:
    """Tell whether nobody goes on enqueueing the segments of a run: its scatter says so, or has got no further."""
    if not isinstance(check, ResumeScatter) and not (isinstance(check, WatchRun) and check.position == run.position):
        return False
    return not run.enqueued or (run.gen == 0 and (await backend.ledger.counter(run.id)).total is None)


@dataclass(frozen=True, slots=True)
class _Broken:
    """A step that no further try would get through."""

    reason: str
    """Why the run fails."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One invocation's attempt to take a run further; every step of it may be repeated."""

    run: Run
    check: FoldRequest
    folding: Folding
    backend: Backend
    ctx: Context[JobState]

    async def advance(self) -> RunState:
        """Take the run as far as it can get now; return the state it is in then."""
        combined = await self._unless_broken(self._combine_group())
        if combined is False:
            return self.run.state
        with opened() as rows:
            collected = await self._all_ended(rows)
            if collected is None:
                return self.run.state
            if combined is True and self._is_reduced(collected.tally):
                combined = await self._unless_broken(self._advance_tree(collected))
                if combined is False:
                    return self.run.state
            return await self._claim_and_fold(collected, combined if isinstance(combined, _Broken) else None)

    async def _unless_broken(self, step: Awaitable[T]) -> T | _Broken:
        """Return what a step returns; if a user's function, or a service, fails it for good, why the run fails.

        Raises:
            Exception: Whatever the step raises, if there is another try: a run whose last try fails has to end.
        """
        try:
            return await step
        except FanfoldError as error:
            if not error.permanent:
                raise
            return _Broken(str(error))
        except Exception as error:
            if self.ctx.receive_count < FOLD_ATTEMPTS:
                raise
            logger.exception("run %s: its fold failed %d times", self.run.id, FOLD_ATTEMPTS)
            return _Broken(reason_of(error))

    async def _combine_group(self) -> bool:
        """Combine the group that the check is for, if it is for one; return whether to go on: its level is complete."""
        run, check, backend, reduction = self.run, self.check, self.backend, self.folding.reduction
        if reduction is None or not isinstance(check, CombineGroup):
            return True
        tree = await tree_of(run, backend)
        if tree is None or not tree.has(check.level, check.group):  # of a generation before
            return False
        await combine(run, tree, (check.level, check.group), reduction, backend)
        return await is_complete(run, tree, check.level, backend)

    async def _all_ended(self, rows: sqlite3.Connection) -> Collected | None:
        """Return what the markers say if all segments have ended; if not, say when to look again."""
        run, ledger = self.run, self.backend.ledger
        counter = await ledger.counter(run.id)
        while counter.total is not None:
            collected = await collect(run, counter.total, self.backend, rows)
            if not (missing := collected.tally.missing):
                return collected
            counter = await ledger.raise_next(run.id, counter.ended + missing)
            if not counter.due:
                logger.info("run %s: %d of %d segments have not ended", run.id, missing, collected.tally.total)
                return None
        return None

    def _is_reduced(self, tally: Tally) -> bool:
        """Tell whether the results are combined before the fold: there are many, and they will be folded."""
        reduction = self.folding.reduction
        return reduction is not None and tally.total > reduction.fan_in and self._is_tolerated(tally)

    def _is_tolerated(self, tally: Tally) -> bool:
        return is_tolerated(len(tally.failed), tally.total, self.folding.tolerated)

    async def _advance_tree(self, collected: Collected) -> bool:
        """Have done what is to be combined next; return whether all of it is."""
        assert self.folding.reduction is not None  # noqa: S101 - else nothing is reduced
        level = self.check.level if isinstance(self.check, CombineGroup) else None

        async def results() -> Results:
            await collected.pin()
            return await collected.results()

        return await advance(
            self.run,
            self.folding.reduction,
            results,
            self.backend,
            combined=level,
            again=isinstance(self.check, WatchRun) or (level is None and self.ctx.receive_count > 1),
            here=self.folding.alone,
        )

    async def _claim_and_fold(self, collected: Collected, broken: _Broken | None) -> RunState:
        run, ledger, left = self.run, self.backend.ledger, self.ctx.deadline.remaining()
        lease = (aws_limits.LAMBDA_MAX_TIMEOUT_SECONDS if math.isinf(left) else left) + LEASE_SLACK_SECONDS
        # Of this generation: who looked before a redrive must not fold, nor end, what is only being done again.
        fence = await ledger.claim(run.id, gen=run.gen, now=self.backend.now(), lease_seconds=lease)
        if fence is None:
            # Another invocation has it. Should that one die, this message may be its own: so it comes after the lease.
            raise Retry(f"run {run.id} is being folded by another invocation", after=lease)
        try:
            return await self._fold(collected, fence, broken)
        except BaseException:
            with contextlib.suppress(FanfoldError):  # the next try need not wait for the lease
                await ledger.release(run.id, fence=fence)
            raise

    async def _fold(self, collected: Collected, fence: int, broken: _Broken | None) -> RunState:
        run, backend = self.run, self.backend
        await collected.pin()
        failed = collected.tally.failed
        if failed:
            await commit(run.failures_key(), {"segments": failed}, backend)
        if self._is_tolerated(collected.tally):
            state, output = RunState.SUCCEEDED, f"{run.prefix()}/output.json"
            broken = broken or await self._unless_broken(self._commit_output(output, collected))
            if broken:
                state, output = RunState.FAILED, f"{run.prefix()}/fold-failure.json"
                await commit(output, {"fold": broken.reason}, backend)
        else:
            state, output = RunState.FAILED, run.failures_key()
        await backend.ledger.finish(
            run.id, fence=fence, state=state, output=output, ended_at=backend.now(), failed=len(failed)
        )
        logger.info("run %s: %s, %s", run.id, state, output)
        return state

    async def _commit_output(self, key: str, collected: Collected) -> None:
        run, backend, fold = self.run, self.backend, self.folding.function
        tree = await tree_of(run, backend) if self._is_reduced(collected.tally) else None
        if tree is not None and tree.levels:
            with results_of(await left_of(run, tree, backend)) as left:
                await commit(key, await apply(fold, left), backend)
        else:
            await commit(key, await apply(fold, await collected.results()), backend)
