"""Commit what handlers returned before their records are acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeAlias

from fanfold._base.deadline import Deadline
from fanfold._base.log import logger
from fanfold._base.outcome import Done, Outcome
from fanfold._base.positions import checked_positions
from fanfold._base.record import Record
from fanfold.errors import CommitError

Commit: TypeAlias = Callable[[Sequence[tuple[Record, Any]], float], Awaitable[Collection[int]]]
"""Makes the handlers' return values durable. Takes (record, value) pairs and the time at which it will be cancelled;
returns the positions of the pairs that it made durable."""


class Commits:
    """The commits of one batch: a record is acknowledged only once its result is committed.

    Args:
        records: The batch.
        commit: Makes results durable.
        deadline: The deadline of the invocation.
        conclude: Called once at the end of the batch, after the last commit, also if nothing is done; it cannot change
            an outcome. None for nothing.
    """

    def __init__(
        self,
        records: Sequence[Record],
        commit: Commit,
        deadline: Deadline,
        conclude: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.positions: set[int] = set()
        """Positions of the records whose results are committed."""
        self._records = records
        self._commit = commit
        self._deadline = deadline
        self._conclude = conclude

    async def commit_done(self, outcomes: Sequence[Outcome | None], moment: float) -> None:
        """Commit what is done and not yet committed, no later than a moment; the rest stays unacknowledged.

        The last call, at ``responds_at``, also concludes the batch.
        """
        await self._commit_new(outcomes, moment)
        if self._conclude is not None and moment >= self._deadline.responds_at:
            concluding = asyncio.ensure_future(self._call_conclude(self._conclude))
            try:
                await asyncio.wait({concluding}, timeout=self._deadline.until(moment))
            finally:
                concluding.cancel()

    async def _call_conclude(self, conclude: Callable[[], Awaitable[object]]) -> None:
        try:
            await conclude()
        except Exception:
            logger.exception("the end of the batch was not recorded; its outcomes are not affected")

    async def _commit_new(self, outcomes: Sequence[Outcome | None], moment: float) -> None:
        done = [
            (position, outcome.value)
            for position, outcome in enumerate(outcomes)
            if isinstance(outcome, Done) and position not in self.positions
        ]
        if not done:
            return
        pairs = [(self._records[position], value) for position, value in done]
        commit = asyncio.ensure_future(self._call(pairs, moment))
        try:
            await asyncio.wait({commit}, timeout=self._deadline.until(moment))
        finally:
            if not commit.done():
                commit.cancel()
        if not commit.done():
            logger.error("%d results were not committed in time; their messages will be redelivered", len(done))
        elif error := (None if commit.cancelled() else commit.exception()):
            logger.error("%d results were not committed; their messages will be redelivered", len(done), exc_info=error)
        elif not commit.cancelled():
            self.positions.update(done[index][0] for index in commit.result())

    async def _call(self, done: Sequence[tuple[Record, Any]], moment: float) -> Collection[int]:
        """Return the valid positions that a commit returned; in a task, where a commit that is not async raises too.

        Raises:
            CommitError: If one of them is not a position: what it committed is unknown, so nothing is acknowledged.
        """
        try:
            return checked_positions(await self._commit(done, moment), len(done))
        except ValueError as error:
            raise CommitError(f"the commit returned no valid positions: {error}") from error
