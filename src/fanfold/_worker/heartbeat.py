"""Heartbeats, which keep messages that are in flight outside Lambda invisible.

A heartbeat sets a message's visibility timeout to the queue's, counted from now, every third of that time. When the
heartbeats of a message stop, SQS redelivers it after at most one visibility timeout.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import anyio

from fanfold._base import aws_limits
from fanfold._base.log import SafeLogger
from fanfold._base.record import Record
from fanfold._ports.queue import CopyingSettler, Refusal, Settler
from fanfold.errors import ConfigurationError, FanfoldError

logger = SafeLogger(logging.getLogger("fanfold.worker"), {})

BEATS: Final = 3
"""Heartbeats per visibility timeout."""
MARGIN_SECONDS: Final = 5
"""Margin below the maximum visibility timeout: SQS counts from the receive, slightly before the worker does."""


class WorkerQueue(Protocol):
    """The queue that a worker processes; see ``aws.sqs.SqsQueue``."""

    @property
    def url(self) -> str:
        """The queue's URL."""
        ...

    @property
    def fifo(self) -> bool:
        """True for a FIFO queue."""
        ...

    @property
    def visibility_timeout(self) -> int:
        """The queue's visibility timeout in seconds."""
        ...

    async def receive_records(self, *, max_messages: int, wait_seconds: float) -> Sequence[dict[str, Any]]:
        """Receive 1 to 10 messages as records, waiting up to ``wait_seconds`` for the first."""
        ...

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete 1 to 10 messages by their receipt handles; return the refused entries."""
        ...

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Set the visibility timeouts of 1 to 10 messages, in whole seconds from now; return the refused entries."""
        ...


class _InFlight:
    __slots__ = ("beat", "due_at", "processed", "received_at", "record")

    def __init__(self, record: Record, received_at: float, due_at: float) -> None:
        self.record = record
        self.received_at = received_at
        self.due_at = due_at
        self.beat: anyio.Event | None = None
        """Set when the running heartbeat has ended; None if none is running."""
        self.processed = False
        """True while the message waits for its deletion: the log omits a heartbeat that SQS refuses then."""


