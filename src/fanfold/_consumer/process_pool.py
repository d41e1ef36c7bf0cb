"""Worker processes for a ``def`` handler: every core, and nothing that cannot be stopped.

A record waits in one queue until a process is free. Quick records travel in frames, of which a process runs one after
another; how many depends on how long the last frame took. If a record runs long, those behind it in its frame are taken
back. A process whose record takes too long is ended and replaced: the record fails, and the others run elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from fanfold._base.context import BatchContext
from fanfold._base.log import logger
from fanfold._base.log_context import RECORD_KEYS
from fanfold._base.operating_system import private_bytes, resident_bytes
from fanfold._base.outcome import Failed, NotStarted
from fanfold._base.record import Record
from fanfold._consumer.process_job import Job, PoolBatch, Spec
from fanfold._consumer.process_slot import RETIRE_SECONDS, Child, Slot
from fanfold._consumer.process_values import described, error_of, restored, restored_outcome
from fanfold._consumer.process_wire import BODY, MOST_RECORDS, NOTHING, RECORD
from fanfold._consumer.xray import TRACE_VARIABLE, open_subsegment
from fanfold.errors import WorkerProcessError

_LOOK_SECONDS: Final = 0.02
"""Interval of looks at the processes while records are in flight."""
_LONG_SECONDS: Final = 0.05
"""Time of a record after which those behind it are taken back."""
_BEGIN_SECONDS: Final = 5.0
"""Time that a process has to begin with its frame; it may be stopped."""
_RECALL_SECONDS: Final = 0.001
"""Time from the limit of a frame until it is known what has started."""
_GROWS_BELOW_SECONDS, _SHRINKS_ABOVE_SECONDS = 0.002, 0.004
"""Times of a frame: below the first, the next one has twice the records; above the second, half of them."""
_MOST_BYTES: Final = 256 * 1024
"""Maximum size of the bodies of a frame with more than one record."""
_WEIGH_SECONDS: Final = 0.5
"""Least time between two looks at the memory of a process."""
_EARLY_DEATHS: Final = 20
"""Deaths in a row before a process ran a record, after which records fail instead of waiting for the next one."""
_OUT_OF_TIME: Final = NotStarted("the invocation was about to time out")


class ProcessPool:
    """The worker processes of one consumer, on one event loop.

    Args:
        spec: What they run.
        processes: Number of processes, at least 1.
        memory_share: Memory in bytes above which a process is replaced after its frame; None for no limit.
        started: Processes that were started before.
    """

    def __init__(
        self, spec: Spec, processes: int, *, memory_share: float | None = None, started: Sequence[Child] = ()
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._spec = spec
        self._queue: deque[Job] = deque()
        self._slots: list[Slot] = []
        self._dying: set[Slot] = set()
        self._broken = ""
        """Why no process can run the handler; empty if one can."""
        self._early_deaths = 0
        self._look: asyncio.TimerHandle | None = None
        self._is_closed = self._is_feeding = False
        self._processes = processes
        self._memory_share = memory_share
        for child in started:
            self._adopt(child)
        self._restore()

    # --- For the batches.

    def begin(self, shared: BatchContext[Any], timeout: float | None, *, keeps_values: bool) -> PoolBatch:
        """Return a batch as the processes know it.

        Args:
            shared: The context of its records.
            timeout: Seconds after which a record fails; None for no limit.
            keeps_values: Whether something reads what the handlers return.
        """
        self._broken, self._early_deaths = "", 0  # a new batch tries again
        self._restore()
        context = described(shared) if self._spec.takes != BODY else None
        message = ("batch", context, os.environ.get(TRACE_VARIABLE), keeps_values)
        return PoolBatch(message, shared.deadline, timeout)

    def call(self, record: Record, batch: PoolBatch) -> Coroutine[Any, Any, Any]:
        """Run the handler of a consumer for a record, as ``run`` does."""
        content = record.raw if self._spec.takes == RECORD else record.body
        return self.run(record.message_id, content, len(record.body), batch)

    async def run(self, message_id: str, content: Any, size: int, batch: PoolBatch) -> Any:
        """Run the handler for a record in a process, and return its value or its outcome.

        Args:
            message_id: The id of the record, for log records.
            content: What the handler needs of it.
            size: Size of the content in bytes, approximately.
            batch: The batch of the record.

        Raises:
            WorkerProcessError: If its process has ended, or no process can run the handler.
            TimeoutError: If it took longer than the timeout.
            BaseException: What the handler raised.
        """
        if self._broken:
            raise WorkerProcessError(self._broken)
        job = Job((message_id, content, open_subsegment()), size, batch, self._loop.create_future())
        self._queue.append(job)
        if not self._is_feeding:
            self._is_feeding = True
            self._loop.call_soon(self._feed)  # with what other workers add until then
        try:
            result = await job.future
        except asyncio.CancelledError:
            await self._withdraw(job)
            raise
        if isinstance(result, Failed):
            raise result.error
        return result

    def close(self) -> None:
        """End all processes: those that run a record immediately, and the others after their lifespans, together."""
        self._is_closed = True
        slots = [slot for slot in (*self._slots, *self._dying) if not slot.has_died]
        for slot in slots:
            slot.hang_up()
        kills_at = time.monotonic() + RETIRE_SECONDS
        for slot in sorted(slots, key=_is_idle):
            slot.close(kills_at - time.monotonic() if _is_idle(slot) else 0.0)
        if self._look is not None:
            self._look.cancel()

    @property
    def pids(self) -> list[int]:
        """The ids of the processes, those included that are ending."""
        return [slot.pid for slot in (*self._slots, *self._dying)]

    def resident_bytes(self) -> int | None:
        """Return the memory of the consumer's process and of all of its worker processes; None if it is unknown."""
        own = resident_bytes()
        return None if own is None else own + sum(map(private_bytes, self.pids))

    # --- Frames.

    def _feed(self) -> None:
        """Send records to the processes that have none."""
        self._is_feeding = False
        if self._broken and not self._slots:
            self._break(self._broken)  # records of a process that has just ended
        for slot in self._slots:
            if not self._queue:
                break
            if slot.is_ready and not slot.jobs and not slot.killed_for:
                self._send_frame(slot)
        if self._look is None and (self._queue or any(slot.jobs for slot in self._slots)):
            self._look = self._loop.call_later(_LOOK_SECONDS, self._look_at_all)

    def _send_frame(self, slot: Slot) -> None:
        left = MOST_RECORDS if self._spec.max_tasks is None else self._spec.max_tasks - slot.records
        if jobs := self._take_jobs(min(slot.size, left)):  # pragma: no branch - all of them may be cancelled
            batch = jobs[0].batch
            if slot.batch is not batch:
                slot.batch = batch
                slot.send(batch.message)
            stops_at = time.monotonic() + batch.deadline.stops_at - batch.deadline.clock()
            slot.start_frame(jobs, [job.payload for job in jobs], stops_at)

    def _take_jobs(self, size: int) -> list[Job]:
        """Take the records of a frame: of one batch, and no more than an equal share for each process."""
        share = max(1, min(size, MOST_RECORDS, -(-len(self._queue) // len(self._slots))))
        jobs: list[Job] = []
        total_bytes = 0
        while self._queue and len(jobs) < share:
            job = self._queue[0]
            total_bytes += job.size
            if jobs and (job.batch is not jobs[0].batch or total_bytes > _MOST_BYTES):
                break
            self._queue.popleft()
            if job.future.done():  # cancelled
                continue
            if job.batch.deadline.clock() >= job.batch.deadline.stops_at:
                job.future.set_result(_OUT_OF_TIME)
            else:
                jobs.append(job)
        return jobs

    def received(self, slot: Slot, message: Any) -> None:
        """Note what a process reports."""
        kind, *values = message
        if kind == "ready":
            slot.is_ready = True
            self._feed()
        elif kind == "broken":
            self._could_not_start(slot, f"the worker process could not import the handler: {values[0]}")
        elif kind == "log":
            self._log(slot, *values)
        elif kind == "end":
            self._end_frame(slot, values[1])
        elif kind == "progress":
            self._take_done(slot)
        else:
            self._store(slot, kind, *values)

    def _store(self, slot: Slot, kind: str, _frame: int, position: int, value: Any) -> None:
        self._take_done(slot)
        job = slot.jobs[position]
        if not job.future.done() and position != slot.target:  # pragma: no branch - at that moment
            job.future.set_result(Failed(restored(*value)) if kind == "failed" else restored_outcome(value))

    def _take_done(self, slot: Slot) -> None:
        """End the records that have returned None."""
        jobs, page = slot.jobs, slot.page
        while slot.seen < min(len(jobs), slot.target):
            future = jobs[slot.seen].future
            if page.is_done(slot.seen):
                if not future.done():  # pragma: no branch - it may be cancelled
                    future.set_result(None)
            elif not future.done():
                return
            slot.seen += 1

    def _end_frame(self, slot: Slot, end: int) -> None:
        """Note that a process has ended a frame, or has stopped before a position."""
        self._take_done(slot)
        seconds, jobs = time.monotonic() - slot.sent_at, slot.jobs
        slot.jobs = ()
        self._fail(jobs[:end], slot, "it went on")  # only the one that it is being ended for, if there is one
        self._requeue(jobs[end:])
        slot.records += end
        self._early_deaths = 0
        if self._is_worn(slot):
            self._replace(slot)
            slot.retire()
        if seconds < _GROWS_BELOW_SECONDS:
            slot.size = min(2 * slot.size, MOST_RECORDS)
        elif seconds > _SHRINKS_ABOVE_SECONDS:
            slot.size = max(1, slot.size // 2)
        self._feed()

    def _is_worn(self, slot: Slot) -> bool:
        """Return whether a process has run its number of records, or takes more than its share of the memory."""
        if self._spec.max_tasks is not None and slot.records >= self._spec.max_tasks:
            return True
        now = time.monotonic()
        if self._memory_share is None or now < slot.weighed_at + _WEIGH_SECONDS:
            return False
        slot.weighed_at = now
        return private_bytes(slot.pid) > self._memory_share

    def _fail(self, jobs: Sequence[Job], slot: Slot, how: str) -> None:
        """Fail the records that have not ended."""
        for job in jobs:
            if not job.future.done():
                job.future.set_result(Failed(error_of(slot.killed_for, how)))

    def _requeue(self, jobs: Sequence[Job]) -> None:
        self._queue.extendleft(job for job in reversed(jobs) if not job.future.done())

    # --- What takes long.

    def _look_at_all(self) -> None:
        """End processes whose record takes too long, and take back what waits behind a long one."""
        self._look = None
        for slot in list(self._slots):
            if slot.jobs and not slot.killed_for:
                self._look_at(slot)
        self._expire()
        self._feed()

    def _look_at(self, slot: Slot) -> None:
        self._take_done(slot)
        timeout = slot.jobs[0].batch.timeout
        seconds = slot.running_seconds
        if timeout is not None and seconds >= timeout:
            self._kill(slot, f"the handler took longer than {timeout} s")
        elif seconds > _LONG_SECONDS and slot.running + 1 < len(slot.jobs) and slot.page.limit == NOTHING:
            slot.page.limit = slot.running + 1
            self._loop.call_later(_RECALL_SECONDS, self._recall, slot, slot.frame)
        elif not slot.begun and time.monotonic() - slot.sent_at > _BEGIN_SECONDS:
            self._kill(slot, "the worker process did not begin")
        elif timeout is not None and seconds and timeout - seconds < _LOOK_SECONDS:
            self._loop.call_later(timeout - seconds, self._look_at_one, slot, slot.frame)

    def _look_at_one(self, slot: Slot, frame: int) -> None:
        if slot.frame == frame and slot.jobs and not slot.killed_for:  # pragma: no branch - it may just have ended
            self._look_at(slot)

    def _recall(self, slot: Slot, frame: int) -> None:
        """Take back the records that cannot start any more."""
        if slot.frame == frame and slot.jobs and slot.running != NOTHING:  # pragma: no branch - as above
            first = max(slot.running + 1, slot.page.limit)
            self._requeue(slot.jobs[first:])
            slot.jobs = slot.jobs[:first]
            slot.size = 1
            self._feed()

    def _expire(self) -> None:
        """End the records that no process has started in time."""
        for job in [job for job in self._queue if job.batch.deadline.clock() >= job.batch.deadline.stops_at]:
            self._queue.remove(job)
            if not job.future.done():  # pragma: no branch - it may be cancelled
                job.future.set_result(_OUT_OF_TIME)

    def _kill(self, slot: Slot, reason: str) -> None:
        slot.kill(reason)
        self._replace(slot)

    async def _withdraw(self, job: Job) -> None:
        """Let a record not run any longer: end the process that may run it, and wait for its death."""
        for slot in (*self._slots, *self._dying):
            if job in slot.jobs:
                if not slot.killed_for:  # pragma: no branch - by another record of its frame
                    self._kill(slot, "cancelled: the invocation was about to time out")
                await slot.wait()

    # --- Processes.

    def _adopt(self, child: Child) -> None:
        slot = Slot(child, self, self._loop)
        self._slots.append(slot)
        slot.send({**self._spec._asdict(), "log_level": logging.root.level})

    def _replace(self, slot: Slot) -> None:
        """Start a process in place of one that ends."""
        if slot in self._slots:
            self._slots.remove(slot)
            self._dying.add(slot)
            if not self._broken and not self._is_closed:
                self._restore()

    def _restore(self) -> None:
        while len(self._slots) < self._processes and not self._broken:
            try:
                self._adopt(Child())
            except OSError as error:
                if not self._slots:
                    self._break(f"no worker process can be started: {error}")
                return

    def died(self, slot: Slot, how: str) -> None:
        """Decide about the records of a process that has ended: none that has not run to its end is done."""
        self._take_done(slot)
        begun, jobs, slot.jobs = slot.begun, slot.jobs, ()
        # Up to the record that runs, what is not known to be done may have been lost on its way.
        self._fail(jobs[:begun], slot, how)
        self._requeue(jobs[begun:])
        if not slot.killed_for and (not slot.is_ready or (jobs and not begun)):
            self._early_deaths += 1
            if self._early_deaths >= _EARLY_DEATHS:
                moment = "before it ran the handler" if slot.is_ready else "while it started"
                self._could_not_start(slot, f"the worker process ended {moment}: {how}")
        self._replace(slot)
        self._dying.discard(slot)
        self._feed()

    def _could_not_start(self, slot: Slot, reason: str) -> None:
        """Continue with the other processes, without a replacement until the next batch; give up if there is none."""
        if not [other for other in self._slots if other is not slot]:
            self._break(reason)
        elif slot in self._slots:  # pragma: no branch - it may have been ended at this moment
            logger.warning("%s; the batch continues with fewer processes", reason)
            slot.killed_for = reason
            self._slots.remove(slot)
            self._dying.add(slot)

    def _break(self, reason: str) -> None:
        """Fail all records that wait: no process can run them."""
        self._broken = reason
        while self._queue:
            future = self._queue.popleft().future
            if not future.done():  # pragma: no branch - it may be cancelled
                future.set_result(Failed(WorkerProcessError(reason)))

    def _log(self, slot: Slot, frame: int, position: int, fields: dict[str, Any]) -> None:
        record = logging.makeLogRecord(fields)
        is_known = frame == slot.frame and position < len(slot.jobs)
        keys = {"message_id": slot.jobs[position].payload[0]} if is_known else {}
        token = RECORD_KEYS.set({**RECORD_KEYS.get(), **keys})
        try:
            target = logging.getLogger(record.name)
            if target.isEnabledFor(record.levelno):
                target.handle(record)
        finally:
            RECORD_KEYS.reset(token)


def _is_idle(slot: Slot) -> bool:
    """Return whether a process runs no record whose outcome is expected."""
    return all(job.future.done() for job in slot.jobs)
