"""An event source mapping on a real SQS endpoint: receive, form batches, invoke a local function, delete.

``_replay.mapping`` makes the decisions; this module performs the I/O. Unlike Lambda, it does not scale: it runs up to
``maximum_concurrency`` invocations, and does not slow down polling after function errors.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.to_thread

from fanfold._base import aws_limits
from fanfold._base.concurrency import primary_error
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._base.retry import SCHEDULE, Retries, RetrySchedule
from fanfold._replay.invoke_here import Invoke
from fanfold._replay.mapping import MappingSettings, fitting, judge, record_bytes
from fanfold.aws.sqs import SqsQueue, open_queue
from fanfold.errors import ConfigurationError, ServiceError

_PARALLEL: Final = 8
"""Maximum number of concurrent calls of one kind."""
_EMPTY_WAIT_SECONDS: Final = 1
"""Wait time of receive calls, seconds, if the poller stops when the queue is empty."""
_DELETIONS: Final = RetrySchedule(5, SCHEDULE.backoff)
"""The retry schedule of a deletion."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a poller. ``received`` is the sum of ``deleted`` and ``kept``."""

    deliveries: int
    """Number of invocations."""
    received: int
    """Messages received; each redelivery counts."""
    deleted: int
    """Messages deleted."""
    kept: int
    """Messages left in the queue: reported as failed, or not deleted after all retries."""


class Poller:
    """An event source mapping that delivers the messages of an SQS queue to a local function.

    Args:
        client: An aiobotocore client for SQS.
        queue_url: The URL of the queue.
        settings: The settings of the mapping.
        invoke: Invokes the function; called on a worker thread, see ``_replay.invoke_here``.
        maximum_concurrency: Maximum number of concurrent invocations, at least 1.

    Raises:
        ConfigurationError: If ``maximum_concurrency`` is below 1.
    """

    def __init__(
        self, client: Any, queue_url: str, settings: MappingSettings, invoke: Invoke, *, maximum_concurrency: int = 5
    ) -> None:
        if maximum_concurrency < 1:
            raise ConfigurationError(f"maximum_concurrency must be an integer of at least 1, not {maximum_concurrency}")
        self._client = client
        self._queue_url = queue_url
        self._settings = settings
        self._invoke = invoke
        self._concurrency = maximum_concurrency

    async def run(self, *, until_empty: bool = True, stop: anyio.Event | None = None) -> Summary:
        """Deliver until the queue has no messages, in flight and delayed ones included, or until ``stop`` is set.

        Running invocations finish first. Without a redrive policy, a message that always fails is redelivered
        indefinitely. The poller reads the queue's message counts, which lag slightly on AWS.

        Args:
            until_empty: Stop when the queue is empty.
            stop: Set this event to stop; the poller checks it between receive calls, within 20 s.

        Raises:
            ConfigurationError: If the queue does not exist, its type is not that of the settings, or access is denied.
            ServiceError: If a call to SQS fails.
        """
        queue = await open_queue(self._client, self._queue_url)
        if queue.fifo != self._settings.fifo:
            raise ConfigurationError(
                f"queue {queue.url} is {'' if queue.fifo else 'not '}a FIFO queue; set fifo={queue.fifo}"
            )
        delivering = _Delivering(queue, self._settings, self._invoke, self._concurrency)
        try:
            return await delivering.run(until_empty=until_empty, stop=stop or anyio.Event())
        except BaseExceptionGroup as errors:
            raise primary_error(errors) from errors


