"""Plan a run: once, or in steps if one invocation is too short; each step resumes where the one before stopped.

A plan that is made in one step is written when the run is created. A longer one is written with the run when the first
chunk of its manifest is full, and again with each further chunk. Two invocations may plan the same run: each writes
separate objects, and the ledger accepts a plan only from the one that has read the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fanfold import sources
from fanfold._base.deadline import Deadline
from fanfold._base.log import logger
from fanfold._jobs.fold_requests import WatchRun, send_request
from fanfold._jobs.masking import difference_of
from fanfold._ports.backend import Backend
from fanfold._ports.run import EXPIRY_SECONDS, Run, source_prefix
from fanfold.errors import FanfoldError, SourceError
from fanfold.sources.planning import Step, SteppedSource, from_settings, settings_of


class _OvertakenError(Exception):
    """Another invocation has written the next plan of this run."""


class Planning:
    """One invocation's part in the planning of a run.

    Args:
        backend: Queues, ledger, and store.
        deadline: When to stop.
        watch_seconds: Seconds until the first check of a run that is planned in steps; None for no check.
        allow_empty: Whether a run may have no segments.
    """

    def __init__(
        self,
        backend: Backend,
        deadline: Deadline,
        *,
        watch_seconds: int | None = None,
        allow_empty: bool = True,
    ) -> None:
        self.watched: bool = False
        """True if the first check of the run is requested."""
        self.overtaken: bool = False
        """True if another invocation plans the run, or has planned it."""
        self._backend = backend
        self._deadline = deadline
        self._watch_seconds = watch_seconds
        self._allow_empty = allow_empty

    async def pin(self, job: str, source: sources.Source, run_id: str, params: Mapping[str, Any]) -> Run:
        """Return the run of this name, whose plan is unfinished if the deadline was reached; create it if it is new.

        Raises:
            SourceError: If the source cannot be read, or has nothing to cut and the job does not allow it.
            FanfoldError: If the run belongs to another job, was started with other parameters, or a service fails.
        """
        known = await self._backend.ledger.run(run_id)
        if known is None:
            now = self._backend.now()
            new = Run(run_id, job, params, {}, created_at=now, expires_at=int(now) + EXPIRY_SECONDS, plan_step=0)
            known = await self._plan(new, source)
        if known.job != job:
            raise FanfoldError(f"run {run_id} belongs to job {known.job!r}: choose another name for this run")
        if (difference := difference_of(known.params, params)) is not None:
            raise FanfoldError(
                f"run {run_id} was started with other params; these differ: {difference}. Pass the same params, or "
                "choose another name"
            )
        return known if self.overtaken else await self.resume(known)

    async def resume(self, run: Run) -> Run:
        """Continue the planning of a run, if its plan is unfinished and the deadline is not reached."""
        if run.is_planned or run.ended or self._must_stop():
            return run
        unfinished = run.plan["unfinished"]
        source = from_settings(sources.class_of(run.plan), unfinished["source"])
        logger.info("run %s: planning continues after %s", run.id, unfinished["after"])
        return await self._plan(run, source)

    async def _plan(self, run: Run, source: Any) -> Run:
        backend, prefix, begun = self._backend, source_prefix(run.id), run.plan

        async def save(plan: Mapping[str, Any]) -> None:
            nonlocal run
            run = await self._saved(replace(run, plan=plan))

        async def save_unfinished(plan: Mapping[str, Any]) -> None:
            await save({**plan, "unfinished": {**plan["unfinished"], "source": settings_of(source)}})

        try:
            if _has_steps(source):
                plan = await source.plan(backend, Step(prefix, begun, self._must_stop, save_unfinished))
            else:
                plan = await source.pin(backend, prefix)
            if "unfinished" in plan:
                await save_unfinished(plan)
            else:
                self._check_not_empty(source, plan)
                await save(plan)
        except _OvertakenError:
            self.overtaken = True
        return run if not self.overtaken else await self._existing(run.id)

    async def _saved(self, run: Run) -> Run:
        """Write a plan of the run; return the run.

        Raises:
            _OvertakenError: If another invocation has written one.
        """
        ledger = self._backend.ledger
        if run.plan_step == 0:
            run, plan = await ledger.open_run(replace(run, plan_step=1)), run.plan
            if run.plan != plan:
                raise _OvertakenError
        elif not await ledger.replan(run.id, run.plan, step=run.plan_step + 1):
            raise _OvertakenError
        else:
            run = replace(run, plan_step=run.plan_step + 1)
        if not run.is_planned and self._watch_seconds is not None and not self.watched:
            self.watched = True
            await send_request(self._backend, WatchRun(run.id), self._watch_seconds)
        return run

    async def _existing(self, run_id: str) -> Run:
        run = await self._backend.ledger.run(run_id)
        assert run is not None  # noqa: S101 - another invocation has written it
        return run

    def _check_not_empty(self, source: sources.Source, plan: Mapping[str, Any]) -> None:
        if not self._allow_empty:
            check_not_empty(source, plan)

    def _must_stop(self) -> bool:
        return self._deadline.clock() >= self._deadline.stops_at


def check_not_empty(source: sources.Source, plan: Mapping[str, Any]) -> None:
    """Check that a plan has segments, for a job with ``allow_empty=False``.

    Raises:
        SourceError: If it has none.
    """
    if next(iter(sources.cut(plan)), None) is None:
        raise SourceError(f"{_name_of(source)} has no items, and the job has allow_empty=False")


def _has_steps(source: sources.Source) -> bool:
    """Return whether a source can be planned in steps; a subclass, which may override ``pin``, cannot."""
    return isinstance(source, SteppedSource) and type(source).__module__.startswith(sources.__name__)


def _name_of(source: Any) -> str:
    bucket, key, listed, prefix, suffix = (
        getattr(source, name, None) or "" for name in ("bucket", "key", "manifest", "prefix", "suffix")
    )
    return f"s3://{bucket}/{key or listed or f'{prefix}*{suffix}'}" if bucket else type(source).__name__
