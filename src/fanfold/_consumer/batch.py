"""Run one batch from its records to their outcomes: bounded, before the deadline, and fail closed.

Workers take lanes from one iterator, so the cost per record and the memory do not depend on the size of the batch.
Workers are asyncio tasks and not an anyio task group: at the deadline, each is cancelled once with ``Task.cancel()``.
A handler's ``finally: await rollback()`` can then finish, and a handler that suppresses its cancellation is abandoned
instead of being cancelled repeatedly.

Every record starts as not acknowledged. It becomes ``Done`` only if its handler returned without being cancelled and
its commit succeeded. After anything else, including a bug in this module, the message is redelivered.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import sys
import weakref
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from fanfold._base.deadline import Deadline
from fanfold._base.log import logger
from fanfold._base.ordering import Lane, Unit, in_order, lanes
from fanfold._base.outcome import BLOCKED_IN_GROUP, DONE, Done, Failed, NotStarted, Outcome, Reject, Rejected, Retry
from fanfold._base.record import Record, is_fifo
from fanfold._base.threads import StillRunningError
from fanfold._consumer.admission import Admission
from fanfold._consumer.classify import outcome_of, rejects
from fanfold._consumer.failure_log import FailureLog
from fanfold._consumer.isolation import create_task, is_running, is_same, prepare_task
from fanfold._consumer.settings import Settings
from fanfold._consumer.settle import Settling
from fanfold._consumer.stages import HandlerCall
from fanfold.errors import AbandonedError, CommitError

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.commits import Commit, Commits
    from fanfold._consumer.notify_observers import Observation


_ABANDONED = Failed(AbandonedError())
_YIELD_SECONDS = 0.02
"""Interval at which handlers that never await let the event loop run its other tasks; at most twice as long."""
_GRACE_SECONDS = 1.0
"""Time that cancelled handlers have to end when the batch itself is cancelled from outside."""


class Batch:
    """One batch while it is processed."""

    def __init__(  # noqa: PLR0913 - keywords, each something else that a batch depends on
        self,
        records: Sequence[Record],
        handler: HandlerCall,
        settings: Settings,
        *,
        concurrency: int,
        deadline: Deadline,
        admission: Admission,
        settling: Settling,
        commit: Commit | None = None,
        observation: Observation | None = None,
    ) -> None:
        """Create a batch that has not started.

        Args:
            records: The records.
            handler: How to call the handler.
            settings: The settings of the consumer.
            concurrency: Maximum number of handlers that run concurrently, at least 1.
            deadline: When to stop starting records, cancel handlers, and respond.
            admission: Decides when the next record may start.
            settling: Sends rejected records to the dead-letter queue and sets delays.
            commit: Makes return values durable before their records are acknowledged; None if nothing must be.
            observation: Notified when the batch ends; None without observers.
        """
        self.records = records
        self.failures: FailureLog = FailureLog()
        self.interrupt: KeyboardInterrupt | None = None
        """The KeyboardInterrupt that a handler raised, which the caller raises again."""
        self.observation = observation
        """Notified by the caller once the response is known."""
        self._call, self._takes_list = handler
        self._concurrency = concurrency
        self._deadline = deadline
        self._admission = admission
        self._settling = settling
        self._commits = None if commit is None else _commits(records, commit, deadline)
        self._reject_on = rejects(settings.reject_on)
        self._timeout = settings.timeout
        self._fifo = is_fifo(records)
        self._outcomes: list[Outcome | None] = [None] * len(records)
        self._delays: dict[int, int] = {}
        self._lanes: Iterator[Lane] = lanes(records, settings.chunk_size)
        self._workers: set[asyncio.Task[Any]] = set()
        self._running = 0
        self._context = contextvars.copy_context()
        self._no_workers = asyncio.Event()
        self._admission_lock = asyncio.Lock()
        self._cancelled_by_handler: set[asyncio.Task[Any]] = set()
        """Workers that a handler cancelled and may cancel again, such as through a cancel scope that it left open."""
        self._blocked_threads: set[asyncio.Task[Any]] = set()
        """Workers whose thread still runs a record that timed out. The thread continues to count toward concurrency."""
        self._yield_at = math.inf
        """When the next worker must yield to the event loop; postponed whenever the loop runs its other tasks."""
        self._cancelled = False
        self._closed = False

    @property
    def abandoned(self) -> int:
        """Number of workers that still run; after ``run``, those that the response did not wait for."""
        return len(self._workers)

    @property
    def held_for_memory(self) -> int:
        """Number of times a start waited for memory."""
        return self._admission.held_for_memory

    @property
    def has_dead_letter_queue(self) -> bool:
        """True if rejected messages are sent to a dead-letter queue."""
        return self._settling.has_dead_letter_queue

    async def run(self) -> None:
        """Process the batch until every record has ended or the response is due.

        Returns no later than the deadline's ``responds_at``, unless the event loop is blocked.
        """
        deadline = self._deadline
        ticker = asyncio.ensure_future(self._postpone_yield())
        for _ in range(min(self._concurrency, len(self.records))):
            self._start_worker(self._context.copy())
        try:
            if not await self._wait_for_workers(deadline.stops_at):
                await self._commit(deadline.cancels_at)
                if not await self._wait_for_workers(deadline.cancels_at):
                    self._cancel_workers()
                    await self._wait_for_workers((deadline.cancels_at + deadline.responds_at) / 2)
            await self._commit(deadline.responds_at)
            await self._settling.finish(deadline.until(deadline.responds_at))
        except asyncio.CancelledError:
            self._cancel_workers()
            await self._wait_for_workers(deadline.clock() + _GRACE_SECONDS)
            raise
        finally:
            ticker.cancel()
            self._settling.stop()
            if self._workers:
                self._cancel_workers()
            self._closed = True

    def stop(self, grace_seconds: float) -> None:
        """Start no more records, cancel the running handlers, and make ``run`` return within ``grace_seconds``."""
        self._cancel_workers()
        asyncio.get_running_loop().call_later(grace_seconds, self._no_workers.set)

    def outcomes(self) -> list[Outcome]:
        """Return the outcome of each record, as far as it is known now, and close the batch.

        Can be called from a thread other than the event loop's, which may be blocked: nothing that a handler does
        later changes the result.
        """
        self._closed = True
        committed = frozenset() if self._commits is None else frozenset(self._commits.positions)
        forwarded = frozenset(self._settling.forwarded)
        usual = DONE if self._commits is None else _ABANDONED  # already final: skips a call for most records
        final = [
            outcome
            if outcome is usual
            else self._final(outcome, committed=position in committed, forwarded=position in forwarded)
            for position, outcome in enumerate(list(self._outcomes))
        ]
        return in_order(self.records, final) if self._fifo else final

    def _final(self, outcome: Outcome | None, *, committed: bool, forwarded: bool) -> Outcome:
        if outcome is None:
            return NotStarted(self._reason_not_started())
        if isinstance(outcome, Done) and self._commits is not None and not committed:
            return Failed(CommitError("the handler returned, but its result was not committed in time"))
        if isinstance(outcome, Rejected):
            return Rejected(outcome.reason, forwarded)  # a handler may have returned Rejected(forwarded=True) itself
        return outcome

    def _reason_not_started(self) -> str:
        if self._deadline.clock() >= self._deadline.stops_at:
            return "the invocation was about to time out"
        return "the batch was stopped" if self._cancelled else "handlers that timed out occupied every thread"

    def _start_worker(self, context: contextvars.Context, lane: Lane = ()) -> None:
        worker = create_task(asyncio.get_running_loop(), self._work(lane), context)
        self._workers.add(worker)
        worker.add_done_callback(self._worker_ended)

    def _worker_ended(self, worker: asyncio.Task[Any]) -> None:
        self._workers.discard(worker)
        error = asyncio.CancelledError("by a handler") if worker.cancelled() else worker.exception()
        if error is not None and not (self._cancelled or self._closed):
            logger.error("a worker of the batch failed; its record is reported as failed", exc_info=error)
            self._start_worker(self._context.copy())  # for the remaining records
        elif error is None and (lane := worker.result()) is not None and not (self._cancelled or self._closed):
            # Only now, so that callbacks that the last record added to its task run first.
            self._start_worker(self._context.copy(), lane)
        if not self._workers:
            self._no_workers.set()

    async def _work(self, started: Lane) -> Lane | None:  # noqa: C901, PLR0912 - with 1,000 in flight every frame counts
        """Process lanes until none is left or the deadline is near, and store the outcome of each record.

        Args:
            started: The rest of a lane that another worker started.

        Returns:
            The rest of the lane if its last record left something on this worker, so that a new worker continues;
            None if this worker has nothing left to do.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of a task
        clock, stops_at, admission = self._deadline.clock, self._deadline.stops_at, self._admission
        call, records, outcomes, takes_list = self._call, self.records, self._outcomes, self._takes_list
        timeout, clean_context = self._timeout, contextvars.copy_context()
        has_variables, name = len(clean_context) > 0, task.get_name()
        prepare_task()
        references, weak_references = sys.getrefcount, weakref.getweakrefcount
        # What is attached to the task: a session keyed by it, a callback, a timer that cancels it, an open scope. The
        # sum is compared: an eager task's counts shift between strong and weak at its first suspension.
        attached = references(task) + weak_references(task) + len(task._callbacks or ())  # noqa: SLF001 - not public
        for lane in chain((started,), self._lanes) if started else self._lanes:
            for unit in lane:
                now = clock()
                if now >= self._yield_at:
                    await asyncio.sleep(0)
                    now = clock()
                if now >= admission.free_until:  # last: an admitted record starts before another one is admitted
                    await self._wait_for_admission()
                    now = clock()
                if now >= stops_at or self._cancelled:
                    return None
                for position in unit:
                    outcomes[position] = _ABANDONED
                timer = None if timeout is None else _Timer(task, timeout)
                self._running += 1
                try:
                    value = await call([records[position] for position in unit] if takes_list else records[unit[0]])
                except BaseException as error:
                    if isinstance(error, GeneratorExit) and not is_running(task):
                        raise  # this coroutine is closed: the loop ended under an abandoned worker
                    value = error
                finally:
                    self._running -= 1
                    if timer is not None:
                        timer.stop()
                if task.cancelling():
                    if isinstance(value, StillRunningError):
                        self._blocked_threads.add(task)
                    value = await self._cancellation_error(task, timer)
                lane_continues = True
                if value is None and not takes_list:
                    outcomes[unit[0]] = DONE
                elif not await self._store_outcomes(unit, value):
                    self._skip_rest_of_lane(lane, unit)
                    lane_continues = False
                if self._blocked_threads and task in self._blocked_threads:
                    return None
                if (
                    references(task) + weak_references(task) + len(task._callbacks or ()) != attached  # noqa: SLF001
                    or (self._cancelled_by_handler and task in self._cancelled_by_handler)
                    or task.get_name() is not name
                    or not is_same(contextvars.copy_context(), clean_context, has_variables)
                ):
                    return lane[lane.index(unit) + 1 :] if lane_continues else ()
                if not lane_continues:
                    break
        return None

    async def _store_outcomes(self, unit: Unit, value: object) -> bool:
        """Store the outcome of each record of a unit, and return whether its lane may continue."""
        # If a stage raised, the error applies to all records of the unit; otherwise it returned a value for each.
        values = value if self._takes_list and isinstance(value, list) else [value] * len(unit)
        group_continues = True
        for position, result in zip(unit, values, strict=True):
            if group_continues:
                outcome = self._outcomes[position] = DONE if result is None else self._outcome_of(position, result)
                group_continues = not self._fifo or isinstance(outcome, Done | Rejected)
            else:
                self._outcomes[position] = BLOCKED_IN_GROUP
        return not self._fifo or await self._lane_continues(unit)

    async def _postpone_yield(self) -> None:
        while True:
            self._yield_at = self._deadline.clock() + 2 * _YIELD_SECONDS
            await asyncio.sleep(_YIELD_SECONDS)

    async def _wait_for_admission(self) -> None:
        """Wait until the next record may start, or until no more may; one worker at a time."""
        async with self._admission_lock:
            while (now := self._deadline.clock()) < self._deadline.stops_at and not self._cancelled:
                wait = self._admission.wait(now, self._running)
                if not wait:
                    return
                await asyncio.sleep(min(wait, self._deadline.stops_at - now))

    def _outcome_of(self, position: int, value: object) -> Outcome:
        """Return the outcome for the value that a handler returned or raised; start to settle it unless it is done."""
        record = self.records[position]
        if isinstance(value, BaseException):
            if isinstance(value, KeyboardInterrupt):
                self.interrupt = value
                self._cancel_workers()
            if not isinstance(value, Reject | Retry):  # a decision of the handler's, not an error
                self.failures.add(record, value)
        outcome = outcome_of(value, self._reject_on)
        if (delay := self._settling.add(position, record, outcome)) is not None:
            self._delays[position] = delay
        return outcome

    async def _lane_continues(self, unit: Unit) -> bool:
        """Return whether every record of a FIFO unit is done, or rejected and in the dead-letter queue."""
        outcomes = [self._outcomes[position] for position in unit]
        if any(isinstance(outcome, Rejected) for outcome in outcomes):
            await self._settling.wait_for_dead_letters(self._deadline.until(self._deadline.stops_at))
        forwarded = self._settling.forwarded
        return all(
            isinstance(outcome, Done) or (isinstance(outcome, Rejected) and position in forwarded)
            for position, outcome in zip(unit, outcomes, strict=True)
        )

    def _skip_rest_of_lane(self, lane: Lane, unit: Unit) -> None:
        """Report the rest of a FIFO lane for redelivery, with the same delay as the record that failed."""
        delay = next((self._delays[position] for position in unit if position in self._delays), None)
        for position in (position for later in lane[lane.index(unit) + 1 :] for position in later):
            self._outcomes[position] = BLOCKED_IN_GROUP
            if delay is not None:
                self._settling.change_visibility(self.records[position], delay)

    async def _cancellation_error(self, task: asyncio.Task[Any], timer: _Timer | None) -> BaseException:
        """Return why a record's task was cancelled. The record failed, even if its handler then returned."""
        while task.cancelling():
            task.uncancel()
        if timer is not None and timer.fired:
            error: BaseException = TimeoutError(f"the handler took longer than {self._timeout} s")
        elif self._cancelled:
            return asyncio.CancelledError("cancelled: the invocation was about to time out")
        else:
            error = asyncio.CancelledError("the handler's task was cancelled")
            self._cancelled_by_handler.add(task)
        # A cancellation that is still pending must not reach the next record.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return error

    def _cancel_workers(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            for worker in self._workers:
                if not worker.cancelling():  # only once, so that a rollback after a timeout is not interrupted
                    worker.cancel()

    async def _commit(self, moment: float) -> None:
        if self._commits is not None:
            await self._commits.commit_done(self._outcomes, moment)

    async def _wait_for_workers(self, moment: float) -> bool:
        """Wait until all workers have ended, but no longer than until a moment; return whether all have ended."""
        self._no_workers.clear()
        if not self._workers:
            return True
        try:
            await asyncio.wait_for(self._no_workers.wait(), self._deadline.until(moment))
        except TimeoutError:
            return False
        return True


def _commits(records: Sequence[Record], commit: Commit, deadline: Deadline) -> Commits:
    from fanfold._consumer.commits import Commits  # not imported at cold start

    return Commits(records, commit, deadline)


class _Timer:
    """Cancels a task once after a timeout."""

    def __init__(self, task: asyncio.Task[Any], seconds: float) -> None:
        self.fired = False
        self._task: asyncio.Task[Any] | None = task
        self._handle = asyncio.get_running_loop().call_later(seconds, self._fire)

    def stop(self) -> None:
        self._handle.cancel()
        self._task = None  # a reference more, and the task would seem to have something attached

    def _fire(self) -> None:
        if self._task is not None and not self._task.cancelling():
            self.fired = True
            self._task.cancel()
