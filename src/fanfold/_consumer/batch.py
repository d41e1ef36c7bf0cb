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
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from fanfold._base.deadline import Deadline
from fanfold._base.ordering import Lane, Unit, lanes
from fanfold._base.outcome import DONE, Outcome
from fanfold._base.record import Record
from fanfold._base.threads import StillRunningError
from fanfold._consumer.admission import Admission
from fanfold._consumer.classify import rejects
from fanfold._consumer.failure_log import FailureLog
from fanfold._consumer.outcomes import ABANDONED, BatchOutcomes
from fanfold._consumer.settings import Settings
from fanfold._consumer.settle import Settling
from fanfold._consumer.stages import HandlerCall
from fanfold._consumer.worker_tasks import Timer, create_task, is_running, is_same, prepared_task

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.commits import Commits
    from fanfold._consumer.notify_observers import Observation


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
        commits: Commits | None = None,
        observation: Observation | None = None,
        keep_details: bool = True,
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
            commits: Makes return values durable before their records are acknowledged; None if nothing must be.
            observation: Notified when the batch ends; None without observers.
            keep_details: Whether someone will read what handlers returned or raised; otherwise it is not kept.
        """
        self.records = records
        self.observation = observation
        """Notified by the caller once the response is known."""
        self.held_for_memory: int = 0
        """Number of times a start waited for memory."""
        self._call, self._takes_list = handler
        self._concurrency = concurrency
        self._deadline = deadline
        self._admission = admission
        self.settling = settling
        """Sends dead letters, and sets delays."""
        self._commits = commits
        self._timeout = settings.timeout
        self._outcomes = BatchOutcomes(
            records,
            deadline=deadline,
            settling=settling,
            reject_on=rejects(settings.reject_on),
            keep_details=keep_details,
            on_interrupt=self._cancel_workers,
        )
        self.failures: FailureLog = self._outcomes.failures
        self._lanes: Iterator[Lane] = lanes(records, settings.chunk_size)
        self._returned: deque[Lane] = deque()
        """Lanes, or the rest of one, that workers have given back."""
        self._workers: set[asyncio.Task[Any]] = set()
        self._admitted: set[int] = set()
        """Ids of workers that have processed a record, and may yield their slot to another batch."""
        self._exhausted = False
        """True once a worker has found no more lanes."""
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
    def interrupt(self) -> KeyboardInterrupt | None:
        """The KeyboardInterrupt that a handler raised, which the caller raises again."""
        return self._outcomes.interrupt

    @property
    def has_rejected(self) -> bool:
        """True if a record was rejected."""
        return self._outcomes.has_rejected

    @property
    def abandoned(self) -> int:
        """Number of workers that still run although the response did not wait for them; 0 before the response."""
        return len(self._workers) if self._closed else 0

    @property
    def has_ended(self) -> bool:
        """True once the response is known and no worker runs."""
        return self._closed and not self._workers

    async def run(self) -> None:
        """Process the batch until every record has ended or the response is due.

        Returns no later than the deadline's ``responds_at``, unless the event loop is blocked.
        """
        deadline = self._deadline
        ticker = asyncio.ensure_future(self._postpone_yield())
        try:
            self._admission.enter(self)
            if not await self._wait_for_workers(deadline.stops_at):
                await self._commit(deadline.cancels_at)
                if not await self._wait_for_workers(deadline.cancels_at):
                    self._cancel_workers()
                    await self._wait_for_workers((deadline.cancels_at + deadline.responds_at) / 2)
            await self._commit(deadline.responds_at)
            await self.settling.finish(deadline.until(deadline.responds_at))
        except asyncio.CancelledError:
            self._cancel_workers()
            await self._wait_for_workers(deadline.clock() + _GRACE_SECONDS)
            raise
        finally:
            ticker.cancel()
            self.settling.stop()
            if self._workers:
                self._cancel_workers()
            self._closed = True
            self._admission.slots.leave(self)

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
        committed = None if self._commits is None else frozenset(self._commits.positions)
        return self._outcomes.final(committed, self._reason_not_started())

    def _reason_not_started(self) -> str:
        if self._deadline.clock() >= self._deadline.stops_at:
            return "the invocation was about to time out"
        return "the batch was stopped" if self._cancelled else "handlers that timed out occupied every thread"

    @property
    def worker_count(self) -> int:
        """Number of workers that run, and of threads that a record which timed out still occupies."""
        return len(self._workers | self._blocked_threads)

    @property
    def wanted_workers(self) -> int:
        """Number of workers that the remaining records need, no more than the concurrency."""
        over = self._cancelled or self._closed or self._deadline.clock() >= self._deadline.stops_at
        if over or (self._exhausted and not self._returned):
            return 0
        return min(self._concurrency, len(self.records))

    @property
    def records_in_flight(self) -> int:
        """Number of calls of the handler that run."""
        return self._running

    def start_worker(self, lane: Lane = ()) -> None:
        """Start a worker, which first processes the rest of a lane."""
        worker = create_task(asyncio.get_running_loop(), self._work(lane), self._context.copy())
        self._workers.add(worker)
        worker.add_done_callback(self._worker_ended)

    def _replace_worker(self, lane: Lane) -> bool:
        """Start a worker in the slot of one that ended, and return whether that succeeded."""
        before = set(self._workers)
        try:
            self.start_worker(lane)
        except Exception as error:  # noqa: BLE001 - a task factory of the user's
            self.failures.add_from_worker(error)
            self._exhausted = True  # the remaining records are not started
            self._returned.clear()
            return False
        self._admitted.update(map(id, self._workers - before))  # it may yield before its first record
        return True

    def _worker_ended(self, worker: asyncio.Task[Any]) -> None:
        self._workers.discard(worker)
        self._admitted.discard(id(worker))
        error = asyncio.CancelledError("by a handler") if worker.cancelled() else worker.exception()
        lane: Lane | None = None
        if not (self._cancelled or self._closed):
            if error is not None:
                self.failures.add_from_worker(error)
            # A new worker starts only now, after the callbacks that the last record added to its task.
            lane = worker.result() if error is None else ()
        if lane is None or not self._replace_worker(lane):
            self._admission.slots.worker_ended(self)
        if not self._workers and not self._admission.slots.is_waiting(self):
            self._no_workers.set()

    async def _work(self, started: Lane) -> Lane | None:
        """Run as a worker: ``_process`` lanes, and report the end without a callback on the task.

        A task that has no callback shows at a glance whether a record has added one.
        """
        task = prepared_task()
        task.remove_done_callback(self._worker_ended)  # it was for a cancellation before this first step
        try:
            return await self._process(task, started)
        finally:
            if is_running(task):  # otherwise this coroutine is closed, and its loop has ended
                asyncio.get_running_loop().call_soon(self._worker_ended, task)

    async def _process(self, task: asyncio.Task[Any], started: Lane) -> Lane | None:  # noqa: C901, PLR0912 - one frame
        """Process lanes until none is left or the deadline is near, and store the outcome of each record.

        Args:
            task: The worker's task.
            started: The rest of a lane that another worker started.

        Returns:
            The rest of the lane if its last record left something on this worker, so that a new worker continues;
            None if this worker has nothing left to do.
        """
        clock, stops_at, admission = self._deadline.clock, self._deadline.stops_at, self._admission
        call, records, outcomes, takes_list = self._call, self.records, self._outcomes.values, self._takes_list
        timeout, copy_context = self._timeout, contextvars.copy_context
        clean_context, name = copy_context(), task.get_name()
        has_variables = len(clean_context) > 0
        references, weak_references = sys.getrefcount, weakref.getweakrefcount
        # The sum, because an eager task's counts shift between strong and weak at its first suspension.
        attached = references(task) + weak_references(task)
        for lane in chain((started,) if started else (), self._lanes, self._returned_lanes()):
            for unit in lane:
                now = clock()
                if now >= self._yield_at:
                    await asyncio.sleep(0)
                    now = clock()
                if now >= admission.free_until:  # last: an admitted record starts before another one is admitted
                    if not await self._may_start(task):
                        self._returned.append(lane[lane.index(unit) :])
                        return None
                    now = clock()
                if now >= stops_at or self._cancelled:
                    return None
                for position in unit:
                    outcomes[position] = ABANDONED
                timer = None if timeout is None else Timer(task, timeout)
                self._running += 1
                try:
                    value = await call([records[position] for position in unit] if takes_list else records[unit[0]])
                except BaseException as error:
                    if not is_running(task):
                        raise  # this coroutine is closed: the loop ended under an abandoned worker
                    value = error
                finally:
                    self._running -= 1
                    if timer is not None:
                        timer.stop()
                if task.cancelling() or task._must_cancel:  # type: ignore[attr-defined] # noqa: SLF001 - uncancel() keeps it
                    if isinstance(value, StillRunningError):
                        self._blocked_threads.add(task)
                    value = await self._cancellation_error(task, timer)
                lane_continues = True
                if value is None and not takes_list:
                    outcomes[unit[0]] = DONE
                elif not await self._outcomes.store(unit, self._results(unit, value)):
                    self._outcomes.skip_rest_of_lane(lane, unit)
                    lane_continues = False
                if self._blocked_threads and task in self._blocked_threads:
                    return None
                if (
                    references(task) + weak_references(task) != attached
                    or task._callbacks  # noqa: SLF001 - not public
                    or (self._cancelled_by_handler and task in self._cancelled_by_handler)
                    or task.get_name() is not name
                    or (not is_same(copy_context(), clean_context) if has_variables else len(copy_context()))
                ):
                    return lane[lane.index(unit) + 1 :] if lane_continues else ()
                if not lane_continues:
                    break
        self._exhausted = True
        return None

    def _results(self, unit: Unit, value: object) -> list[object]:
        """Return a result for each record: if a stage raised, its error; otherwise it returned a value for each."""
        return value if self._takes_list and isinstance(value, list) else [value] * len(unit)

    async def _postpone_yield(self) -> None:
        while True:
            self._yield_at = self._deadline.clock() + 2 * _YIELD_SECONDS
            await asyncio.sleep(_YIELD_SECONDS)

    def _returned_lanes(self) -> Iterator[Lane]:
        """Yield the lanes that workers gave back when they ended for another batch."""
        while self._returned:
            yield self._returned.popleft()

    async def _may_start(self, worker: asyncio.Task[Any]) -> bool:
        """Wait until the next record may start, or until no more may, one worker at a time.

        Returns:
            False if this worker should end instead, because another batch needs its slot.
        """
        if id(worker) in self._admitted and self._admission.slots.should_yield(self):
            return False
        self._admitted.add(id(worker))  # not the worker: that would look like a leftover
        async with self._admission_lock:
            while (now := self._deadline.clock()) < self._deadline.stops_at and not self._cancelled:
                held = self._admission.held_for_memory
                wait = self._admission.wait(now, self._admission.slots.records_in_flight)
                self.held_for_memory += self._admission.held_for_memory - held
                if not wait:
                    break
                await asyncio.sleep(min(wait, self._deadline.stops_at - now))
        return True

    async def _cancellation_error(self, task: asyncio.Task[Any], timer: Timer | None) -> BaseException:
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
            await self._commits.commit_done(self._outcomes.values, moment)

    async def _wait_for_workers(self, moment: float) -> bool:
        """Wait until all workers have ended, but no longer than until a moment; return whether all have ended."""
        self._no_workers.clear()
        if not self._workers and not self._admission.slots.is_waiting(self):
            return True
        try:
            await asyncio.wait_for(self._no_workers.wait(), self._deadline.until(moment))
        except TimeoutError:
            return False
        return True
