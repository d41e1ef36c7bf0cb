"""Deletion of processed messages in batches of up to ten, retried until SQS has deleted them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

import anyio

from fanfold._base import aws_limits
from fanfold._base.log import SafeLogger
from fanfold._base.retry import ENDLESS, Retries
from fanfold._worker.heartbeat import Heartbeats, WorkerQueue
from fanfold.errors import ServiceError

logger = SafeLogger(logging.getLogger("fanfold.worker"), {})

LINGER_SECONDS: Final = 0.1
"""Longest time that a deletion waits for a batch of ten to fill up."""
CALLS: Final = 4
"""Concurrent calls of DeleteMessageBatch."""


class Acknowledger:
    """A background task that deletes processed messages in batches of up to ten."""

    def __init__(self, queue: WorkerQueue, heartbeats: Heartbeats) -> None:
        self._queue = queue
        self._heartbeats = heartbeats
        self._waiting: deque[str] = deque()
        self._deleting = 0
        self._changed = anyio.Event()

    @property
    def pending(self) -> int:
        """The number of processed messages that are not deleted yet."""
        return len(self._waiting) + self._deleting

    def add(self, handle: str) -> None:
        """Schedule the deletion of a message."""
        self._heartbeats.mark_processed(handle)
        self._waiting.append(handle)
        self._signal_change()

    async def wait_below(self, limit: int) -> None:
        """Wait until fewer than ``limit`` messages are pending."""
        while self.pending >= limit:
            await self._changed.wait()

    async def run(self) -> None:
        """Delete messages as they are added, until cancelled.

        Raises:
            ConfigurationError: If access to the queue is lost: without deletions, every message is processed again.
        """
        slots = anyio.Semaphore(CALLS)
        async with anyio.create_task_group() as calls:
            while True:
                while not self._waiting:
                    await self._changed.wait()
                await self._linger()
                await slots.acquire()
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), aws_limits.SQS_BATCH_ENTRIES))]
                self._deleting += len(batch)
                calls.start_soon(self._delete, batch, slots)

    async def _linger(self) -> None:
        with anyio.move_on_after(LINGER_SECONDS):
            while len(self._waiting) < aws_limits.SQS_BATCH_ENTRIES:
                await self._changed.wait()

    async def _delete(self, handles: Sequence[str], slots: anyio.Semaphore) -> None:
        remaining, retries = list(handles), Retries(ENDLESS)
        while remaining:
            failed = await self._attempt(remaining)
            for handle in set(remaining).difference(failed):
                self._heartbeats.mark_deleted(handle)
            self._deleting -= len(remaining) - len(failed)
            self._signal_change()
            remaining = failed
            if remaining:
                await retries.wait()
        slots.release()

    async def _attempt(self, handles: Sequence[str]) -> list[str]:
        """Delete messages; return the receipt handles to retry."""
        try:
            refused = await self._queue.delete(handles)
        except ServiceError as error:
            logger.warning("could not delete %d messages; retrying: %s", len(handles), error)
            return list(handles)
        for refusal in refused:
            if refusal.final:
                logger.warning("SQS refused to delete a processed message; it may be redelivered: %s", refusal.reason)
        return [handles[refusal.position] for refusal in refused if not refusal.final]

    def _signal_change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
