"""A batch of a ``def`` handler, whose workers are threads that take records themselves.

A thread writes the outcome of a record that is done. It reports everything else to the event loop, which logs, settles,
and decides whether a FIFO lane goes on.

A worker *holds* a record while it runs it. Its outcome is decided by the one that removes it from ``_Worker.held``: the
thread, when the handler ends, or the event loop, when the record's time is up. Removing is atomic, so only one does.

``ThreadNeed`` decides how many threads there are.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from fanfold._base.ordering import Lane, TenantLanes, Unit
from fanfold._base.outcome import DONE
from fanfold._base.record import Record
from fanfold._base.threads import storable
from fanfold._consumer.batch import FIRST_LOOK_SECONDS, Batch
from fanfold._consumer.classify import is_awaitable, success_of
from fanfold._consumer.outcomes import ABANDONED
from fanfold._consumer.thread_need import ThreadNeed
from fanfold._consumer.worker_tasks import Timer, create_task, run_awaitable

_LOOK_SECONDS: Final = 0.001
"""Time until the second look, doubled after each look until ``_MAX_LOOK_SECONDS``."""
_MAX_LOOK_SECONDS: Final = 0.02
_MAX_REPORTS: Final = 64
"""Records that are reported and not read, from which the threads wait for the event loop."""
_REPORT_SECONDS: Final = 0.001
"""Time of such a wait."""

_Held: TypeAlias = tuple[Lane, int, float]
"""The record that a worker runs: its lane, the index of its unit in the lane, and the time of its start."""


class _Worker:
    """A thread that processes records."""

    __slots__ = ("held", "is_admitted")

    def __init__(self) -> None:
        self.held: list[_Held] = []
        """The record that it runs; empty between two records."""
        self.is_admitted = False
        """True once it has processed a record, and may yield its slot to another batch."""


_Report: TypeAlias = tuple[_Worker, _Held, Any, contextvars.Context]
"""A record that is not simply done: its worker, where it stands, what its handler returned or raised, its context."""


class ThreadBatch(Batch):
    """A batch whose handlers run on threads. It can start on any thread; see the module."""

    _has_looked = _is_hearing = False  # the latter: True while the event loop is about to read the reports

    def __init__(self, *args: Any, need: ThreadNeed, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert self._handler.on_thread is not None  # noqa: S101 - otherwise it is a TaskBatch
        self._call: Callable[[Record], Any] = self._handler.on_thread
        self._threads = self._environment.threads
        self._need = need
        self._to_do: deque[Lane] | TenantLanes = deque(self._lanes) if self._tenants is None else self._tenants
        self._workers: set[_Worker] = set()
        """Workers that run, those included whose lane the event loop goes on with."""
        self._tasks: set[asyncio.Task[None]] = set()  # of the event loop, for records whose thread has returned
        self._reports: deque[_Report] = deque()
        self._admission_lock = threading.Lock()
        self._waits: threading.Event | None = None
        """Ends the wait of the worker that waits for its admission."""
        self._started_at = self._looked_at = self._deadline.clock()
        self._look_seconds = FIRST_LOOK_SECONDS
        self._ended = 0
        """Records that have ended; several threads count, so it is not exact."""
        self._ended_at_look = 0
        self._occupied = 0
        """Slots whose thread still runs a record that was given up."""

    @property
    def wanted_workers(self) -> int:
        """Number of workers that the remaining records need: one, until it is known that the handlers wait."""
        if not self._to_do:  # the usual end, without asking the clock
            return 0
        return super().wanted_workers if self._need.handlers_wait else min(super().wanted_workers, 1 + self._occupied)

    @property
    def records_in_flight(self) -> int:
        """Number of calls of the handler that run."""
        return sum(len(worker.held) for worker in list(self._workers)) + len(self._tasks)

    def _has_lanes(self) -> bool:
        return bool(self._to_do)

    def _workers_left(self) -> int:
        return len(self._workers)

    def start_workers(self, count: int) -> None:
        """Start workers in slots that were granted."""
        self._start_workers(count, self._admission.slots.give_back)

    def _start_one(self) -> None:
        worker = _Worker()
        self._workers.add(worker)
        self._admission.slots.has_started(self)  # before it can end
        self._resume(worker)

    def _resume(self, worker: _Worker) -> None:
        self._workers.add(worker)
        try:
            self._threads.start(lambda: self._work(worker))
        except BaseException:
            self._workers.discard(worker)
            raise

    # --- On the worker's thread.

    def _work(self, worker: _Worker) -> Callable[[], object]:
        """Run as a worker; return what to do once its thread is available again."""
        try:
            ends = self._process(worker)
        except BaseException as error:  # noqa: BLE001  # pragma: no cover - a bug of ours: the record is redelivered
            ends = True
            self._on_loop(self._outcomes.log_error_of_worker, error)
        return functools.partial(self._worker_ended, worker) if ends else bool

    def _worker_ended(self, worker: _Worker) -> None:
        self._admission.slots.release(self)  # first: while the batch has a worker, it has not ended
        self._workers.discard(worker)
        self._end_if_idle()

    def _process(self, worker: _Worker) -> bool:  # noqa: C901, PLR0912 - one frame
        """Process lanes until none is left or the deadline is near.

        Returns:
            True if the worker ends; False if the event loop goes on with its lane, or has given up waiting for it.
        """
        clock, stops_at, admission = self._deadline.clock, self._stops_at, self._admission
        call, records, outcomes, keeps = self._call, self.records, self._outcomes.values, self._keep_details
        to_do, held, new_context, tells_of_ends = self._to_do, worker.held, self._context.copy, self._tells_of_ends
        while True:
            try:
                lane = to_do.popleft()
            except IndexError:
                return True
            for index, (position,) in enumerate(lane):
                if (now := clock()) < admission.free_until:
                    held.append((lane, index, now))
                elif self._may_start(worker, lane, index):
                    now = clock()  # it may have waited
                else:
                    to_do.appendleft(lane[index:])
                    return True
                # After it is held: either this sees a cancellation, or who cancels sees the record.
                if now >= stops_at or self._cancelled or self._closed:
                    to_do.appendleft(lane[index:])
                    return self._lets_go(worker)
                outcomes[position] = ABANDONED
                context = new_context()
                try:
                    value = context.run(call, records[position])
                except BaseException as error:  # noqa: BLE001 - every failure is one of this record
                    value = storable(error)
                if tells_of_ends and self._has_ended(lane[index], now, value):
                    admission.slots.fill()
                try:
                    standing = held.pop()
                except IndexError:
                    if inspect.iscoroutine(value):
                        value.close()  # nothing awaits it any more
                    return self._lets_go(worker)
                self._ended += 1
                if value is None:
                    outcomes[position] = DONE
                elif (outcome := success_of(value)) is not None:
                    outcomes[position] = outcome if keeps else DONE
                elif not self._report(worker, standing, value, context):
                    return False

    def _has_ended(self, unit: Unit, started_at: float, value: object) -> bool:
        return (value is None or not is_awaitable(value)) and self._unit_ended(unit, started_at, value)

    def _lets_go(self, worker: _Worker) -> bool:
        """Hold no record; return False if the event loop has stored an outcome of the last one meanwhile."""
        try:
            worker.held.pop()
        except IndexError:
            self._threads.left.discard(worker)
            self._on_loop(self._thread_returned)
            return False
        return True

    def _report(self, worker: _Worker, standing: _Held, value: object, context: contextvars.Context) -> bool:
        """Report to the event loop what is not simply done; return whether this thread goes on with the lane."""
        goes_on = not (self._outcomes.is_fifo or is_awaitable(value))
        while len(self._reports) >= _MAX_REPORTS and not self._closed and self._deadline.clock() < self._stops_at:
            time.sleep(_REPORT_SECONDS)  # errors keep the variables of their handlers alive
        self._reports.append((worker, standing, value, context))
        if not self._is_hearing:
            self._is_hearing = True
            self._on_loop(self._hear)
        return goes_on

    def _may_start(self, worker: _Worker, lane: Lane, index: int) -> bool:
        """Wait until a record may start, one worker at a time; then the worker holds it.

        Returns:
            False if this worker should end instead: no more records start, or another batch needs its slot.
        """
        admission, stops_at = self._admission, self._stops_at
        if worker.is_admitted and admission.slots.should_yield(self):
            return False
        worker.is_admitted = True
        with self._admission_lock:
            while (now := self._deadline.clock()) < stops_at and not self._cancelled:
                if not (seconds := self._wait_of_start(now, lane[index])):
                    worker.held.append((lane, index, now))  # before others ask how many run
                    return True
                if self._refusal is not None:
                    return False
                self._waits = threading.Event()
                if not self._cancelled:  # pragma: no branch - otherwise, nobody sets the event
                    self._waits.wait(min(seconds, stops_at - now))
        return False

    # --- On the event loop.

    def supervise(self) -> None:
        """Watch the deadline, the timeouts, and whether more threads are of use."""
        super().supervise()
        if self._on_ended:
            self._calls.later(self._looked_at + self._look_seconds, self._look)
            if self._timeout is not None:
                self._calls.later(self._started_at + self._timeout, self._end_timeouts)

    def _look(self) -> None:
        """Start more threads if the handlers wait, and look again later if they do not."""
        if not self._on_ended:  # pragma: no cover - it has just ended
            return
        self._has_looked = True
        now, ended = self._deadline.clock(), self._ended
        seconds, late = now - self._looked_at, now - self._looked_at - self._look_seconds
        self._need.look(seconds, ended - self._ended_at_look, late)
        if self._need.handlers_wait:
            self._admission.slots.want(self)
            return
        self._looked_at, self._ended_at_look = now, ended
        self._look_seconds = min(max(_LOOK_SECONDS, 2 * self._look_seconds), _MAX_LOOK_SECONDS)
        self._calls.later(now + self._look_seconds, self._look)

    def _end_timeouts(self) -> None:
        """Fail the records that take longer than the timeout; their threads keep their slots until they return."""
        assert self._timeout is not None  # noqa: S101 - see ``supervise``
        now = oldest = self._deadline.clock()
        for worker in list(self._workers):
            for standing in list(worker.held):
                if now - standing[2] < self._timeout:
                    oldest = min(oldest, standing[2])
                else:
                    self._give_up(worker, standing, self._timeout_error())
        self._calls.later(oldest + self._timeout, self._end_timeouts)
        self._admission.slots.want(self)  # other slots may be free
        self._end_if_idle()

    def _give_up(self, worker: _Worker, standing: _Held, error: BaseException) -> None:
        """Store the outcome of a record whose thread still runs it, unless it has just ended."""
        self._threads.left.add(worker)
        try:
            worker.held.remove(standing)
        except ValueError:  # pragma: no cover - at this moment
            self._threads.left.discard(worker)
            return
        self._store(standing, error)
        if self._outcomes.is_fifo:
            self._outcomes.skip_rest_of_lane(standing[0], standing[0][standing[1]])
        self._occupied += 1
        self._workers.discard(worker)  # last: without a worker, a thread may end the batch

    def _timeout_error(self) -> TimeoutError:
        return TimeoutError(f"the handler took longer than {self._timeout} s")

    def _thread_returned(self) -> None:
        """Free the slot of a thread whose record had been given up."""
        self._occupied -= 1
        if not self._closed:
            self._admission.slots.release(self)

    def _cancel_each_worker(self) -> None:
        if self._waits is not None:
            self._waits.set()
        for worker in list(self._workers):
            for standing in list(worker.held):
                self._give_up(worker, standing, _cancelled())
        for task in self._tasks:
            if not task.cancelling():  # only once, so that a rollback after a timeout is not interrupted
                task.cancel()
        self._end_if_idle()

    def _hear(self) -> None:
        """Store the outcomes that threads have reported, and go on with what only the event loop can."""
        self._is_hearing = False  # from now on, a thread that reports calls again
        while self._reports:
            worker, standing, value, context = self._reports[0]
            try:
                if self._outcomes.is_fifo or is_awaitable(value):
                    self._begin_to_go_on(worker, standing, value, context)
                else:
                    self._store(standing, value)
            except Exception as error:  # noqa: BLE001  # pragma: no cover - a bug of ours: the record is redelivered
                self._outcomes.log_error_of_worker(error)
            finally:
                self._reports.popleft()  # last: while there is a report, the batch has not ended
        self._end_if_idle()

    def _begin_to_go_on(self, worker: _Worker, standing: _Held, value: Any, context: contextvars.Context) -> None:
        going_on = self._go_on(worker, standing, value, context)
        try:
            task = create_task(self._loop, going_on, self._context.copy())
        except Exception as error:  # noqa: BLE001 - a task factory of the user's
            going_on.close()
            self._outcomes.log_error_of_worker(error)
            self._store(standing, value)
            self._worker_ended(worker)
        else:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _store(self, standing: _Held, value: object) -> bool:
        lane, index, _ = standing
        return self._outcomes.store(lane[index], [value])

    async def _go_on(self, worker: _Worker, standing: _Held, value: Any, context: contextvars.Context) -> None:
        """Await what a handler returned, decide whether a FIFO lane continues, and resume the worker."""
        lane, index, started_at = standing
        if is_awaitable(value):
            value = await self._result_of(value, context, started_at)
            if self._tells_of_ends and self._unit_ended(lane[index], started_at, value):
                self._admission.slots.fill()
        rest = lane[index + 1 :]
        continues = self._store(standing, value)
        if self._outcomes.is_fifo and not (continues and await self._lane_continues(lane[index])):
            self._outcomes.skip_rest_of_lane(lane, lane[index])
            rest = ()
        if rest:
            self._to_do.appendleft(rest)
        try:
            self._resume(worker)
        except RuntimeError:  # pragma: no cover - no thread can be started, and that of the worker has another call
            self._worker_ended(worker)

    async def _lane_continues(self, unit: Unit) -> bool:
        try:
            return await self._outcomes.lane_continues(unit)
        except asyncio.CancelledError:  # the batch ends; its worker has to end, too
            return False

    async def _result_of(self, awaitable: Any, context: contextvars.Context, started_at: float) -> object:
        """Return the value of an awaitable that a handler returned, or its error, in the context of its record."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine of a task
        left = None if self._timeout is None else started_at + self._timeout - self._deadline.clock()
        timer = None if left is None else Timer(task, max(0.0, left))
        try:
            if self._cancelled:  # pragma: no cover - after the handler returned and before this was heard
                task.cancel()
            value: object = await run_awaitable(self._loop, awaitable, context)
        except BaseException as error:  # noqa: BLE001 - every failure is one of this record
            value = error
        finally:
            if timer is not None:
                timer.stop()
        if task.cancelling():
            value = self._timeout_error() if timer and timer.fired else _cancelled()
        while task.cancelling():
            task.uncancel()
        return value

    def _end_if_idle(self) -> None:
        if not self._reports:  # otherwise the event loop calls this once it has read them
            super()._end_if_idle()

    def _close(self) -> None:
        super()._close()
        if not self._has_looked:
            self._need.handlers_wait = False  # it was quick


def _cancelled() -> asyncio.CancelledError:
    return asyncio.CancelledError("cancelled: the invocation was about to time out")
