"""The fold function: check whether all segments have ended, and if so, commit one output.

It also resumes a scatter that ran out of time or died. Every step can be repeated, and several invocations can run the
same step at the same time:

1. *check* the counter, then read the markers once; if segments are missing, set when the next check is due;
2. *combine* the results, if the job has a combine function and there are many; see ``fanfold._jobs.combine``;
3. *claim* this generation of the run, with a lease and a fence;
4. *pin* the markers that count, so that a repeated fold sees the same results;
5. *fold* the results in segment order;
6. *commit*: write the output unless this run and generation has one, then write the end state, under the fence.
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
from fanfold._jobs.bad_rows import BAD_ROWS_FILE, merge_bad_rows
from fanfold._jobs.collect import Collected, collect
from fanfold._jobs.combine import Reduction, Tree, advance, combine, is_complete, remaining_results, tree_of
from fanfold._jobs.fold_requests import CombineGroup, FoldRequest, ResumeScatter, WatchRun, from_body, send_request
from fanfold._jobs.job_state import JobState
from fanfold._jobs.notify import is_tolerated, notify_run_ended
from fanfold._jobs.output import apply, commit
from fanfold._jobs.results import FoldFunction, Results, opened, results_of
from fanfold._jobs.scatter import resume_scatter
from fanfold._jobs.segment_count import total_of
from fanfold._jobs.segment_result import reason_of
from fanfold._jobs.tally import Tally
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.errors import (
    ConfigurationError,
    FanfoldError,
    FenceLostError,
    LedgerError,
    ObjectMissingError,
    SegmentError,
)
from fanfold.sources.bad_rows import excess_of

LEASE_SLACK_SECONDS: Final = 5.0
"""Seconds by which a claim outlasts its invocation."""
FOLD_ATTEMPTS: Final = 3
"""Deliveries of a check after which a fold that raises fails the run; below the fold queue's ``maxReceiveCount``."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Folding:
    """The fold settings of a job."""

    function: FoldFunction
    """The user's fold."""
    tolerated: float = 0
    """Segments that may fail, as a count or as a share of all; see ``notify.is_tolerated``."""
    reduction: Reduction | None = None
    """How results are combined before the fold; None to fold them directly."""
    alone: bool = False
    """True if one invocation does all the work without sending messages: Step Functions has no fold queue."""
    allow_empty: bool = True
    """True if a run without items succeeds."""


async def check_and_fold(
    job: str,
    folding: Folding,
    record: Record,
    ctx: Context[JobState],
    *,
    watch_seconds: int,
    per_message: int = 1,
) -> RunState:
    """Handle one message of the fold queue; return the state of the run afterwards.

    Raises:
        Retry: If another invocation has claimed the fold.
        SegmentError: If the message is not a check, or its run is unknown: permanent.
        FanfoldError: If a service fails; the message is redelivered, and every step can be repeated.
        Exception: Any error that the user's functions raise.
    """
    check = from_body(record.body)
    backend = ctx.state.backend
    run = await backend.ledger.run(check.run_id)
    if run is None or run.job != job:
        raise SegmentError(f"check of run {check.run_id!r}: the ledger has no such run of job {job!r}")
    watches = isinstance(check, WatchRun) and backend.now() < run.expires_at
    try:
        run = await _with_all_segments(run, check, folding, ctx, per_message)
        state = run.state if run.ended else await _Attempt(run, check, folding, backend, ctx).advance()
        if state.is_final:
            await notify_run_ended(run.id, backend)
    except FanfoldError:
        if watches and ctx.receive_count == FOLD_ATTEMPTS:  # the queue will give up on this check, but not on the run
            with contextlib.suppress(FanfoldError):
                await send_request(backend, WatchRun(run.id, run.progress), watch_seconds)
        raise
    if watches and not state.is_final:
        # Last, so that it is sent once: SQS redelivers a check that fails.
        await send_request(backend, WatchRun(run.id, run.progress), watch_seconds)
    return state


async def _with_all_segments(
    run: Run, check: FoldRequest, folding: Folding, ctx: Context[JobState], per_message: int
) -> Run:
    """Resume the scatter of a run if it was requested or is stalled; return the run afterwards."""
    backend = ctx.state.backend
    if run.ended or not await _is_scatter_stalled(check, run, backend):
        return run
    try:
        await resume_scatter(run, backend, ctx.deadline, per_message=per_message)
    except FanfoldError as error:
        if (reason := _reason_not_scattered(error, run, ctx)) is None:
            raise
        await _Attempt(run, check, folding, backend, ctx).fail(reason)
    return await backend.ledger.run(run.id) or run


