"""One batch, from its records to its outcomes: bounded, in time, fail closed.

Workers pull lanes from one iterator, so that neither the cost per record nor the memory depends on the size of the
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
import math
import sys
import weakref
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from fanfold._base.deadline import Deadline
from fanfold._base.ordering import Lane, Unit, in_order, lanes
from fanfold._base.outcome import BLOCKED_IN_GROUP, DONE, Done, Failed, NotStarted, Outcome, Rejected
from fanfold._base.record import Record, is_fifo
from fanfold._base.threads import StillRunningError
from fanfold._consumer.admission import Admission
from fanfold._consumer.classify import outcome_of, rejects
from fanfold._consumer.failure_log import FailureLog
from fanfold._consumer.isolation import create_task, is_same, prepare_task
from fanfold._consumer.settings import Settings
from fanfold._consumer.settle import Settling
from fanfold._consumer.stages import HandlerCall
from fanfold.errors import AbandonedError, CommitError

if TYPE_CHECKING:  # a cold start pays for what it uses
    from fanfold._consumer.notify_observers import Observation

logger = logging.getLogger("fanfold")

Commit: TypeAlias = Callable[[Sequence[tuple[Record, Any]], float], Awaitable[Collection[int]]]
"""Makes durable what handlers returned. Given (record, value) pairs, and the moment at which it will be cancelled,
returns the positions of those it made durable."""

_ABANDONED = Failed(AbandonedError())
_TURN_SECONDS = 0.02
"""How long workers whose handlers never wait keep the event loop to themselves; at most twice as long."""
_GRACE_SECONDS = 1.0
"""How long cancelled handlers may take to end when the batch itself is cancelled from outside."""


class Batch:
    """The state of one batch while it is worked on."""

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
        """Make a batch that has not begun.

        Args:
            records: The records.
            handler: How the handler is called.
            settings: The consumer's.
            concurrency: Handlers that run at once, from 1.
            deadline: When to stop, to cancel and to answer.
            admission: How long a start has to wait.
            settling: What becomes of what failed.
            commit: What has to be durable before an acknowledgement; None for nothing.
            observation: Who is told of the batch's end; None for nobody.
        """
        self.records = records
        self.failures: FailureLog = FailureLog()
        self.interrupt: KeyboardInterrupt | None = None
        """What a handler raised to end the process; for the caller to raise."""
        self.observation = observation
        """Who is told of its end; by the caller, once the response is known."""
        self._call, self._takes_list = handler
        self._concurrency = concurrency
        self._deadline = deadline
        self._pace = admission
        self._settling = settling
        self._durable = commit
        self._reject_on = rejects(settings.reject_on)
        self._timeout = settings.timeout
        self._fifo = is_fifo(records)
        self._outcomes: list[Outcome | None] = [None] * len(records)
        self._committed: set[int] = set()
        self._delays: dict[int, int] = {}
        self._pending: Iterator[Lane] = lanes(records, settings.chunk_size)
        self._workers: set[asyncio.Task[Any]] = set()
        self._running = 0
        self._context = contextvars.copy_context()
        self._idle = asyncio.Event()
        self._turn = asyncio.Lock()
        self._spoiled: set[asyncio.Task[Any]] = set()
        """Workers that a handler had cancelled, and may go on to: by a cancel scope it has not left, say."""
        self._lost: set[asyncio.Task[Any]] = set()
        """Workers whose threads are still with a record that took too long: it keeps its thread, and so its place."""
        self._yield_at = math.inf
        """When a worker has to let the loop turn; put off whenever it turns."""
        self._cancelled = False
        self._closed = False

    @property
    def abandoned(self) -> int:
        """Workers that are still running; after ``run``, those the answer did not wait for."""
        return len(self._workers)

    @property
    def held_for_memory(self) -> int:
        """How often a start waited for memory."""
        return self._pace.held_for_memory

    async def run(self) -> None:
        """Work on the batch until every record has ended or the answer is due.

        Returns no later than the deadline's ``responds_at``, as long as the event loop turns.
        """
        deadline = self._deadline
        ticker = asyncio.ensure_future(self._tick())
        for _ in range(min(self._concurrency, len(self.records))):
            self._start_worker(self._context.copy())
        try:
            if not await self._ended(deadline.stops_at):
                await self._commit_done(deadline.cancels_at)
                if not await self._ended(deadline.cancels_at):
                    self._cancel()
                    await self._ended((deadline.cancels_at + deadline.responds_at) / 2)
            await self._commit_done(deadline.responds_at)
            await self._settling.finish(deadline.until(deadline.responds_at))
        except asyncio.CancelledError:
            self._cancel()
            await self._ended(deadline.clock() + _GRACE_SECONDS)
            raise
        finally:
            ticker.cancel()
            self._settling.stop()
            if self._workers:
                self._cancel()
            self._closed = True

    def stop(self, grace_seconds: float) -> None:
        """Start nothing more, cancel what runs, and have ``run`` end once that ended, some seconds later at most."""
        self._cancel()
        asyncio.get_running_loop().call_later(grace_seconds, self._idle.set)

    def outcomes(self) -> list[Outcome]:
        """Return how each record ended, as far as it is known by now; closes the batch.

        May be called from another thread than the event loop's, which may be blocked: what a handler does after this
        changes nothing.
        """
        self._closed = True
        committed, buried = frozenset(self._committed), frozenset(self._settling.buried)
        usual = DONE if self._durable is None else _ABANDONED  # final as it is, and not looked at
        final = [
            outcome
            if outcome is usual
            else self._final(outcome, committed=position in committed, buried=position in buried)
            for position, outcome in enumerate(list(self._outcomes))
        ]
        return in_order(self.records, final) if self._fifo else final

    def _final(self, outcome: Outcome | None, *, committed: bool, buried: bool) -> Outcome:
        if outcome is None:
            return NotStarted(self._why_not_started())
        if isinstance(outcome, Done) and self._durable is not None and not committed:
            return Failed(CommitError("the handler returned, but its result could not be made durable in time"))
        if isinstance(outcome, Rejected):
            return Rejected(outcome.reason, buried)  # whatever a handler may have said of it
        return outcome

    def _why_not_started(self) -> str:
        if self._deadline.clock() >= self._deadline.stops_at:
            return "the invocation's time was over"
        return "the batch was stopped" if self._cancelled else "every place was kept by a thread that took too long"

    def _start_worker(self, context: contextvars.Context, lane: Lane = ()) -> None:
        worker = create_task(asyncio.get_running_loop(), self._work(lane), context)
        self._workers.add(worker)
        worker.add_done_callback(self._worker_ended)

    def _worker_ended(self, worker: asyncio.Task[Any]) -> None:
        self._workers.discard(worker)
        error = asyncio.CancelledError("by a handler") if worker.cancelled() else worker.exception()
        if error is not None and not (self._cancelled or self._closed):
            logger.error("a worker of the batch failed; its record is reported as not done", exc_info=error)
            self._start_worker(self._context.copy())  # the others carry on
        elif error is None and (lane := worker.result()) is not None and not (self._cancelled or self._closed):
            # Started here, and so after the callbacks that the last record added to its task.
            self._start_worker(self._context.copy(), lane)
        if not self._workers:
            self._idle.set()

    async def _work(self, started: Lane) -> Lane | None:  # noqa: C901, PLR0912 - with 1,000 in flight every frame counts
        """Take lanes until there are none, or no time, and write down how each record ended.

        Args:
            started: What is left of a lane that another worker has started.

        Returns:
            None at the end; else what is left of the lane whose last record has left something on this worker, for a
            worker without it.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of a task
        clock, stops_at, admission = self._deadline.clock, self._deadline.stops_at, self._pace
        call, records, outcomes, takes_list = self._call, self.records, self._outcomes, self._takes_list
        timeout, clean = self._timeout, contextvars.copy_context()
        has_variables, name = len(clean) > 0, task.get_name()
        prepare_task()
        references, weak_references = sys.getrefcount, weakref.getweakrefcount
        # What is attached to the task: a session keyed by it, a callback, a timer that cancels it, an open scope. The
        # sum is compared: an eager task's counts shift between strong and weak at its first suspension.
        attached = references(task) + weak_references(task) + len(task._callbacks or ())  # noqa: SLF001 - there is no other way to see them
        for lane in chain((started,), self._pending) if started else self._pending:
            for unit in lane:
                now = clock()
                if now >= admission.free_until:
                    await self._hold()
                    now = clock()
                if now >= self._yield_at:
                    await asyncio.sleep(0)
                    now = clock()
                if now >= stops_at or self._cancelled:
                    return None
                for position in unit:
                    outcomes[position] = _ABANDONED
                timer = None if timeout is None else _Timer(task, timeout)
                self._running += 1
                try:
                    value = await call([records[each] for each in unit] if takes_list else records[unit[0]])
                except GeneratorExit:
                    raise  # the loop is closed under an abandoned worker
                except BaseException as error:  # noqa: BLE001 - the one place where a failure becomes a value
                    value = error
                finally:
                    self._running -= 1
                    if timer is not None:
                        timer.stop()
                if task.cancelling():
                    if isinstance(value, StillRunningError):
                        self._lost.add(task)
                    value = await self._why_cancelled(task, timer)
                goes_on = True
                if value is None and not takes_list:
                    outcomes[unit[0]] = DONE
                elif not await self._write_down(unit, value):
                    self._leave_the_rest(lane, unit)
                    goes_on = False
                if self._lost and task in self._lost:
                    return None
                if (
                    references(task) + weak_references(task) + len(task._callbacks or ()) != attached  # noqa: SLF001 - there is no other way to see them
                    or (self._spoiled and task in self._spoiled)
                    or task.get_name() is not name
                    or not is_same(contextvars.copy_context(), clean, has_variables)
                ):
                    return lane[lane.index(unit) + 1 :] if goes_on else ()
                if not goes_on:
                    break
        return None

    async def _write_down(self, unit: Unit, value: object) -> bool:
        """Write down how the records of a unit ended; tell whether its lane may go on."""
        # What a stage raised holds for all its records; what it returned is one value for each.
        ended = value if self._takes_list and isinstance(value, list) else [value] * len(unit)
        goes_on = True
        for position, each in zip(unit, ended, strict=True):
            if goes_on:
                outcome = self._outcomes[position] = DONE if each is None else self._outcome_of(position, each)
                goes_on = not self._fifo or isinstance(outcome, Done | Rejected)
            else:
                self._outcomes[position] = BLOCKED_IN_GROUP
        return not self._fifo or await self._goes_on(unit)

    async def _tick(self) -> None:
        while True:
            self._yield_at = self._deadline.clock() + 2 * _TURN_SECONDS
            await asyncio.sleep(_TURN_SECONDS)

    async def _hold(self) -> None:
        """Wait until the next record may start, or none may any more; one worker after another."""
        async with self._turn:
            while (now := self._deadline.clock()) < self._deadline.stops_at and not self._cancelled:
                wait = self._pace.wait(now, self._running)
                if not wait:
                    return
                await asyncio.sleep(min(wait, self._deadline.stops_at - now))

    def _outcome_of(self, position: int, value: object) -> Outcome:
        """Return how a record ended, by what the handler returned or raised; settle it if it is not done."""
        record = self.records[position]
        if isinstance(value, BaseException):
            if isinstance(value, KeyboardInterrupt):
                self.interrupt = value
                self._cancel()
            self.failures.add(record, value)
        outcome = outcome_of(value, self._reject_on)
        if (delay := self._settling.add(position, record, outcome)) is not None:
            self._delays[position] = delay
        return outcome

    async def _goes_on(self, unit: Unit) -> bool:
        """Tell whether a FIFO lane goes on after a unit: only if all in it are done, or rejected and forwarded."""
        outcomes = [self._outcomes[position] for position in unit]
        if any(isinstance(outcome, Rejected) for outcome in outcomes):
            await self._settling.settled(self._deadline.until(self._deadline.stops_at))
        buried = self._settling.buried
        return all(
            isinstance(outcome, Done) or (isinstance(outcome, Rejected) and position in buried)
            for position, outcome in zip(unit, outcomes, strict=True)
        )

    def _leave_the_rest(self, lane: Lane, unit: Unit) -> None:
        """Leave what follows in a FIFO lane to be delivered again, no sooner than what has to come before it."""
        delay = next((self._delays[position] for position in unit if position in self._delays), None)
        for position in (position for later in lane[lane.index(unit) + 1 :] for position in later):
            self._outcomes[position] = BLOCKED_IN_GROUP
            if delay is not None:
                self._settling.change_visibility(self.records[position], delay)

    async def _why_cancelled(self, task: asyncio.Task[Any], timer: _Timer | None) -> BaseException:
        """A record whose task was cancelled failed, even if its handler then returned: say why."""
        while task.cancelling():
            task.uncancel()
        if timer is not None and timer.fired:
            error: BaseException = TimeoutError(f"the handler took longer than {self._timeout} s")
        elif self._cancelled:
            return asyncio.CancelledError("cancelled: the invocation's time was over")
        else:
            error = asyncio.CancelledError("the handler's task was cancelled")
            self._spoiled.add(task)
        # What is still pending of the cancellation must not hit the next record.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return error

    def _cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            for worker in self._workers:
                if not worker.cancelling():  # once each: a rollback after a timeout is not disturbed
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

    async def _commit(self, done: Sequence[tuple[Record, Any]], moment: float) -> Collection[int]:
        assert self._durable is not None  # noqa: S101 - asked for by who has looked
        return await self._durable(done, moment)  # raises here, and not in run, also if it is not async at all

    async def _commit_done(self, moment: float) -> None:
        """Commit what is done and not yet committed, at most until a moment; what is not, is not acknowledged."""
        if self._durable is None:
            return
        done = [
            (position, outcome.value)
            for position, outcome in enumerate(self._outcomes)
            if isinstance(outcome, Done) and position not in self._committed
        ]
        if not done:
            return
        commit = asyncio.ensure_future(self._commit([(self.records[each], value) for each, value in done], moment))
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
            self._committed.update(done[index][0] for index in commit.result())


class _Timer:
    """Cancels a task once when its time is over."""

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