class Heartbeats:
    """The heartbeats of the messages in flight, by receipt handle."""

    def __init__(self, queue: WorkerQueue, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._clock = clock
        self._interval_seconds = queue.visibility_timeout / BEATS
        self._messages: dict[str, _InFlight] = {}

    def start(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Start the heartbeats of messages that were just received."""
        now = self._clock()
        for record in records:
            self._messages[record["receiptHandle"]] = _InFlight(Record(record), now, now + self._interval_seconds)

    async def stop(self, handles: Collection[str]) -> None:
        """Stop the heartbeats of messages, and wait until one that is running has ended.

        A visibility timeout that is set afterwards stays: no late heartbeat overwrites it.
        """
        stopped = [message for handle in handles if (message := self._messages.pop(handle, None)) is not None]
        for message in stopped:
            if message.beat is not None:
                await message.beat.wait()

    def mark_processed(self, handle: str) -> None:
        """Mark a message as waiting for its deletion; its heartbeats continue until it is deleted."""
        if message := self._messages.get(handle):
            message.processed = True

    def mark_deleted(self, handle: str) -> None:
        """Stop the heartbeats of a message that was deleted."""
        self._messages.pop(handle, None)

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        async with anyio.create_task_group() as calls:
            while True:
                for batch in _batches(self._due()):
                    beat = anyio.Event()
                    for message in batch:
                        message.beat = beat
                    calls.start_soon(self._send, batch, beat)
                await anyio.sleep(min(1.0, self._interval_seconds / 4))

    def _due(self) -> list[_InFlight]:
        """Return the messages whose heartbeat is due and, to fill up batches, those that are almost due."""
        now = self._clock()
        idle = [message for message in self._messages.values() if message.beat is None]
        if not any(message.due_at <= now for message in idle):
            return []
        due = [message for message in idle if message.due_at <= now + self._interval_seconds / 4]
        return [message for message in due if not self._drop_if_expired(message, now)]

    def _drop_if_expired(self, message: _InFlight, now: float) -> bool:
        if self._seconds(message, now) > 0:
            return False
        self._messages.pop(message.record.receipt_handle, None)
        logger.warning(
            "message %s has been in flight for nearly 12 hours, the maximum visibility timeout: SQS may redeliver it "
            "while it is being processed",
            message.record.message_id,
        )
        return True

    async def _send(self, messages: Sequence[_InFlight], beat: anyio.Event) -> None:
        now = self._clock()
        try:
            changes = [(message.record, max(1, self._seconds(message, now))) for message in messages]
            refusals = await self._queue.change_visibility(changes)
        except FanfoldError as error:
            logger.warning("a heartbeat for %d messages failed; retrying: %s", len(messages), error)
            self._reschedule(messages, self._interval_seconds / 4)
        else:
            refused = {refusal.position for refusal in refusals}
            self._reschedule(
                [message for position, message in enumerate(messages) if position not in refused],
                self._interval_seconds,
            )
            for refusal in refusals:
                self._handle_refusal(messages[refusal.position], refusal)
        finally:
            for message in messages:
                message.beat = None
            beat.set()

    def _seconds(self, message: _InFlight, now: float) -> int:
        remaining = aws_limits.SQS_MAX_VISIBILITY_SECONDS - MARGIN_SECONDS - (now - message.received_at)
        return min(self._queue.visibility_timeout, math.floor(remaining))

    def _reschedule(self, messages: Sequence[_InFlight], seconds: float) -> None:
        due_at = self._clock() + seconds
        for message in messages:
            message.due_at = due_at

    def _handle_refusal(self, message: _InFlight, refusal: Refusal) -> None:
        if not refusal.final:
            logger.warning(
                "SQS refused the heartbeat of message %s; retrying: %s", message.record.message_id, refusal.reason
            )
            self._reschedule([message], self._interval_seconds / 4)
        elif self._messages.pop(message.record.receipt_handle, None) is not None and not message.processed:
            logger.warning(
                "SQS refused the heartbeat of message %s; it may be redelivered while it is being processed: %s",
                message.record.message_id,
                refusal.reason,
            )


class HeartbeatSettler:
    """A settler that stops the heartbeats of a message before it changes its visibility timeout.

    No heartbeat can overwrite a delay.
    """

    def __init__(self, settler: Settler, heartbeats: Heartbeats) -> None:
        self._settler = settler
        self._heartbeats = heartbeats
        self._delays: dict[str, int] = {}

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Change visibility timeouts, see ``Settler``; if that fails, the current ones stay in force."""
        await self._heartbeats.stop([record.receipt_handle for record, _ in changes])
        refusals = await self._settler.change_visibility(changes)
        refused = {refusal.position for refusal in refusals}
        for position, (record, seconds) in enumerate(changes):
            if position not in refused:
                self._delays[record.receipt_handle] = seconds
        return refusals

    def take_delay(self, handle: str) -> int | None:
        """Return the visibility timeout that was set for a message, and forget it; None if none was set."""
        return self._delays.pop(handle, None)

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send messages to the dead-letter queue, see ``Settler``; heartbeats continue until they are deleted."""
        return await self._settler.send_dead_letters(rejects)

    async def send_copies(self, copies: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Send copies of messages to their queue, see ``CopyingSettler``.

        Raises:
            ConfigurationError: If the settler cannot send copies.
        """
        if not isinstance(self._settler, CopyingSettler):
            raise ConfigurationError("the settler of this worker cannot send copies")
        return await self._settler.send_copies(copies)


def _batches(items: Sequence[_InFlight]) -> Iterator[Sequence[_InFlight]]:
    for first in range(0, len(items), aws_limits.SQS_BATCH_ENTRIES):
        yield items[first : first + aws_limits.SQS_BATCH_ENTRIES]
