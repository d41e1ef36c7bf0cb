"""Run one batch from its records to their outcomes: bounded, before the deadline, and fail closed.

Workers take lanes from one source, so the cost per record and the memory do not depend on the size of the batch. A
subclass defines what a worker is: an asyncio task (``TaskBatch``) or a thread (``ThreadBatch``).

Every record starts as not acknowledged. It becomes ``Done`` only if its handler returned without being cancelled and
its commit succeeded. After anything else, including a bug in this module, the message is redelivered.

A batch ends in one of two ways. If every record has ended and nothing is left to settle or to commit, its last worker
ends it. Otherwise, and when the invocation is about to time out, the event loop does, in the task ``_end``.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from fanfold._base.deadline import Deadline
from fanfold._base.ordering import Order, Unit, lanes
from fanfold._base.outcome import Outcome
from fanfold._base.record import Record
from fanfold._base.threads import StillRunningError
from fanfold._consumer.admission import Admission
from fanfold._consumer.classify import rejects
from fanfold._consumer.loop_calls import LoopCalls
from fanfold._consumer.outcomes import BatchOutcomes
from fanfold._consumer.stages import HandlerCall
from fanfold._consumer.worker_tasks import create_task

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.admission import Policy
    from fanfold._consumer.commits import Commits
    from fanfold._consumer.notify_observers import Observation
    from fanfold._consumer.outcomes import HoldsRecords
    from fanfold._consumer.resources import Resources
    from fanfold._consumer.settings import Settings

OnEnded: TypeAlias = Callable[[BaseException | None], object]
"""Called once, when a batch has ended; with the error if it could not run."""

FIRST_LOOK_SECONDS: Final = 0.0002
"""Time after which the event loop supervises a batch that was started on another thread."""
_GRACE_SECONDS: Final = 1.0
"""Time that cancelled handlers have to end when the batch itself is cancelled from outside."""


class Batch:
    """One batch while it is processed."""

    _is_starting = True
    _cancelled = _closed = False
    limit_at_start: int | None = None
    """The concurrency limit when the batch started, if it adjusts itself; None for a fixed one."""
    _refusal: tuple[Policy, float] | None = None
    """The policy that lets no more records start before the end, and when it will."""
    _start_error: BaseException | None = None
    """Why a worker could not start."""
    _ending: asyncio.Task[None] | None = None
    _idle: asyncio.Event | None = None
    """Set when the last worker has ended; created when the event loop begins to end the batch."""

    def __init__(  # noqa: PLR0913 - keywords, each something else that a batch depends on
        self,
        records: Sequence[Record],
        handler: HandlerCall,
        settings: Settings,
        environment: Resources,
        *,
        concurrency: int,
        deadline: Deadline,
        admission: Admission,
        dead_letters: bool = False,
        commits: Commits | None = None,
        observation: Observation | None = None,
        keep_details: bool = True,
        order: Order | None = None,
        held: HoldsRecords | None = None,
    ) -> None:
        """Create a batch that has not started.

        Args:
            records: The records.
            handler: How to call the handler.
            settings: The settings of the consumer.
            environment: The event loop, the threads, and the settler.
            concurrency: Maximum number of handlers that run concurrently, at least 1.
            deadline: When to stop starting records, cancel handlers, and respond.
            admission: Decides when the next record may start.
            dead_letters: Whether rejected records are sent to a dead-letter queue.
            commits: Makes return values durable before their records are acknowledged; None if nothing must be.
            observation: Notified when the batch ends; None without observers.
            keep_details: Whether someone will read what handlers returned or raised; otherwise it is not kept.
            order: The order of the records, unless it is the usual one.
            held: The records that a breaker holds back; None without a breaker.
        """
        self.records = records
        self.observation = observation
        """Notified by the caller once the response is known."""
        self.held_for_memory: int = 0
        """Number of times a start waited for memory."""
        self._environment = environment
        self._loop = environment.loop
        self._handler = handler
        self._most_workers = min(concurrency, len(records))
        self._deadline, self._stops_at = deadline, deadline.stops_at
        self._admission = admission
        self._commits = commits
        self.held = held
        self._timeout = settings.timeout
        self._keep_details = keep_details
        self.stored = self._outcomes = BatchOutcomes(
            records,
            deadline=deadline,
            open_settler=environment.settler,
            backoff=settings.backoff,
            dead_letters=dead_letters,
            reject_on=rejects(settings.reject_on),
            keep_details=keep_details,
            delay_after=None if admission.adaptive is None else admission.adaptive.delay_after,
            on_interrupt=self._cancel_workers,
            defers=None if held is None else held.defers,
        )
        """The outcomes, as far as they are known, and what is logged about them."""
        self._lanes, self._tenants, errors = order or Order(lanes(records, settings.chunk_size))
        self._tells_of_ends = self._tenants is not None or admission.adaptive is not None
        """True if ``_unit_ended`` must be called."""
        self._outcomes.store_each(errors)
        self._context = contextvars.copy_context()
        self._calls = LoopCalls(environment.loop, self._context, deadline.clock)
        self._on_loop = self._calls.run
        self._on_ended: list[OnEnded] = []
        """Emptied by the call that ends the batch."""

    @property
    def abandoned(self) -> int:
        """Number of workers that still run although the response did not wait for them; 0 before the response."""
        return self._workers_left() if self._closed else 0

    @property
    def limit(self) -> int | None:
        """The concurrency limit now, if it adjusts itself; None for a fixed one."""
        return self._admission.limit

    @property
    def has_ended(self) -> bool:
        """True once the response is known and no worker runs."""
        return self._closed and not self._workers_left()

    @property
    def wanted_workers(self) -> int:
        """Number of workers that the remaining records need, no more than the concurrency."""
        ends = self._cancelled or self._closed or self._ending is not None or self._refusal is not None
        return 0 if ends or not self._has_lanes() or self._deadline.clock() >= self._stops_at else self._most_workers

    @property
    def records_in_flight(self) -> int:
        """Number of calls of the handler that run."""
        raise NotImplementedError

    def _has_lanes(self) -> bool:
        """Return whether there may be records that no worker has taken."""
        raise NotImplementedError

    def _workers_left(self) -> int:
        """Return the number of workers that run."""
        raise NotImplementedError

    def _start_one(self) -> None:
        """Start a worker."""
        raise NotImplementedError

    def _cancel_each_worker(self) -> None:
        """Cancel what the workers do."""
        raise NotImplementedError

    async def run(self) -> None:
        """Process the batch on the caller's event loop until every record has ended or the response is due.

        Returns no later than the deadline's ``responds_at``, unless the event loop is blocked.
        """
        ended: asyncio.Future[None] = self._loop.create_future()

        def on_ended(error: BaseException | None) -> None:
            if not ended.done():
                ended.set_result(None) if error is None else ended.set_exception(error)

        self.start(lambda error: self._on_loop(on_ended, error))
        self.supervise()
        try:
            await ended
        except asyncio.CancelledError:
            self.cancel()
            if self._ending is not None:  # pragma: no branch - it has just ended
                await asyncio.wait({self._ending})
            raise

    def start(self, on_ended: OnEnded) -> None:
        """Start the workers.

        Args:
            on_ended: Called when every record has ended or the response is due, on the thread that ends the batch.

        Raises:
            Exception: If no worker could start, the error of the user's task factory.
        """
        self._on_ended.append(on_ended)
        self.limit_at_start = self.limit
        self._admission.enter(self)
        if self._start_error is not None and not self._workers_left():
            self._on_ended.clear()
            self._close()
            raise self._start_error
        self._is_starting = False
        if self._on_ended and not self._workers_left():
            self._on_loop(self._end_if_idle)  # not here: it logs

    def supervise(self) -> None:
        """Watch the deadline; call this on the event loop, unless the batch has ended already."""
        if not math.isinf(self._stops_at):
            self._calls.later(self._stops_at, self._begin_end)

    def stop(self, grace_seconds: float) -> None:
        """Start no more records, cancel the running handlers, and end the batch within ``grace_seconds``."""
        self._cancel_workers()
        self._begin_end()
        if self._idle is not None:  # pragma: no branch - it has just ended
            self._loop.call_later(grace_seconds, self._idle.set)

    def cancel(self) -> None:
        """End the batch from outside, on the event loop: cancel the handlers, and give them a moment to end."""
        if self._ending is not None:
            self._ending.cancel()
        else:
            self._begin_end(cancelled=True)
        self._cancel_workers()  # last: it may end the batch

    def start_workers(self, count: int) -> None:
        """Start workers in slots that were granted, from any thread."""
        raise NotImplementedError

    def _start_workers(self, count: int, free: Callable[[Batch, int], object]) -> None:
        """Start workers; ``free`` is called for slots that nothing is left for, or whose worker cannot start."""
        for left in range(count, 0, -1):
            if self._closed or not self._has_lanes():  # earlier workers have taken the last lane
                free(self, left)
                break
            if not self._starts(self._start_one):
                free(self, 1)
        if not self._workers_left() and not self._is_starting:  # pragma: no cover - as above
            self._on_loop(self._end_if_idle)

    def _starts(self, start: Callable[[], object]) -> bool:
        """Start a worker, and return whether that succeeded."""
        try:
            start()
        except Exception as error:  # noqa: BLE001 - a task factory of the user's
            self._start_error = error
            self._outcomes.log_error_of_worker(error)
            self._most_workers = self._workers_left()  # the other workers continue
            return False
        return True

    def _end_if_idle(self) -> None:
        """End the batch if it has no worker and waits for none; call this after the slot of a worker is free."""
        if not self._workers_left() and self._is_idle():
            ends_here = self._ending is None and self._commits is None and self._refusal is None
            ends_here = ends_here and self._outcomes.are_settled and (self.held is None or self.held.is_idle)
            self._finish() if ends_here else self._on_loop(self._begin_end)

    def _is_idle(self) -> bool:
        slots = self._admission.slots
        with slots.lock:  # a batch that waited is given a worker, and a worker that ends may let its batch wait
            return not slots.is_waiting(self) and not self._workers_left()

    def _begin_end(self, *, cancelled: bool = False) -> None:
        """End the batch on the event loop; if that has begun, and no worker is left, it need not wait any more."""
        if self._ending is None and self._on_ended:
            self._idle = asyncio.Event()
            end = self._end_cancelled() if cancelled else self._end()
            self._ending = create_task(self._loop, end, self._context.copy())
            self._ending.add_done_callback(lambda _: self._finish())  # it may be cancelled before its first step
        if self._idle is not None and self._is_idle():
            self._idle.set()

    async def _end(self) -> None:
        """End the batch: on time, whatever the handlers do."""
        deadline = self._deadline
        try:
            if not await self._wait_for_workers(deadline.stops_at):
                await self._commit(deadline.cancels_at)
                if not await self._wait_for_workers(deadline.cancels_at):
                    self._cancel_workers()
                    await self._wait_for_workers((deadline.cancels_at + deadline.responds_at) / 2)
            await self._commit(deadline.responds_at)
            self._delay_not_started()
            if self.held is not None:
                await self.held.finish(self._outcomes, deadline.responds_at, is_refused=self._refusal is not None)
            if (settling := self._outcomes.settling) is not None:
                await settling.finish(deadline.until(deadline.responds_at))
        except asyncio.CancelledError:  # by ``cancel``, or by a handler that cancels every task
            await self._end_cancelled()
        except BaseException as error:  # noqa: BLE001  # pragma: no cover - a bug of ours: the invocation fails
            self._finish(error)
        else:
            self._finish()

    async def _end_cancelled(self) -> None:
        self._cancel_workers()
        await self._wait_for_workers(self._deadline.clock() + _GRACE_SECONDS)

    def _finish(self, error: BaseException | None = None) -> None:
        """Close the batch, and tell its caller; only the first call has an effect."""
        try:
            on_ended = self._on_ended.pop()
        except IndexError:  # pragma: no cover - ended by two threads at the same moment
            return
        self._close()
        self._context.copy().run(on_ended, error)  # not in the context of a record

    def _close(self) -> None:
        self._outcomes.close()
        if self._workers_left():
            self._cancel_workers()
        self._closed = True
        self._calls.close()
        self._admission.slots.leave(self)

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
        if self._refusal is not None:
            return self._refusal[0].reason
        return "the batch was stopped" if self._cancelled else "handlers that timed out occupied every thread"

    def _cancel_workers(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._cancel_each_worker()

    def _unit_ended(self, unit: Unit, started_at: float, ended: object, value: object) -> bool:
        """Notify what limits the starts, as ``_limit_changed``; after a timeout, ``value`` is its error."""
        if self._tenants is not None and not issubclass(type(ended), StillRunningError):  # a thread keeps its place
            self._tenants.ended(unit)
        return self._limit_changed(started_at, value)

    def _limit_changed(self, started_at: float, value: object) -> bool:
        """Notify the limit that adjusts itself; return whether more workers may start, see ``Slots.fill``."""
        if (adaptive := self._admission.adaptive) is None or (value is None and adaptive.is_quiet):
            return False
        slots = self._admission.slots
        running = self._running_with_this_one() + (slots.workers_of_others(self) if slots.are_shared else 0)
        return adaptive.ended(started_at, self._deadline.clock(), value, running) and self._admission.limit_changed()

    def _running_with_this_one(self) -> int:
        """Return the calls of the handler that run, and one that has just ended; at most the workers."""
        return self._workers_left()

    def _wait_of_start(self, now: float, unit: Unit) -> float:
        """Return the seconds until the next unit may start; 0 counts as its start.

        If it may not start in time, nothing else starts either: see ``_refusal``.
        """
        seconds, held = self._admission.ask(now)
        self.held_for_memory += held
        if seconds and self.held is not None:
            seconds = self.held.wait(unit, now, seconds)
        if seconds and now + seconds >= self._stops_at and self._admission.holding is not None:
            self._refusal = self._admission.holding, now + seconds
        return seconds

    def _delay_not_started(self) -> None:
        """Delay the messages that may not start before a time that this invocation does not reach."""
        if self._refusal is not None and self._refusal[0].delays_messages:
            self._outcomes.delay_not_started(self._refusal[1] - self._deadline.clock())

    async def _commit(self, moment: float) -> None:
        if self._commits is not None:
            await self._commits.commit_done(self._outcomes.values, moment)

    async def _wait_for_workers(self, moment: float) -> bool:
        """Wait until all workers have ended, but no longer than until a moment; return whether all have ended."""
        assert self._idle is not None  # noqa: S101 - created with this task
        if not self._idle.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), self._deadline.until(moment))
        return self._idle.is_set()
