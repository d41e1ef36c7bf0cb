"""The same handler outside Lambda, for work that takes longer than a Lambda may.

Messages are received only when there is a free place, kept hidden by heartbeats while they are in hand, and deleted, in
tens, once their records are done. What did not succeed comes back, after its back-off if there is one. A handler that
blocks the event loop stops the heartbeats too: long work that does not wait belongs into a plain ``def`` handler.
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
from fanfold._base.outcome import acknowledges
from fanfold._base.record import Record
from fanfold._base.retry import ENDLESS, Retries
from fanfold._consumer.admission import Admission
from fanfold._consumer.consumer import Consumer, Session
from fanfold._ports.queue import Settler
from fanfold._worker.acknowledge import Acknowledging
from fanfold._worker.heartbeat import Heartbeats, HeartbeatSettler, WorkerQueue
from fanfold._worker.progress import Summary, report, show_health
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError

logger = logging.getLogger("fanfold.worker")

LOOK_SECONDS: Final = 1.0
"""How often a worker without a free place looks whether a handler that hangs has ended after all."""
GRACE_SECONDS: Final = 5.0
"""How long cancelled handlers may take to end."""
FLUSH_SECONDS: Final = 10.0
"""How long the last deletions may take; what is not deleted then is delivered again."""
MOST_PENDING: Final = 1_000
"""Deletions that may wait before no more messages are received."""


class Worker:
    """Works on a queue until it is told to stop.

    Args:
        consumer: The handler and its settings; its concurrency is the bound of what is in hand.
        queue: Where messages come from.
        settler: Hands back what failed.
        drain_seconds: How long running handlers may go on once it is told to stop.
        health_file: Rewritten every two seconds, as JSON; None for none.

    Raises:
        ConfigurationError: If no message of the queue can be held.
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
            raise ConfigurationError("the queue's visibility timeout is 0 s: no message can be held; raise it")
        self.summary: Summary = Summary()
        """What it has done so far."""
        self.leftovers: int = 0
        """After ``run``: handlers that did not end though they were cancelled."""
        self._queue = queue
        self._heartbeats = Heartbeats(queue)
        self._acknowledging = Acknowledging(queue, self._heartbeats)
        self._drain_seconds = drain_seconds
        self._health_file = health_file
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._place = asyncio.Event()
        self._most = 1
        self._tasks: set[asyncio.Task[None]] = set()
        # One message at a time, so that a slow one keeps no other one waiting for its end; what belongs together, as
        # the messages of a FIFO group and the lists of a handler of lists do, goes as it was received.
        self._together = queue.fifo or consumer.settings.chunk_size is not None
        tens = aws_limits.SQS_BATCH_ENTRIES
        self._places = max(1, consumer.concurrency // tens) if self._together else consumer.concurrency
        held = HeartbeatSettler(settler, self._heartbeats)

        async def open_settler() -> Settler:
            return held

        self._abreast = min(consumer.concurrency, tens) if self._together else 1
        self._consumer = consumer.with_settings(
            settler=open_settler, raise_on_total_failure=False, concurrency=self._abreast
        )
        # The engine paces each batch by itself; here many run at once.
        self._pace = Admission(starts_per_second=consumer.settings.starts_per_second, guard=None, now=time.monotonic())

    def stop(self) -> None:
        """Receive nothing more, let what runs end within the time to drain; told again, cancel it now."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self) -> Summary:
        """Work until told to stop, then drain.

        Raises:
            ConfigurationError: If the queue is gone, or access to it.
            FanfoldError: If every place is held by a handler that hangs on its thread, long after its timeout.
        """
        try:
            return await self._run()
        except BaseExceptionGroup as errors:
            raise primary_error(errors) from None

    async def _run(self) -> Summary:
        async with self._consumer.session() as session, anyio.create_task_group() as background:
            for loop in (self._heartbeats.run, self._acknowledging.run, partial(report, self.summary)):
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
        while await self._free_place(session):
            try:
                records = await self._or_stop(
                    self._queue.receive_records(most=self._most, wait_seconds=SQS_MAX_WAIT_SECONDS)
                )
            except ServiceError as error:
                if not retries.failures:
                    logger.warning("receiving failed; it is tried again, ever more slowly: %s", error)
                await self._or_stop(retries.wait())
                continue
            retries.reset()
            self._heartbeats.take(records or [])
            for together in [records] if self._together and records else [[record] for record in records or []]:
                self._start(session, together)

    async def _free_place(self, session: Session) -> bool:
        """Wait for a place and for room among the deletions; return False once told to stop.

        Raises:
            FanfoldError: If no place can become free.
        """
        await self._or_stop(self._acknowledging.below(MOST_PENDING))
        while not self._stop.is_set():
            lost = math.ceil(session.leftovers / self._abreast)
            free = self._places - len(self._tasks) - lost
            if free > 0:
                self._most = aws_limits.SQS_BATCH_ENTRIES if self._together else min(free, aws_limits.SQS_BATCH_ENTRIES)
                return True
            if lost >= self._places:
                raise FanfoldError(f"{lost} handlers hang on their threads after their timeout, and no place is left")
            self._place.clear()
            await self._or_stop(asyncio.wait_for(self._place.wait(), LOOK_SECONDS))
        return False

    async def _or_stop(self, waited: Any) -> Any:
        """Wait for something, or to be told to stop, which cancels it; return its value, None if it did not come."""
        task, stop = asyncio.ensure_future(waited), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        except TimeoutError:
            return None
        finally:
            task.cancel()
            stop.cancel()

    def _start(self, session: Session, records: Sequence[dict[str, Any]]) -> None:
        task = asyncio.ensure_future(self._handle(session, records))
        self._tasks.add(task)
        self.summary.in_flight += len(records)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._place.set()
        if not task.cancelled() and (error := task.exception()):
            logger.error("a batch failed as a whole; its messages come back", exc_info=error)

    async def _handle(self, session: Session, records: Sequence[dict[str, Any]]) -> None:
        left = {record["receiptHandle"] for record in records}
        try:
            if not await self._may_start(len(records)):
                await self._hand_back(records)
                return
            result = await session({"Records": list(records)})
            for record, outcome in zip(result.records, result.outcomes, strict=True):
                if acknowledges(outcome):
                    left.discard(record.receipt_handle)
                    self._acknowledging.add(record.receipt_handle)
        except KeyboardInterrupt:
            logger.warning("a handler raised KeyboardInterrupt: the worker stops")
            self.stop()
        finally:
            self.summary.in_flight -= len(records)
            self.summary.done += len(records) - len(left)
            self.summary.failed += len(left)
            await self._heartbeats.let_go(left)  # they come back, after a visibility timeout at most

    async def _may_start(self, starts: int) -> bool:
        """Wait until so many records may start; return False if told to stop meanwhile."""
        for _ in range(starts):
            while (now := time.monotonic()) >= self._pace.free_until and (wait := self._pace.wait(now, 0)):
                await self._or_stop(asyncio.sleep(wait))
                if self._stop.is_set():
                    return False
        return True

    async def _hand_back(self, records: Sequence[dict[str, Any]]) -> None:
        """Make messages visible at once: nothing was done with them."""
        await self._heartbeats.let_go([record["receiptHandle"] for record in records])
        try:
            await self._queue.change_visibility([(Record(record), 0) for record in records])
        except FanfoldError as error:
            logger.warning("%d messages come back after their visibility timeout only: %s", len(records), error)

    async def _drain(self, session: Session) -> None:
        """Let what runs end, cancel once what does not, and delete what is done."""
        if self._tasks:
            logger.info("stopping: %d batches are still running", len(self._tasks))
            hurry = asyncio.ensure_future(self._hurry.wait())
            until = time.monotonic() + self._drain_seconds
            while self._tasks and not hurry.done() and (seconds := until - time.monotonic()) > 0:
                await asyncio.wait({*self._tasks, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
        if self._tasks:
            # Cancelled once: what rolls back is given its time, and what had ended by then is acknowledged.
            session.stop(GRACE_SECONDS)
            await asyncio.wait(self._tasks, timeout=GRACE_SECONDS + FLUSH_SECONDS)
        if leftovers := session.leftovers:
            logger.warning("%d handlers did not end when they were cancelled; their messages come back", leftovers)
            self.leftovers = leftovers
        for task in self._tasks:
            task.cancel()
        with anyio.move_on_after(FLUSH_SECONDS):
            await self._acknowledging.below(1)
        if pending := self._acknowledging.pending:
            logger.warning("%d messages are done and could not be deleted; they are delivered again", pending)
