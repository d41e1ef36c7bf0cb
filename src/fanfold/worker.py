"""The same handler outside Lambda, for work that takes longer than a Lambda may.

Messages are received only when there is a free place, kept hidden by heartbeats while they are in hand, and deleted, in
tens, once their records are done. What did not succeed comes back, after its back-off if there is one. A handler that
blocks the event loop stops the heartbeats too: long work that does not wait belongs into a plain ``def`` handler.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import anyio

from fanfold import limits
from fanfold.binding import Call
from fanfold.consume import Consumer
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError
from fanfold.holding import Acknowledging, Holding, HoldingSettler, Port, delay
from fanfold.outcome import BatchResult, acknowledges
from fanfold.pace import Pace
from fanfold.protocols import Settler

__all__ = ["Source", "Summary", "Worker"]

logger = logging.getLogger("fanfold.worker")

POLL_SECONDS: Final = 20
"""How long a receive waits for a message; the longest SQS allows."""
HEALTH_SECONDS: Final = 2.0
"""How often the health file is written: one that is several times older is a worker that hangs."""
REPORT_SECONDS: Final = 10.0
"""How often the log says how far the work is, while there is any."""
GRACE_SECONDS: Final = 5.0
"""How long cancelled handlers may take to end."""
FLUSH_SECONDS: Final = 10.0
"""How long the last deletions may take; what is not deleted then is delivered again."""
MOST_PENDING: Final = 1_000
"""Deletions that may wait before no more messages are received."""


class Source(Port, Protocol):
    """The queue a worker works on; see ``aws.inbox.Inbox``."""

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue."""
        ...

    async def receive(self, *, most: int, wait_seconds: float) -> Sequence[dict[str, Any]]:
        """Receive 1 to 10 messages as records, waiting up to ``wait_seconds`` for the first."""
        ...