def _reason_not_scattered(error: FanfoldError, run: Run, ctx: Context[JobState]) -> str | None:
    """Return why a run has to end because its segments cannot be determined; None if a retry may succeed."""
    is_last = ctx.receive_count >= FOLD_ATTEMPTS
    if not run.is_planned:
        if error.permanent or (isinstance(error, ConfigurationError) and is_last):
            return f"the run could not be planned: {reason_of(error)}"
        return None
    if error.permanent or (isinstance(error, LedgerError) and is_last):
        return f"its segments could not be sent: {reason_of(error)}"
    return None


async def _is_scatter_stalled(check: FoldRequest, run: Run, backend: Backend) -> bool:
    """Return whether the fold function has to resume a scatter: it was requested, or the scatter made no progress."""
    if not isinstance(check, ResumeScatter) and not (isinstance(check, WatchRun) and check.position == run.progress):
        return False
    return not run.enqueued or (run.gen == 0 and (await backend.ledger.counter(run.id)).total is None)


@dataclass(frozen=True, slots=True)
class _Broken:
    """A step that cannot succeed on a retry."""

    reason: str
    """Why the run fails."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One invocation's attempt to advance a run; every step can be repeated."""

    run: Run
    check: FoldRequest
    folding: Folding
    backend: Backend
    ctx: Context[JobState]

    async def advance(self) -> RunState:
        """Advance the run as far as currently possible; return its state afterwards."""
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

    async def fail(self, reason: str) -> RunState:
        """End a run whose segments cannot be determined or sent; return its state afterwards."""
        counter = await self.backend.ledger.counter(self.run.id)
        with opened() as rows:
            collected = await collect(self.run, total_of(self.run, counter), self.backend, rows)
            collected.tally.fail(collected.tally.missing_segments(), reason)
            return await self._claim_and_fold(collected, _Broken(reason))

    async def _unless_broken(self, step: Awaitable[T]) -> T | _Broken:
        """Return the result of a step, or ``_Broken`` if the user's function or a service failed permanently.

        Raises:
            Exception: Any error of the step, unless this is the last attempt: then the run has to end.
        """
        try:
            return await step
        except FanfoldError as error:
            is_damage = isinstance(error, LedgerError | ObjectMissingError)
            if not error.permanent and not (is_damage and self.ctx.receive_count >= FOLD_ATTEMPTS):
                raise
            return _Broken(str(error))
        except Exception as error:
            if self.ctx.receive_count < FOLD_ATTEMPTS:
                raise
            logger.exception("run %s: the fold failed %d times", self.run.id, FOLD_ATTEMPTS)
            return _Broken(reason_of(error))

    async def _combine_group(self) -> bool:
        """Combine the group that the check requests, if any; return whether to continue: its level is complete."""
        run, check, backend, reduction = self.run, self.check, self.backend, self.folding.reduction
        if reduction is None or not isinstance(check, CombineGroup):
            return True
        tree = await tree_of(run, backend)
        if tree is None or not tree.has(check.level, check.group):  # from an earlier generation
            return False
        await combine(run, tree, (check.level, check.group), reduction, backend)
        return await is_complete(run, tree, check.level, backend)

    async def _all_ended(self, rows: sqlite3.Connection) -> Collected | None:
        """Return the collected markers if all segments have ended; otherwise, set when the next check is due."""
        run, ledger = self.run, self.backend.ledger
        if not run.is_planned:
            return None
        counter = await ledger.counter(run.id)
        if run.gen and counter.total is None:  # lost: it was known when the first generation ended
            counter = await ledger.seal(run.id, total_of(run, counter))
        while counter.total is not None:
            collected = await collect(run, total_of(run, counter), self.backend, rows, counted=counter.ended)
            if not (missing := collected.tally.missing):
                return collected
            counter = await ledger.raise_next(run.id, counter.ended + missing)
            if not counter.due:
                logger.info("run %s: %d of %d segments have not ended", run.id, missing, collected.tally.total)
                return None
        return None

    def _is_reduced(self, tally: Tally) -> bool:
        """Return whether the results are combined before the fold: there are many, and they will be folded."""
        reduction = self.folding.reduction
        return reduction is not None and tally.total > reduction.fan_in and self._is_tolerated(tally)

    def _is_tolerated(self, tally: Tally) -> bool:
        return is_tolerated(len(tally.failed), tally.total, self.folding.tolerated)

    async def _advance_tree(self, collected: Collected) -> bool:
        """Start the next level that has to be combined; return whether all levels are complete."""
        assert self.folding.reduction is not None  # noqa: S101 - checked by _is_reduced
        level = self.check.level if isinstance(self.check, CombineGroup) else None

        async def results() -> Results:
            await collected.pin()
            loaded = await collected.results()
            if not self._is_tolerated(collected.tally):
                raise SegmentError(f"run {self.run.id}: results are lost")  # the fold lists them as failures
            return loaded

        return await advance(
            self.run,
            self.folding.reduction,
            results,
            self.backend,
            combined=level,
            resend=isinstance(self.check, WatchRun) or (level is None and self.ctx.receive_count > 1),
            here=self.folding.alone,
        )

    async def _claim_and_fold(self, collected: Collected, broken: _Broken | None) -> RunState:
        run, ledger, left = self.run, self.backend.ledger, self.ctx.deadline.remaining()
        lease = (aws_limits.LAMBDA_MAX_TIMEOUT_SECONDS if math.isinf(left) else left) + LEASE_SLACK_SECONDS
        # Claim this generation: a check from before a redrive must not fold or end a run that is being redriven.
        fence = await ledger.claim(run.id, gen=run.gen, now=self.backend.now(), lease_seconds=lease)
        if fence is None:
            # Another invocation holds the claim. If it dies, this message takes over after the lease.
            raise Retry(f"run {run.id} is being folded by another invocation", after=lease)
        try:
            return await self._fold(collected, fence, broken)
        except FenceLostError:
            current = await ledger.run(run.id)
            if current is None or current.state != RunState.CANCELLED:
                raise
            return current.state
        except BaseException:
            with contextlib.suppress(FanfoldError):  # so that the next attempt does not have to wait for the lease
                await ledger.release(run.id, fence=fence)
            raise

    async def _fold(self, collected: Collected, fence: int, broken: _Broken | None) -> RunState:
        run, backend = self.run, self.backend
        await collected.pin()
        loaded: Tree | Results | _Broken | None = broken
        if broken is None:
            loaded = await self._unless_broken(self._tree_or_load(collected))
        broken = loaded if isinstance(loaded, _Broken) else None
        failed = collected.tally.failed
        if failed:
            await commit(run.failures_key(), {"segments": failed}, backend)
        broken = await self._bad_rows(collected) or broken
        if collected.tally.is_empty and not self.folding.allow_empty:
            broken = broken or _Broken("the input has no items, and the job has allow_empty=False")
        if self._is_tolerated(collected.tally):
            state, output = RunState.SUCCEEDED, f"{run.prefix()}/output.json"
            if isinstance(loaded, Tree | Results) and broken is None:
                broken = await self._unless_broken(self._commit_output(output, loaded, fence))
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

    async def _bad_rows(self, collected: Collected) -> _Broken | None:
        """Commit the bad rows of the run; return why the run fails if there are too many."""
        await collected.add_hops()
        tally = collected.tally
        if not (stored := tally.bad_rows):
            return None
        key = f"{self.run.prefix()}/{BAD_ROWS_FILE}"
        await merge_bad_rows(key, stored, self.backend)
        count = sum(bad.count for bad in stored)
        logger.warning("run %s: %d bad rows, %s", self.run.id, count, key)
        excess = excess_of(self.run.plan, count, tally.items)
        return None if excess is None else _Broken(f"{excess}; they are in {key}")

    async def _tree_or_load(self, collected: Collected) -> Tree | Results:
        """Return how the results were combined, or load them; a segment whose result is lost then counts as failed."""
        if self._is_reduced(collected.tally) and (tree := await tree_of(self.run, self.backend)) and tree.levels:
            return tree
        return await collected.results()

    async def _commit_output(self, key: str, results: Tree | Results, fence: int) -> None:
        run, backend, fold = self.run, self.backend, self.folding.function
        if isinstance(results, Tree):
            with results_of(await remaining_results(run, results, backend)) as remaining:
                output = await apply(fold, remaining)
        else:
            output = await apply(fold, results)
        current = await backend.ledger.run(run.id)
        if current is None or (current.state, current.fence) != (RunState.FOLDING, fence):
            raise FenceLostError(f"run {run.id}: the fold was cancelled, or another invocation has taken it over")
        await commit(key, output, backend)