class _Delivering:
    """One run of a poller."""

    def __init__(self, queue: SqsQueue, settings: MappingSettings, invoke: Invoke, concurrency: int) -> None:
        self._queue = queue
        self._settings = settings
        self._invoke = invoke
        self._free_slots = anyio.Semaphore(concurrency)
        self._threads = anyio.CapacityLimiter(concurrency)
        self._surplus: list[dict[str, Any]] = []
        self._running = 0
        self._deliveries = self._received = self._deleted = 0

    async def run(self, *, until_empty: bool, stop: anyio.Event) -> Summary:
        async with anyio.create_task_group() as invocations:
            while not stop.is_set():
                await self._free_slots.acquire()
                batch = await self._gather(_EMPTY_WAIT_SECONDS if until_empty else aws_limits.SQS_MAX_WAIT_SECONDS)
                if batch:
                    self._running += 1
                    invocations.start_soon(self._deliver, batch)
                    continue
                self._free_slots.release()
                if until_empty and not self._running and not await self._queue.count():
                    break
        return Summary(self._deliveries, self._received, self._deleted, self._received - self._deleted)

    async def _gather(self, wait_seconds: float) -> list[dict[str, Any]]:
        """Return the next batch; empty if no message arrives in time."""
        gathered, self._surplus = self._surplus, []
        if not gathered:
            gathered = list(
                await self._receive(min(self._settings.batch_size, aws_limits.SQS_BATCH_ENTRIES), wait_seconds)
            )
        sizes = [record_bytes(record) for record in gathered]
        closes_at = time.monotonic() + self._settings.window_seconds
        while gathered and fitting(sizes, self._settings) == len(gathered) < self._settings.batch_size:
            left = closes_at - time.monotonic()
            if left <= 0:
                break
            more = await self._receive_many(self._settings.batch_size - len(gathered), math.ceil(left))
            gathered += more
            sizes += [record_bytes(record) for record in more]
        fits = fitting(sizes, self._settings)
        await self._set_aside(gathered[fits:])
        return gathered[:fits]

    async def _set_aside(self, surplus: list[dict[str, Any]]) -> None:
        """Keep the surplus for the next batch; for a FIFO queue, return it to the queue to preserve the order."""
        if not self._queue.fifo:
            self._surplus = surplus
        elif surplus:
            self._received -= len(surplus)
            await self._queue.change_visibility([(Record(record), 0) for record in surplus])

    async def _receive_many(self, most: int, wait_seconds: float) -> list[dict[str, Any]]:
        """Receive at most this many records, with concurrent calls."""
        records: list[dict[str, Any]] = []

        async def receive(count: int) -> None:
            records.extend(await self._receive(count, min(wait_seconds, aws_limits.SQS_MAX_WAIT_SECONDS)))

        async with anyio.create_task_group() as calls:
            for first in range(0, min(most, _PARALLEL * aws_limits.SQS_BATCH_ENTRIES), aws_limits.SQS_BATCH_ENTRIES):
                calls.start_soon(receive, min(aws_limits.SQS_BATCH_ENTRIES, most - first))
        return records

    async def _receive(self, most: int, wait_seconds: float) -> Sequence[dict[str, Any]]:
        records = await self._queue.receive_records(max_messages=most, wait_seconds=wait_seconds)
        self._received += len(records)
        return records

    async def _deliver(self, batch: Sequence[dict[str, Any]]) -> None:
        try:
            self._deliveries += 1
            invocation = await anyio.to_thread.run_sync(self._invoke, {"Records": batch}, limiter=self._threads)
            verdict = judge(invocation, {record["messageId"] for record in batch}, self._settings)
            logger.debug("batch of %d: %s (%s)", len(batch), verdict.kind, verdict.reason)
            handles = [record["receiptHandle"] for record in batch if record["messageId"] not in verdict.failed]
            size = aws_limits.SQS_BATCH_ENTRIES
            limit = anyio.Semaphore(_PARALLEL)
            async with anyio.create_task_group() as calls:
                for first in range(0, len(handles), size):
                    calls.start_soon(self._delete, handles[first : first + size], limit)
        finally:
            self._running -= 1
            self._free_slots.release()

    async def _delete(self, handles: Sequence[str], limit: anyio.Semaphore) -> None:
        """Delete 1 to 10 messages; SQS redelivers those that cannot be deleted."""
        async with limit:
            waiting, reasons, retries = list(handles), set[str](), Retries(_DELETIONS)
            while True:
                try:
                    refused = await self._queue.delete(waiting)
                except ServiceError as error:
                    if not error.transient:
                        raise
                else:
                    self._deleted += len(waiting) - len(refused)
                    reasons |= {refusal.reason for refusal in refused if refusal.final}
                    waiting = [waiting[refusal.position] for refusal in refused if not refusal.final]
                if not waiting or not await retries.wait():
                    break
            if waiting or reasons:
                reason = "; ".join(sorted(reasons)) or f"{_DELETIONS.attempts} attempts failed"
                logger.warning("some messages could not be deleted and will be redelivered: %s", reason)