@dataclass(slots=True)
class Summary:
    """What a worker has done so far."""

    done: int = 0
    """Records that succeeded, or were rejected and forwarded."""
    failed: int = 0
    """Records that come back."""
    in_flight: int = 0
    """Messages in hand."""


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
        queue: Source,
        settler: Settler,
        *,
        drain_seconds: float = 30.0,
        health_file: Path | None = None,
    ) -> None:
        if queue.visibility_timeout < 1:
            raise ConfigurationError("the queue's visibility timeout is 0 s: no message can be held; raise it")
        self.summary = Summary()
        """What it has done so far."""
        self.calls = _Calls()
        """The handlers that run; after ``run``, those that went on though they were cancelled."""
        self._queue = queue
        self._holding = Holding(queue)
        self._acknowledging = Acknowledging(queue, self._holding)
        self._drain_seconds = drain_seconds
        self._health_file = health_file
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._place = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # One message at a time, so that a slow one keeps no other one waiting for its end; what belongs together, as
        # the messages of a FIFO group and the lists of a handler of lists do, goes as it was received.
        self._together = queue.fifo or consumer.settings.chunk_size is not None
        tens = limits.SQS_BATCH_ENTRIES
        self._places = max(1, consumer.concurrency // tens) if self._together else consumer.concurrency
        held = HoldingSettler(settler, self._holding)

        async def open_settler() -> Settler:
            return held

        concurrency = min(consumer.concurrency, tens) if self._together else 1
        self._consumer = consumer.with_settings(
            settler=open_settler, raise_on_total_failure=False, concurrency=concurrency
        )
        self._consumer.add_observer(self.calls)
        # The engine paces each batch by itself; here many run at once.
        self._pace = Pace(starts_per_second=consumer.settings.starts_per_second, guard=None, now=time.monotonic())

    def stop(self) -> None:
        """Receive nothing more, let what runs end within the time to drain; told again, cancel it now."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self) -> Summary:
        """Work until told to stop, then drain.

        Raises:
            ConfigurationError: If the queue is gone, or access to it.
        """
        try:
            return await self._run()
        except BaseExceptionGroup as errors:
            raise _first_of(errors) from None

    async def _run(self) -> Summary:
        async with self._consumer.session() as process, anyio.create_task_group() as background:
            for loop in (self._holding.run, self._acknowledging.run, self._report, self._show_health):
                background.start_soon(loop)
            try:
                await self._receive(process)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._drain()
                background.cancel_scope.cancel()
        return self.summary

    async def _receive(self, process: Callable[[Any, Any], Awaitable[BatchResult]]) -> None:
        failures = 0
        while not self._stop.is_set():
            if not (free := self._places - len(self._tasks)):
                self._place.clear()
                await self._or_stop(self._place.wait())
                continue
            await self._or_stop(self._acknowledging.below(MOST_PENDING))
            most = limits.SQS_BATCH_ENTRIES if self._together else min(free, limits.SQS_BATCH_ENTRIES)
            try:
                records = await self._or_stop(self._queue.receive(most=most, wait_seconds=POLL_SECONDS))
            except ServiceError as error:
                failures += 1
                if failures == 1:
                    logger.warning("receiving failed; it is tried again, ever more slowly: %s", error)
                await self._or_stop(asyncio.sleep(delay(failures)))
                continue
            failures = 0
            self._holding.take(records or [])
            for together in [records] if self._together and records else [[record] for record in records or []]:
                self._start(process, together)

    async def _or_stop(self, waited: Any) -> Any:
        """Wait for something, or to be told to stop, which cancels it; return its value, None for a stop."""
        task, stop = asyncio.ensure_future(waited), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            stop.cancel()

    def _start(self, process: Callable[[Any, Any], Awaitable[BatchResult]], records: Sequence[dict[str, Any]]) -> None:
        task = asyncio.ensure_future(self._handle(process, records))
        self._tasks.add(task)
        self.summary.in_flight += len(records)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._place.set()
        if not task.cancelled() and (error := task.exception()):
            logger.error("a batch failed as a whole; its messages come back", exc_info=error)

    async def _handle(
        self, process: Callable[[Any, Any], Awaitable[BatchResult]], records: Sequence[dict[str, Any]]
    ) -> None:
        left = {record["receiptHandle"] for record in records}
        try:
            await self._hold_back(len(records))
            result = await process({"Records": list(records)}, None)
            for record, outcome in zip(result.records, result.outcomes, strict=True):
                if acknowledges(outcome):
                    left.discard(record.receipt_handle)
                    self._acknowledging.add(record.receipt_handle)
        finally:
            self.summary.in_flight -= len(records)
            self.summary.done += len(records) - len(left)
            self.summary.failed += len(left)
            await self._holding.let_go(left)  # they come back, after a visibility timeout at most

    async def _hold_back(self, starts: int) -> None:
        """Wait until so many records may start; told to stop, none waits: what has not started is given up."""
        for _ in range(starts):
            while (now := time.monotonic()) >= self._pace.free_until and (wait := self._pace.wait(now, 0)):
                await self._or_stop(asyncio.sleep(wait))
                if self._stop.is_set():
                    raise asyncio.CancelledError

    async def _drain(self) -> None:
        """Let what runs end, cancel once what does not, and delete what is done."""
        running = set(self._tasks)
        if running:
            logger.info("stopping: %d batches are still running", len(running))
            hurry = asyncio.ensure_future(self._hurry.wait())
            until = time.monotonic() + self._drain_seconds
            while self._tasks and not hurry.done() and (seconds := until - time.monotonic()) > 0:
                await asyncio.wait({*self._tasks, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=GRACE_SECONDS)
            # Cancelled once: what rolls back is given its time before the loop's end cancels it again.
            with anyio.move_on_after(GRACE_SECONDS):
                await self.calls.all_ended()
        if self.calls.running:
            logger.warning(
                "%d handlers did not end when they were cancelled; their messages come back", self.calls.running
            )
        with anyio.move_on_after(FLUSH_SECONDS):
            await self._acknowledging.below(1)
        if pending := self._acknowledging.pending:
            logger.warning("%d messages are done and could not be deleted; they are delivered again", pending)

    async def _report(self) -> None:
        before, began = Summary(), time.monotonic()
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            now, seen = time.monotonic(), Summary(**asdict(self.summary))
            ended = seen.done + seen.failed - before.done - before.failed
            if ended or seen.in_flight:
                rate = ended / (now - began)
                logger.info(
                    "%d done, %d come back, %d in hand, %.1f a second", seen.done, seen.failed, seen.in_flight, rate
                )
            before, began = seen, now

    async def _show_health(self) -> None:
        """Write the health file again and again; a file that cannot be written is said once."""
        told = False
        while self._health_file is not None:
            try:
                unfinished = self._health_file.with_name(f".{self._health_file.name}")
                unfinished.write_text(json.dumps({"time": time.time(), **asdict(self.summary)}), encoding="utf-8")
                unfinished.replace(self._health_file)
            except OSError as error:
                if not told:
                    logger.warning("the health file %s cannot be written: %s", self._health_file, error.strerror)
                told = True
            await asyncio.sleep(HEALTH_SECONDS)


class _Calls:
    """An observer that counts the calls of the handler that run."""

    def __init__(self) -> None:
        self.running = 0
        self._none = asyncio.Event()

    def around(self, call: Call) -> Call:
        async def counted(given: Any) -> Any:
            self.running += 1
            self._none.clear()
            try:
                return await call(given)
            finally:
                self.running -= 1
                if not self.running:
                    self._none.set()

        return counted

    def batch_ended(self, result: BatchResult) -> None:
        """Nothing is to be noted."""

    async def all_ended(self) -> None:
        """Wait until none runs."""
        if self.running:
            await self._none.wait()


def _first_of(errors: BaseException) -> BaseException:
    """Return one of a group: ours before others, which are what it led to."""
    if not isinstance(errors, BaseExceptionGroup):
        return errors
    found = [_first_of(error) for error in errors.exceptions]
    return next((error for error in found if isinstance(error, FanfoldError)), found[0])
