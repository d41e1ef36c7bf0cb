"""One batch, from its records to its outcomes: bounded, in time, fail closed.

Workers pull records from one iterator, so that neither the cost per record nor the memory depends on the size of the
batch. They are asyncio tasks, not anyio task groups: at the deadline each is cancelled once with ``Task.cancel()``, so
that a handler's ``finally: await rollback()`` can finish, and one that swallows its cancellation is abandoned instead
of being cancelled for ever.

Every record starts as not acknowledged. Only a handler that returned, undisturbed, and whose commit succeeded, makes
it ``Done``; everything else, a fault in this module included, leaves it to be delivered again.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any, TypeAlias

from fanfold.binding import Call
from fanfold.deadline import Deadline
from fanfold.errors import AbandonedError, CommitError, FanfoldError
from fanfold.failures import FailureLog
from fanfold.outcome import Done, Failed, NotStarted, Outcome, Reject, Rejected, Retry, Retrying
from fanfold.record import Record

__all__ = ["Batch", "Commit"]

logger = logging.getLogger("fanfold")

Commit: TypeAlias = Callable[[Sequence[tuple[Record, Any]]], Awaitable[Collection[int]]]
"""Makes durable what handlers returned. Given (record, value) pairs, returns the positions of those it made durable."""

_DONE = Done()
_ABANDONED = Failed(AbandonedError("the handler was still running when the answer had to be given"))
_CANCELLED = "cancelled: the invocation's time was over"
_TURN_SECONDS = 0.02
"""How long a worker whose handlers never wait keeps the event loop to itself."""
_GRACE_SECONDS = 1.0
"""How long cancelled handlers may take to end when the batch itself is cancelled from outside."""


class Batch:
    """The state of one batch while it is worked on."""

    def __init__(
        self,
        records: Sequence[Record],
        call: Call,
        *,
        concurrency: int,
        deadline: Deadline,
        commit: Commit | None,
    ) -> None:
        self.records = records
        self.failures = FailureLog()
        self.abandoned = 0
        """Workers that were still running when the answer was given."""
        self.interrupt: KeyboardInterrupt | None = None
        """What a handler raised to end the process; for the caller to raise."""
        self._call = call
        self._concurrency = min(concurrency, len(records))
        self._deadline = deadline
        self._commit = commit
        self._outcomes: list[Outcome | None] = [None] * len(records)
        self._committed: set[int] = set()
        self._pending: Iterator[tuple[int, Record]] = iter(enumerate(records))
        self._workers: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._cancelled = False
        self._closed = False

    async def run(self) -> None:
        """Work on the batch until every record has ended or the answer is due.

        Returns no later than the deadline's ``answers_at``, as long as the event loop turns.
        """
        deadline = self._deadline
        context = contextvars.copy_context()
        for _ in range(self._concurrency):
            self._start_worker(context.copy())
        try:
            if self._workers and not await self._ended(deadline.stops_at):
                await self._commit_done(deadline.cancels_at)
                if not await self._ended(deadline.cancels_at):
                    self._cancel()
                    await self._ended((deadline.cancels_at + deadline.answers_at) / 2)
            await self._commit_done(deadline.answers_at)
        except asyncio.CancelledError:
            self._cancel()
            await self._ended(deadline.clock() + _GRACE_SECONDS)
            raise
        finally:
            self._cancel()
            self.abandoned = len(self._workers)
            self._closed = True

    def outcomes(self) -> list[Outcome]:
        """Return how each record ended, as far as it is known by now; closes the batch.

        May be called from another thread than the event loop's, which may be blocked: what a handler does after this
        changes nothing.
        """
        self._closed = True
        committed = frozenset(self._committed)
        return [self._settled(position, outcome, committed) for position, outcome in enumerate(list(self._outcomes))]

    def _settled(self, position: int, outcome: Outcome | None, committed: Collection[int]) -> Outcome:
        if outcome is None:
            return NotStarted("the invocation's time was over")
        if self._commit is not None and isinstance(outcome, Done) and position not in committed:
            return Failed(CommitError("the handler returned, but its result could not be made durable in time"))
        return outcome

    def _start_worker(self, context: contextvars.Context) -> None:
        worker = asyncio.get_running_loop().create_task(self._work(), context=context)
        self._workers.add(worker)
        worker.add_done_callback(self._worker_ended)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not self._workers:
            self._idle.set()
        if not worker.cancelled() and (error := worker.exception()):
            logger.error("a worker of the batch failed; its record is reported as not done", exc_info=error)

    async def _work(self) -> None:
        """Take records until there are none, or no time, and write down how each ended."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of a task
        clock, stops_at = self._deadline.clock, self._deadline.stops_at
        call, outcomes = self._call, self._outcomes
        untouched = contextvars.copy_context()
        yields_at = clock() + _TURN_SECONDS
        for position, record in self._pending:
            now = clock()
            if now >= stops_at or self._cancelled:
                return
            if now >= yields_at:
                await asyncio.sleep(0)
                yields_at = now + _TURN_SECONDS
            outcomes[position] = _ABANDONED
            try:
                value = await call(record)
            except GeneratorExit:
                raise  # the loop is closed under an abandoned worker
            except BaseException as error:  # noqa: BLE001 - the one place where a handler's failure becomes a value
                outcome = self._outcome_of(error, record)
            else:
                outcome = _DONE if value is None else Done(value)
            if task.cancelling():
                outcome = await self._outcome_of_cancelled(task, record)
            if self._closed:
                return  # the answer is given; nothing this handler did can change it
            outcomes[position] = outcome
            if contextvars.copy_context() != untouched:
                # The handler left context variables behind: the next record gets a worker without them.
                self._start_worker(untouched.copy())
                return

    def _outcome_of(self, error: BaseException, record: Record) -> Outcome:
        if isinstance(error, Retry):
            return Retrying(error.after, str(error))
        self.failures.add(record, error)
        if isinstance(error, Reject):
            return Rejected(error.reason)
        if isinstance(error, FanfoldError) and error.permanent:
            return Rejected(str(error))
        if isinstance(error, KeyboardInterrupt):
            self.interrupt = error
            self._cancel()
        return Failed(error)

    async def _outcome_of_cancelled(self, task: asyncio.Task[None], record: Record) -> Outcome:
        """A record whose task was cancelled failed, even if its handler then returned."""
        while task.cancelling():
            task.uncancel()
        if not self._cancelled:
            # The handler cancelled its own task. What is still pending of that must not hit the next record.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        error = asyncio.CancelledError(_CANCELLED if self._cancelled else "the handler's task was cancelled")
        self.failures.add(record, error)
        return Failed(error)

    def _cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            for worker in self._workers:
                worker.cancel()

    async def _ended(self, moment: float) -> bool:
        """Wait until no worker is left, at most until a moment; return whether none is."""
        self._idle.clear()
        if not self._workers:
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), self._deadline.until(moment))
        except TimeoutError:
            return False
        return True

    async def _commit_done(self, moment: float) -> None:
        """Commit what is done and not yet committed, at most until a moment; what is not, is not acknowledged."""
        if self._commit is None:
            return
        positions = [
            position
            for position, outcome in enumerate(self._outcomes)
            if isinstance(outcome, Done) and position not in self._committed
        ]
        if not positions:
            return
        done = [(self.records[position], self._outcomes[position].value) for position in positions]  # type: ignore[union-attr] # only Done
        commit = asyncio.ensure_future(self._commit(done))
        try:
            await asyncio.wait({commit}, timeout=self._deadline.until(moment))
        finally:
            if not commit.done():
                commit.cancel()
        if not commit.done():
            logger.error("%d results could not be committed in time; their messages come back", len(done))
        elif error := (None if commit.cancelled() else commit.exception()):
            logger.error("%d results could not be committed; their messages come back", len(done), exc_info=error)
        elif not commit.cancelled():
            self._committed.update(positions[index] for index in commit.result())
