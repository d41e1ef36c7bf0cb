"""A batch whose workers are asyncio tasks.

They are not an anyio task group: at the deadline, each is cancelled once with ``Task.cancel()``. A handler's
``finally: await rollback()`` can then finish, and a handler that suppresses its cancellation is abandoned instead of
being cancelled repeatedly.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import sys
import weakref
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from fanfold._base.ordering import Lane, TenantLanes, Unit
from fanfold._base.outcome import DONE
from fanfold._base.threads import StillRunningError
from fanfold._consumer.batch import Batch
from fanfold._consumer.outcomes import ABANDONED
from fanfold._consumer.worker_tasks import Timer, is_running, is_same, prepared_task, start_task

_YIELD_SECONDS: Final = 0.02
"""Interval at which handlers that never await let the event loop run its other tasks; at most twice as long."""


class TaskBatch(Batch):
    """A batch whose handlers run in tasks on the event loop, or on threads that these tasks wait for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._workers: set[asyncio.Task[Any]] = set()
        self._admitted: set[int] = set()
        """Ids of workers that have processed a record, and may yield their slot to another batch."""
        self._returned: deque[Lane] | TenantLanes = deque() if self._tenants is None else self._tenants
        """Lanes, or the rest of one, that workers have given back; with a limit for each tenant, all lanes."""
        self._exhausted = self._tenants is not None
        """True once a worker has found no more lanes, apart from those that were given back."""
        self._running = 0
        self._admission_lock: asyncio.Lock | None = None
        self._first_wait = 0.0
        """Wait of the worker that is the first to queue up, in seconds."""
        self._cancelled_by_handler: set[asyncio.Task[Any]] = set()
        """Workers that a handler cancelled and may cancel again, such as through a cancel scope that it left open."""
        self._blocked_threads: set[asyncio.Task[Any]] = set()
        """Workers whose thread still runs a record that timed out. The thread continues to count toward concurrency."""
        self._yield_at = self._deadline.clock() + _YIELD_SECONDS
        """When the next worker must yield to the event loop, unless the loop runs its other tasks before."""
        self._is_turning = False
        """True while a callback waits for the next turn of the event loop."""
        self._yielding = 0
        """Number of workers that have taken a record and yielded; they start it before others start theirs."""

    @property
    def wanted_workers(self) -> int:
        """Number of workers that the remaining records need."""
        return 0 if self._exhausted and not self._returned else super().wanted_workers

    @property
    def records_in_flight(self) -> int:
        """Number of calls of the handler that run."""
        return self._running

    def _running_with_this_one(self) -> int:
        return self._running + 1

    def _has_lanes(self) -> bool:
        return not self._exhausted or bool(self._returned)

    def _workers_left(self) -> int:
        return len(self._workers)

    def _cancel_each_worker(self) -> None:
        for worker in self._workers:
            if not worker.cancelling():  # only once, so that a rollback after a timeout is not interrupted
                worker.cancel()

    def start_workers(self, count: int) -> None:
        """Start workers in slots that were granted, by whichever thread."""
        self._on_loop(self._start_on_loop, count)

    def _start_on_loop(self, count: int) -> None:
        slots = self._admission.slots
        slots.has_started(self, count)  # nothing else on this loop can end the batch before it has a worker
        self._start_workers(count, slots.release)

    def _start_one(self) -> None:
        self._start_with(())

    def _start_with(self, lane: Lane) -> None:
        worker = start_task(self._loop, self._work(lane), self._context.copy())
        # From Python 3.12 on, it has taken its first step. Before, it may be cancelled without having taken one.
        if worker not in self._workers and not worker.done():  # pragma: no branch
            self._workers.add(worker)
            worker.add_done_callback(self._worker_ended)

    def _replace_worker(self, lane: Lane) -> bool:
        """Start a worker in the slot of one that ended, and return whether that succeeded."""
        before = set(self._workers)
        started = self._starts(lambda: self._start_with(lane))
        self._admitted.update(map(id, self._workers - before))  # it may yield before its first record
        return started

    def _worker_ended(self, worker: asyncio.Task[Any]) -> None:
        self._workers.discard(worker)
        self._admitted.discard(id(worker))
        error = asyncio.CancelledError("by a handler") if worker.cancelled() else worker.exception()
        lane: Lane | None = None
        if not (self._cancelled or self._closed):
            if error is not None:  # pragma: no cover - a bug of ours, or a handler that cancels its worker
                self._outcomes.log_error_of_worker(error)
            # A new worker starts only now, after the callbacks that the last record added to its task.
            lane = worker.result() if error is None else ()
        if lane is None or not self._replace_worker(lane):
            self._end_worker(worker)

    def _end_worker(self, worker: asyncio.Task[Any]) -> None:
        self._workers.discard(worker)
        self._admitted.discard(id(worker))
        if worker not in self._blocked_threads:
            self._admission.slots.release(self)
        self._end_if_idle()

    async def _work(self, started: Lane) -> Lane | None:
        """Run as a worker: ``_process`` lanes, and report the end without a callback on the task.

        A task that has no callback shows at a glance whether a record has added one.
        """
        task = prepared_task()
        self._workers.add(task)
        task.remove_done_callback(self._worker_ended)  # it was for a cancellation before this first step
        rest: Lane | None = ()
        try:
            rest = await self._process(task, started)
        finally:
            if rest is None and not self._has_lanes() and not self._admission.slots.crowded:
                self._end_worker(task)  # nothing follows: end without a turn of the loop
            elif is_running(task):  # pragma: no branch - otherwise, this coroutine is closed, and its loop has ended
                self._loop.call_soon(self._worker_ended, task, context=self._context)
        return rest

    async def _process(self, task: asyncio.Task[Any], started: Lane) -> Lane | None:  # noqa: C901, PLR0912 - one frame
        """Process lanes until none is left or the deadline is near, and store the outcome of each record.

        Args:
            task: The worker's task.
            started: The rest of a lane that another worker started.

        Returns:
            The rest of the lane if its last record left something on this worker, so that a new worker continues;
            None if this worker has nothing left to do.
        """
        clock, stops_at, admission = self._deadline.clock, self._stops_at, self._admission
        records, outcomes, (call, takes_list, _) = self.records, self._outcomes.values, self._handler
        timeout, copy_context = self._timeout, contextvars.copy_context
        clean_context, name = copy_context(), task.get_name()
        has_variables = len(clean_context) > 0
        references, weak_references, tells_of_ends = sys.getrefcount, weakref.getweakrefcount, self._tells_of_ends
        # The sum, because an eager task's counts shift between strong and weak at its first suspension.
        attached = references(task) + weak_references(task)
        for lane in self._lanes_from(started):
            for unit in lane:
                now = clock()
                if now >= self._yield_at and self._must_yield(now):
                    now = await self._yield()
                if now >= admission.free_until:  # last: an admitted record starts before another one is admitted
                    if self._wait_now(task, now, unit) and not await self._may_start(task, unit):
                        self._returned.appendleft(lane[lane.index(unit) :])
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
                ended = value
                if task.cancelling() or task._must_cancel:  # type: ignore[attr-defined] # noqa: SLF001 - uncancel() keeps it
                    if issubclass(type(value), StillRunningError):
                        self._blocked_threads.add(task)
                    value = await self._cancellation_error(task, timer)
                if tells_of_ends and self._unit_ended(unit, now, ended, value):
                    self._loop.call_soon(admission.slots.fill)  # not here: a worker may run its first record now
                if value is None and not takes_list:
                    outcomes[unit[0]], lane_continues = DONE, True
                else:
                    lane_continues = await self._store(lane, unit, value)
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

    async def _store(self, lane: Lane, unit: Unit, value: object) -> bool:
        """Store what a call returned or raised; return whether the lane continues.

        If a stage raised, its error counts for each record; otherwise it returned a value for each.
        """
        is_list = issubclass(type(value), list)  # isinstance asks an error for its class, which may raise
        results: Any = value if self._handler.takes_list and is_list else [value] * len(unit)
        continues = self._outcomes.store(unit, results)
        if self._outcomes.is_fifo and not (continues and await self._outcomes.lane_continues(unit)):
            self._outcomes.skip_rest_of_lane(lane, unit)
            return False
        return True

    async def _yield(self) -> float:
        """Let the event loop run its other tasks; return the current time."""
        self._yielding += 1
        await asyncio.sleep(0)
        self._yielding -= 1
        return self._deadline.clock()

    def _must_yield(self, now: float) -> bool:
        """Return whether the event loop has run no other task for an interval, although it was asked to."""
        if self._is_turning or self._yielding:
            return True
        self._is_turning = True
        self._yield_at = now + _YIELD_SECONDS
        self._loop.call_soon(self._turned)
        return False

    def _turned(self) -> None:
        self._is_turning = False
        self._yield_at = self._deadline.clock() + _YIELD_SECONDS

    def _lanes_from(self, started: Lane) -> Iterator[Lane]:
        """Return the lanes for a worker: a started one and those that others have given back, and then the rest."""
        lanes = self._lanes if self._tenants is None else iter(())
        if not (started or self._returned):
            return lanes
        return chain((started,) if started else (), self._returned_lanes(), lanes)

    def _returned_lanes(self) -> Iterator[Lane]:
        with contextlib.suppress(IndexError):
            while True:
                yield self._returned.popleft()

    def _wait_now(self, worker: asyncio.Task[Any], now: float, unit: Unit) -> float:
        """Return 0 if the next unit may start now, which counts as its start, and otherwise how long it waits."""
        if self._admission.slots.crowded or (self._admission_lock is not None and self._admission_lock.locked()):
            return math.inf  # unknown: it has to queue up
        self._admitted.add(id(worker))  # not the worker: that would look like a leftover
        self._first_wait = self._wait_of_start(now, unit)
        return self._first_wait

    async def _may_start(self, worker: asyncio.Task[Any], unit: Unit) -> bool:
        """Wait until the next unit may start, or until no more may, one worker at a time.

        Returns:
            False if this worker should end instead: another batch needs its slot, or no more records start.
        """
        if id(worker) in self._admitted and self._admission.slots.should_yield(self):
            return False
        self._admitted.add(id(worker))
        if self._admission_lock is None:
            self._admission_lock = asyncio.Lock()
        async with self._admission_lock:
            while (now := self._deadline.clock()) < self._stops_at and not self._cancelled:
                seconds, self._first_wait = self._first_wait or self._wait_of_start(now, unit), 0.0
                if not seconds:
                    break
                if self._refusal is not None:
                    return False
                await asyncio.sleep(min(seconds, self._stops_at - now))
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
