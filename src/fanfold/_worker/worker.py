"""A worker that runs a consumer outside Lambda, for handlers that take longer than a Lambda invocation may.

The worker receives messages only when it has a free slot. It splits what one receive brings into lanes, as a batch is
split: one record or chunk of a standard queue, or one message group of a FIFO queue. Lanes are independent. The calls
of a lane run one after another, and a record is acknowledged as soon as its call has succeeded. After a record that is
not acknowledged, the rest of a message group does not start.

Heartbeats keep messages in flight invisible. Messages whose handlers succeeded are deleted in batches; the others are
redelivered, after their backoff if there is one. An ``async`` handler that blocks the event loop stops the heartbeats
too: use a ``def`` handler for CPU-bound work.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio

from fanfold._base import aws_limits
from fanfold._base.aws_limits import SQS_MAX_WAIT_SECONDS
from fanfold._base.backoff import Backoff
from fanfold._base.concurrency import primary_error
from fanfold._base.log import SafeLogger
from fanfold._base.ordering import lanes
from fanfold._base.outcome import BatchResult, Rejected, acknowledges
from fanfold._base.record import Event, Record
from fanfold._base.retry import ENDLESS, Retries, RetrySchedule, retry
from fanfold._consumer.admission import Admission, StartRate
from fanfold._consumer.consumer import Consumer, Session
from fanfold._ports.queue import Settler
from fanfold._worker.acknowledge import Acknowledger
from fanfold._worker.heartbeat import Heartbeats, HeartbeatSettler, WorkerQueue
from fanfold._worker.progress import Summary, report, show_health, starting_line
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError

logger = SafeLogger(logging.getLogger("fanfold.worker"), {})

Process: TypeAlias = Callable[[Event], Awaitable[BatchResult]]
"""Processes one batch."""

CHECK_SECONDS: Final = 1.0
"""Interval at which a worker without a free slot checks whether an abandoned handler has ended."""
GRACE_SECONDS: Final = 5.0
"""Time that cancelled handlers get to end."""
FLUSH_SECONDS: Final = 10.0
"""Time limit of the last deletions; SQS redelivers the messages that are not deleted by then."""
LAST_POLL_SECONDS: Final = SQS_MAX_WAIT_SECONDS + 5.0
"""Time limit of the ReceiveMessage call that is running at ``stop``; longer than the longest poll."""
MAX_PENDING_DELETIONS: Final = 1_000
"""Number of waiting deletions at which the worker stops receiving."""
_CHANGE: Final = RetrySchedule(3, Backoff(base=0.2, cap=1.0, jitter=1.0))
"""Attempts to return messages, or to delay the rest of a group."""


class Worker:
    """A process that handles the messages of a queue until it is stopped.

    If ``decorated`` is given, its decorators run around each call of the handler, concurrently, on threads.

    Args:
        consumer: The handler and its settings; its concurrency limits the handlers that run.
        queue: The queue to receive from.
        settler: Changes visibility timeouts, and sends dead letters.
        drain_seconds: Time that running handlers get to finish after ``stop``.
        health_file: A JSON file that is rewritten every two seconds; None for none.
        decorated: What decorators of a Lambda handler have made of the consumer; None without decorators.

    Raises:
        ConfigurationError: If the visibility timeout of the queue is 0 s.
    """

    def __init__(
        self,
        consumer: Consumer[..., Any],
        queue: WorkerQueue,
        settler: Settler,
        *,
        drain_seconds: float = 30.0,
        health_file: Path | None = None,
        decorated: Callable[..., Any] | None = None,
    ) -> None:
        if queue.visibility_timeout < 1:
            raise ConfigurationError(
                "the queue's visibility timeout must be at least 1 s, not 0: heartbeats extend it; raise it"
            )
        self.summary: Summary = Summary()
        """Counts from the start until now."""
        self.abandoned_handlers: int = 0
        """After ``run``: the number of abandoned handlers, which did not stop after cancellation."""
        self._queue = queue
        self._heartbeats = Heartbeats(queue)
        self._settler = HeartbeatSettler(settler, self._heartbeats)
        self._acknowledger = Acknowledger(queue, self._heartbeats)
        self._drain_seconds = drain_seconds
        self._health_file = health_file
        self._decorated = decorated
        self._stop = asyncio.Event()
        self._cancel_now = asyncio.Event()
        self._slot_freed = asyncio.Event()
        self._receive_at_most = 1
        self._poll: asyncio.Future[Sequence[dict[str, Any]]] | None = None
        """The running ReceiveMessage call."""
        self._tasks: set[asyncio.Task[None]] = set()
        """One for each lane that has not ended."""
        self._chunk_size = consumer.settings.chunk_size
        self._concurrency = consumer.concurrency
        self._slots = asyncio.Semaphore(self._concurrency)  # a receive of chunks may bring more lanes than slots
        # The engine limits the start rate of each batch alone; here, many batches run concurrently.
        rate = consumer.settings.starts_per_second
        self._admission = Admission([] if rate is None else [StartRate(rate, time.monotonic())])

        async def open_settler() -> Settler:
            return self._settler

        self._consumer = consumer.with_settings(
            settler=open_settler, raise_on_total_failure=False, starts_per_second=None
        )

    def stop(self) -> None:
        """Stop receiving, and let running handlers finish within ``drain_seconds``; a second call cancels them.

        The running ReceiveMessage call also ends, within 20 s, because SQS may already have assigned messages to it;
        they are made visible again. A second call cancels it.
        """
        if self._stop.is_set():
            self._cancel_now.set()
        self._stop.set()

    async def run(self) -> Summary:
        """Process messages until stopped, then drain.

        Raises:
            ConfigurationError: If the queue does not exist, or access to it is denied.
            FanfoldError: If every slot is held by an abandoned handler, which blocks its thread after its timeout.
        """
        logger.info(
            starting_line(
                self._queue.url, self._concurrency, self._queue.visibility_timeout, self._consumer.dead_letter_queue_url
            )
        )
        try:
            return await self._run()
        except BaseExceptionGroup as errors:
            raise primary_error(errors) from None

    async def _run(self) -> Summary:
        async with self._consumer.session() as session, anyio.create_task_group() as background:
            for loop in (self._heartbeats.run, self._acknowledger.run, partial(report, self.summary)):
                background.start_soon(loop)
            if self._health_file is not None:
                background.start_soon(show_health, self.summary, self._health_file)
            try:
                await self._receive(session, session if self._decorated is None else self._with_decorators(session))
            finally:
                with anyio.CancelScope(shield=True):
                    await self._drain(session)
                background.cancel_scope.cancel()
        return self.summary

    # --- Receive

    def _with_decorators(self, session: Session) -> Process:
        from fanfold._worker.decorated import DecoratedSession

        assert self._decorated is not None  # noqa: S101 - the only case in which it is called
        return DecoratedSession(self._decorated, session)

    async def _receive(self, session: Session, process: Process) -> None:
        retries = Retries(ENDLESS)
        while await self._free_slot(session):
            self._poll = asyncio.ensure_future(
                self._queue.receive_records(max_messages=self._receive_at_most, wait_seconds=SQS_MAX_WAIT_SECONDS)
            )
            if not await self._ends_before_stop(self._poll):
                return  # _drain returns to the queue what the call brings
            poll, self._poll = self._poll, None
            try:
                records = poll.result()
            except ServiceError as error:
                if not retries.failures:
                    logger.warning("could not receive messages; retrying with exponential backoff: %s", error)
                await self._or_stop(retries.wait())
                continue
            retries.reset()
            self._start(process, records)

    async def _free_slot(self, session: Session) -> bool:
        """Wait for a free slot and for the deletions to catch up; return False after ``stop``.

        Raises:
            FanfoldError: If no slot can become free.
        """
        await self._or_stop(self._acknowledger.wait_below(MAX_PENDING_DELETIONS))
        while not self._stop.is_set():
            blocked = session.abandoned_handlers
            free = self._concurrency - len(self._tasks) - blocked
            if free > 0:
                self._receive_at_most = min(free * (self._chunk_size or 1), aws_limits.SQS_BATCH_ENTRIES)
                return True
            if blocked >= self._concurrency:
                raise FanfoldError(
                    f"{blocked} handlers did not stop after their timeout and hold every slot; restart the worker"
                )
            self._slot_freed.clear()
            await self._or_stop(asyncio.wait_for(self._slot_freed.wait(), CHECK_SECONDS))
        return False

    async def _ends_before_stop(self, future: asyncio.Future[Any]) -> bool:
        """Wait until a future has ended or ``stop`` is called; return whether it has ended."""
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({future, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        return future.done()

    async def _or_stop(self, awaitable: Awaitable[Any]) -> None:
        """Await an awaitable; cancel it after ``stop``, and ignore a TimeoutError."""
        task = asyncio.ensure_future(awaitable)
        try:
            if await self._ends_before_stop(task):
                task.result()
        except TimeoutError:
            return
        finally:
            task.cancel()

    # --- Process

    def _start(self, process: Process, records: Sequence[dict[str, Any]]) -> None:
        self._heartbeats.start(records)
        self.summary.in_flight += len(records)
        received = [Record(record) for record in records]
        for lane in lanes(received, self._chunk_size):
            units = [[received[position] for position in unit] for unit in lane]
            task = asyncio.ensure_future(self._process_lane(process, units))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slot_freed.set()
        if not task.cancelled() and (error := task.exception()):
            logger.error("a message group failed as a whole; its messages are redelivered", exc_info=error)

    async def _process_lane(self, process: Process, units: Sequence[Sequence[Record]]) -> None:
        """Process the units of a lane one after another, up to the first that is not acknowledged."""
        remaining = [record for unit in units for record in unit]
        try:
            for unit in units:
                async with self._slots:
                    if not await self._may_start(len(unit)):
                        await self._change_visibility(remaining, 0, "return")
                        return
                    failed = await self._process(process, unit)
                remaining = [*failed, *remaining[len(unit) :]]
                if failed:
                    await self._skip(failed, remaining[len(failed) :])
                    return
        finally:
            self.summary.in_flight -= len(remaining)
            self.summary.failed += len(remaining)
            # SQS redelivers them after at most one visibility timeout.
            await self._heartbeats.stop([record.receipt_handle for record in remaining])

    async def _process(self, process: Process, unit: Sequence[Record]) -> list[Record]:
        """Process the records of one call, and acknowledge those that succeeded; return the others."""
        failed = list(unit)
        try:
            result = await process({"Records": [dict(record.raw) for record in unit]})
        except KeyboardInterrupt:
            logger.warning("a handler raised KeyboardInterrupt; stopping the worker")
            self.stop()
            return failed
        except Exception:
            logger.exception("a call failed as a whole; its messages are redelivered")
            return failed
        for record, outcome in zip(unit, result.outcomes, strict=True):
            if acknowledges(outcome):
                failed.remove(record)
                self._acknowledger.add(record.receipt_handle)
                self.summary.count_acknowledged(rejected=isinstance(outcome, Rejected))
        return failed

    async def _may_start(self, starts: int) -> bool:
        """Wait until ``starts`` records may start; return False if ``stop`` was called meanwhile."""
        for _ in range(starts):
            while (
                not self._stop.is_set()
                and (now := time.monotonic()) >= self._admission.free_until
                and (wait := self._admission.wait(now, 0))
            ):
                await self._or_stop(asyncio.sleep(wait))
        return not self._stop.is_set()

    async def _skip(self, failed: Sequence[Record], rest: Sequence[Record]) -> None:
        """Give the rest of a message group the delay that its failed record got; leave it without one."""
        delays = [self._settler.take_delay(record.receipt_handle) for record in failed]
        delay = next((seconds for seconds in delays if seconds is not None), None)
        if not self._queue.fifo or delay is None:
            return
        blocked = [record for record, own in zip(failed, delays, strict=True) if own is None]  # in the same chunk
        if blocked or rest:
            await self._change_visibility([*blocked, *rest], delay, "delay")

    async def _change_visibility(self, records: Sequence[Record], seconds: int, purpose: str) -> None:
        """Set the visibility timeout of messages that were not processed."""
        await self._heartbeats.stop([record.receipt_handle for record in records])
        changes = [(record, seconds) for record in records]
        try:
            await retry(lambda: self._queue.change_visibility(changes), schedule=_CHANGE)
        except FanfoldError as error:
            logger.warning(
                "could not %s %d messages that were not processed; they are redelivered after their visibility "
                "timeout: %s",
                purpose,
                len(records),
                error,
            )

    # --- Stop

    async def _drain(self, session: Session) -> None:
        """Let running handlers and the running poll end, cancel the others once, and delete the processed messages."""
        last_poll = asyncio.ensure_future(self._return_last_poll())
        await self._wait_for_handlers(session)
        if abandoned := session.abandoned_handlers:
            logger.warning(
                "%d handlers were abandoned: they did not stop after cancellation; their messages are redelivered",
                abandoned,
            )
            self.abandoned_handlers = abandoned
        for task in self._tasks:
            task.cancel()
        await last_poll
        with anyio.move_on_after(FLUSH_SECONDS):
            await self._acknowledger.wait_below(1)
        if pending := self._acknowledger.pending:
            logger.warning("could not delete %d processed messages; they are redelivered", pending)

    async def _wait_for_handlers(self, session: Session) -> None:
        if self._tasks:
            logger.info("stopping; %d handlers are still running", len(self._tasks))
            cancel_now = asyncio.ensure_future(self._cancel_now.wait())
            drain_until = time.monotonic() + self._drain_seconds
            while self._tasks and not cancel_now.done() and (seconds := drain_until - time.monotonic()) > 0:
                await asyncio.wait({*self._tasks, cancel_now}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            cancel_now.cancel()
        if self._tasks:
            # Cancel only once, so that handlers can roll back. Records that succeed before the grace period ends are
            # still acknowledged.
            session.stop(GRACE_SECONDS)
            await asyncio.wait(self._tasks, timeout=GRACE_SECONDS + FLUSH_SECONDS)

    async def _return_last_poll(self) -> None:
        """Let the running ReceiveMessage call end, unless ``stop`` is called again, and return what it brings."""
        if (poll := self._poll) is None:
            return
        logger.info("stopping; the running ReceiveMessage call ends within %d s", SQS_MAX_WAIT_SECONDS)
        cancel_now: asyncio.Future[Any] = asyncio.ensure_future(self._cancel_now.wait())
        both: set[asyncio.Future[Any]] = {poll, cancel_now}
        await asyncio.wait(both, timeout=LAST_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        cancel_now.cancel()
        if not poll.done():
            poll.cancel()
            logger.warning("cancelled ReceiveMessage; messages that it received stay invisible until their timeout")
        elif not poll.cancelled() and poll.exception() is None and (records := poll.result()):
            self.summary.failed += len(records)
            await self._change_visibility([Record(record) for record in records], 0, "return")
