"""The mapping over a real SQS endpoint: receives, forms batches, calls a function here, deletes what it may.

What it decides is decided in ``_replay.mapping``; this module waits and calls. It does not scale: it keeps up to
``maximum_concurrency`` invocations going, and polls as fast after function errors as before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread

from fanfold._base import aws_limits
from fanfold._base.concurrency import primary_error
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._base.retry import SCHEDULE, Retries, RetrySchedule
from fanfold._replay.mapping import Invocation, MappingSettings, fitting, judge, record_bytes
from fanfold.aws.sqs import SqsQueue, open_queue
from fanfold.errors import ConfigurationError, ServiceError

Invoke: TypeAlias = Callable[[dict[str, Any]], Invocation]
"""Invokes a function with an event, to its end."""

_PARALLEL: Final = 8
"""Calls of one kind at once."""
_LOOK_SECONDS: Final = 1
"""Seconds of a receive that ends the poller when the queue is empty."""
_DELETIONS: Final = RetrySchedule(5, SCHEDULE.backoff)
"""How often a deletion is tried."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a poller did. ``received`` is ``deleted`` and ``kept`` together."""

    deliveries: int
    """Invocations."""
    received: int
    """Messages received; one that came again counts again."""
    deleted: int
    """Messages deleted."""
    kept: int
    """Messages left in the queue: reported, or not to be deleted for all retries."""


class Poller:
    """Delivers what is in a queue on SQS to a function here, as Lambda's event source mapping would.

    Args:
        client: An aiobotocore client of SQS.
        queue_url: The queue.
        settings: Of the mapping.
        invoke: Invokes the function; called on a worker thread, see ``_replay.simulator.invoke_here``.
        maximum_concurrency: Invocations at once, from 1.

    Raises:
        ConfigurationError: If ``maximum_concurrency`` is impossible.
    """

    def __init__(
        self, client: Any, queue_url: str, settings: MappingSettings, invoke: Invoke, *, maximum_concurrency: int = 5
    ) -> None:
        if maximum_concurrency < 1:
            raise ConfigurationError(f"maximum_concurrency is a whole number from 1, not {maximum_concurrency}")
        self._client = client
        self._queue_url = queue_url
        self._settings = settings
        self._invoke = invoke
        self._concurrency = maximum_concurrency

    async def run(self, *, until_empty: bool = True, stop: anyio.Event | None = None) -> Summary:
        """Deliver until nothing is left in the queue, hidden or delayed, or until told to stop.

        What is running at the end is let finish. Without a redrive policy a message that always fails is delivered
        for ever. Whether the queue is empty is what SQS says: on AWS its counts lag a little.

        Args:
            until_empty: Whether an empty queue is the end.
            stop: Set to end; noticed between receives, within 20 s.

        Raises:
            ConfigurationError: If the queue does not exist, is not of the settings' kind, or access is denied.
            ServiceError: If SQS failed.
        """
        queue = await open_queue(self._client, self._queue_url)
        if queue.fifo != self._settings.fifo:
            raise ConfigurationError(f"queue {queue.url} is {'' if queue.fifo else 'not '}a FIFO queue: set fifo so")
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
        self._places = anyio.Semaphore(concurrency)
        self._threads = anyio.CapacityLimiter(concurrency)
        self._left_over: list[dict[str, Any]] = []
        self._running = 0
        self._deliveries = self._received = self._deleted = 0

    async def run(self, *, until_empty: bool, stop: anyio.Event) -> Summary:
        async with anyio.create_task_group() as invocations:
            while not stop.is_set():
                await self._places.acquire()
                batch = await self._gather(_LOOK_SECONDS if until_empty else aws_limits.SQS_MAX_WAIT_SECONDS)
                if batch:
                    self._running += 1
                    invocations.start_soon(self._deliver, batch)
                    continue
                self._places.release()
                if until_empty and not self._running and not await self._queue.count():
                    break
        return Summary(self._deliveries, self._received, self._deleted, self._received - self._deleted)

    async def _gather(self, wait_seconds: float) -> list[dict[str, Any]]:
        """Return the next batch; empty if no message came in time."""
        gathered, self._left_over = self._left_over, []
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
        """Keep what did not fit for the next batch; in a FIFO queue it goes back, to wait behind its group."""
        if not self._queue.fifo:
            self._left_over = surplus
        elif surplus:
            self._received -= len(surplus)
            await self._queue.change_visibility([(Record(record), 0) for record in surplus])

    async def _receive_many(self, wanted: int, wait_seconds: float) -> list[dict[str, Any]]:
        """Receive at most what is wanted, in several calls at once."""
        answers: list[dict[str, Any]] = []

        async def receive(most: int) -> None:
            answers.extend(await self._receive(most, min(wait_seconds, aws_limits.SQS_MAX_WAIT_SECONDS)))

        async with anyio.create_task_group() as calls:
            for first in range(0, min(wanted, _PARALLEL * aws_limits.SQS_BATCH_ENTRIES), aws_limits.SQS_BATCH_ENTRIES):
                calls.start_soon(receive, min(aws_limits.SQS_BATCH_ENTRIES, wanted - first))
        return answers

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
            done = [record["receiptHandle"] for record in batch if record["messageId"] not in verdict.failed]
            tens = aws_limits.SQS_BATCH_ENTRIES
            at_once = anyio.Semaphore(_PARALLEL)
            async with anyio.create_task_group() as calls:
                for first in range(0, len(done), tens):
                    calls.start_soon(self._delete, done[first : first + tens], at_once)
        finally:
            self._running -= 1
            self._places.release()

    async def _delete(self, handles: Sequence[str], at_once: anyio.Semaphore) -> None:
        """Delete 1 to 10 messages; what cannot be deleted comes back, and that is all."""
        async with at_once:
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
                told = "; ".join(sorted(reasons)) or f"{_DELETIONS.attempts} attempts failed"
                logger.warning("some messages could not be deleted, and are delivered again: %s", told)
