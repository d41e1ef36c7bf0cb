"""A worker that runs a consumer outside Lambda, for handlers that take longer than a Lambda invocation may.

The worker receives messages only when it has a free slot. Heartbeats keep messages in flight invisible. Messages whose
handlers succeeded are deleted in batches; the others are redelivered, after their backoff if there is one. An ``async``
handler that blocks the event loop stops the heartbeats too: use a ``def`` handler for CPU-bound work.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from fanfold._base import aws_limits
from fanfold._base.aws_limits import SQS_MAX_WAIT_SECONDS
from fanfold._base.concurrency import primary_error
from fanfold._base.log import SafeLogger
from fanfold._base.outcome import acknowledges
from fanfold._base.record import Record
from fanfold._base.retry import ENDLESS, Retries
from fanfold._consumer.admission import Admission
from fanfold._consumer.consumer import Consumer, Session
from fanfold._ports.queue import Settler
from fanfold._worker.acknowledge import Acknowledger
from fanfold._worker.heartbeat import Heartbeats, HeartbeatSettler, WorkerQueue
from fanfold._worker.progress import Summary, report, show_health
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError

logger = SafeLogger(logging.getLogger("fanfold.worker"), {})

CHECK_SECONDS: Final = 1.0
"""Interval at which a worker without a free slot checks whether an abandoned handler has ended."""
GRACE_SECONDS: Final = 5.0
"""Time that cancelled handlers get to end."""
FLUSH_SECONDS: Final = 10.0
"""Time limit of the last deletions; SQS redelivers the messages that are not deleted by then."""
MAX_PENDING_DELETIONS: Final = 1_000
"""Number of waiting deletions at which the worker stops receiving."""


class Worker:
    """A process that handles the messages of a queue until it is stopped.

    Args:
        consumer: The handler and its settings; its concurrency limits the records in flight.
        queue: The queue to receive from.
        settler: Changes visibility timeouts, and sends dead letters.
        drain_seconds: Time that running handlers get to finish after ``stop``.
        health_file: A JSON file that is rewritten every two seconds; None for none.

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
        self._acknowledger = Acknowledger(queue, self._heartbeats)
        self._drain_seconds = drain_seconds
        self._health_file = health_file
        self._stop = asyncio.Event()
        self._cancel_now = asyncio.Event()
        self._slot_freed = asyncio.Event()
        self._receive_at_most = 1
        self._tasks: set[asyncio.Task[None]] = set()
        # One message per batch, so that a slow record delays no other. FIFO queues and handlers that take lists need
        # the messages together: there, a batch is what one call received.
        self._whole_batches = queue.fifo or consumer.settings.chunk_size is not None
        batch_entries = aws_limits.SQS_BATCH_ENTRIES
        self._slots = max(1, consumer.concurrency // batch_entries) if self._whole_batches else consumer.concurrency
        heartbeat_settler = HeartbeatSettler(settler, self._heartbeats)

        async def open_settler() -> Settler:
            return heartbeat_settler

        self._batch_concurrency = min(consumer.concurrency, batch_entries) if self._whole_batches else 1
        self._consumer = consumer.with_settings(
            settler=open_settler, raise_on_total_failure=False, concurrency=self._batch_concurrency
        )
        # The engine limits the start rate of each batch alone; here, many batches run concurrently.
        self._admission = Admission(
            starts_per_second=consumer.settings.starts_per_second, guard=None, now=time.monotonic()
        )

    def stop(self) -> None:
        """Stop receiving, and let running handlers finish within ``drain_seconds``; a second call cancels them."""
        if self._stop.is_set():
            self._cancel_now.set()
        self._stop.set()

    async def run(self) -> Summary:
        """Process messages until stopped, then drain.

        Raises:
            ConfigurationError: If the queue does not exist, or access to it is denied.
            FanfoldError: If every slot is held by an abandoned handler, which blocks its thread after its timeout.
        """
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
                await self._receive(session)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._drain(session)
                background.cancel_scope.cancel()
        return self.summary

    async def _receive(self, session: Session) -> None:
        retries = Retries(ENDLESS)
        while await self._free_slot(session):
            try:
                records = await self._or_stop(
                    self._queue.receive_records(max_messages=self._receive_at_most, wait_seconds=SQS_MAX_WAIT_SECONDS)
                )
            except ServiceError as error:
                if not retries.failures:
                    logger.warning("could not receive messages; retrying with exponential backoff: %s", error)
                await self._or_stop(retries.wait())
                continue
            retries.reset()
            self._heartbeats.start(records or [])
            for batch in [records] if self._whole_batches and records else [[record] for record in records or []]:
                self._start(session, batch)

    async def _free_slot(self, session: Session) -> bool:
        """Wait for a free slot and for the deletions to catch up; return False after ``stop``.

        Raises:
            FanfoldError: If no slot can become free.
        """
        await self._or_stop(self._acknowledger.wait_below(MAX_PENDING_DELETIONS))
        while not self._stop.is_set():
            blocked = math.ceil(session.abandoned_handlers / self._batch_concurrency)
            free = self._slots - len(self._tasks) - blocked
            if free > 0:
                self._receive_at_most = (
                    aws_limits.SQS_BATCH_ENTRIES if self._whole_batches else min(free, aws_limits.SQS_BATCH_ENTRIES)
                )
                return True
            if blocked >= self._slots:
                raise FanfoldError(
                    f"{blocked} handlers did not stop after their timeout and hold every slot; restart the worker"
                )
            self._slot_freed.clear()
            await self._or_stop(asyncio.wait_for(self._slot_freed.wait(), CHECK_SECONDS))
        return False

    async def _or_stop(self, awaitable: Any) -> Any:
        """Return the result of an awaitable; cancel it and return None after ``stop`` or on a TimeoutError."""
        task, stopped = asyncio.ensure_future(awaitable), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        except TimeoutError:
            return None
        finally:
            task.cancel()
            stopped.cancel()

    def _start(self, session: Session, records: Sequence[dict[str, Any]]) -> None:
        task = asyncio.ensure_future(self._handle(session, records))
        self._tasks.add(task)
        self.summary.in_flight += len(records)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slot_freed.set()
        if not task.cancelled() and (error := task.exception()):
            logger.error("a batch failed as a whole; its messages are redelivered", exc_info=error)

    async def _handle(self, session: Session, records: Sequence[dict[str, Any]]) -> None:
        unacknowledged = {record["receiptHandle"] for record in records}
        try:
            if not await self._may_start(len(records)):
                await self._return_unprocessed(records)
                return
            result = await session({"Records": list(records)})
            for record, outcome in zip(result.records, result.outcomes, strict=True):
                if acknowledges(outcome):
                    unacknowledged.discard(record.receipt_handle)
                    self._acknowledger.add(record.receipt_handle)
        except KeyboardInterrupt:
            logger.warning("a handler raised KeyboardInterrupt; stopping the worker")
            self.stop()
        finally:
            self.summary.in_flight -= len(records)
            self.summary.done += len(records) - len(unacknowledged)
            self.summary.failed += len(unacknowledged)
            await self._heartbeats.stop(unacknowledged)  # SQS redelivers them after at most one visibility timeout

    async def _may_start(self, starts: int) -> bool:
        """Wait until ``starts`` records may start; return False if ``stop`` was called meanwhile."""
        for _ in range(starts):
            while (now := time.monotonic()) >= self._admission.free_until and (wait := self._admission.wait(now, 0)):
                await self._or_stop(asyncio.sleep(wait))
                if self._stop.is_set():
                    return False
        return True

    async def _return_unprocessed(self, records: Sequence[dict[str, Any]]) -> None:
        """Make messages that were not processed visible immediately."""
        await self._heartbeats.stop([record["receiptHandle"] for record in records])
        try:
            await self._queue.change_visibility([(Record(record), 0) for record in records])
        except FanfoldError as error:
            logger.warning(
                "could not return %d unprocessed messages; they are redelivered after their visibility timeout: %s",
                len(records),
                error,
            )

    async def _drain(self, session: Session) -> None:
        """Let running handlers finish, cancel the others once, and delete the processed messages."""
        if self._tasks:
            logger.info("stopping; %d batches are still running", len(self._tasks))
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
        if abandoned := session.abandoned_handlers:
            logger.warning(
                "%d handlers were abandoned: they did not stop after cancellation; their messages are redelivered",
                abandoned,
            )
            self.abandoned_handlers = abandoned
        for task in self._tasks:
            task.cancel()
        with anyio.move_on_after(FLUSH_SECONDS):
            await self._acknowledger.wait_below(1)
        if pending := self._acknowledger.pending:
            logger.warning("could not delete %d processed messages; they are redelivered", pending)
