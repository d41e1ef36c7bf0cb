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
    """

    def __init__(self, records: Sequence[Record], commit: Commit, deadline: Deadline) -> None:
        self.positions: set[int] = set()
        """Positions of the records whose results are committed."""
        self._records = records
        self._commit = commit
        self._deadline = deadline

    async def commit_done(self, outcomes: Sequence[Outcome | None], moment: float) -> None:
        """Commit what is done and not yet committed, no later than a moment; the rest stays unacknowledged."""
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
