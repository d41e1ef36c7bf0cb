"""Messages that are done are deleted, in tens, until SQS has."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

import anyio

from fanfold._base import aws_limits
from fanfold._base.retry import ENDLESS, Retries
from fanfold._worker.heartbeat import Heartbeats, WorkerQueue
from fanfold.errors import ServiceError

logger = logging.getLogger("fanfold.worker")

LINGER_SECONDS: Final = 0.1
"""How long an acknowledgement waits for nine others."""
CALLS: Final = 4
"""Deletions in flight at once, in tens."""


class Acknowledging:
    """Deletes what is done, in tens, until SQS has."""

    def __init__(self, queue: WorkerQueue, heartbeats: Heartbeats) -> None:
        self._queue = queue
        self._heartbeats = heartbeats
        self._waiting: deque[str] = deque()
        self._deleting = 0
        self._changed = anyio.Event()

    @property
    def pending(self) -> int:
        """Messages that are done and not deleted."""
        return len(self._waiting) + self._deleting

    def add(self, handle: str) -> None:
        """Have a message deleted."""
        self._heartbeats.done(handle)
        self._waiting.append(handle)
        self._change()

    async def below(self, bound: int) -> None:
        """Wait until fewer than so many messages are pending."""
        while self.pending >= bound:
            await self._changed.wait()

    async def run(self) -> None:
        """Delete what is added, until cancelled.

        Raises:
            ConfigurationError: If messages may not be deleted any more: all that is done would be done again.
        """
        places = anyio.Semaphore(CALLS)
        async with anyio.create_task_group() as calls:
            while True:
                while not self._waiting:
                    await self._changed.wait()
                await self._linger()
                await places.acquire()
                ten = [self._waiting.popleft() for _ in range(min(len(self._waiting), aws_limits.SQS_BATCH_ENTRIES))]
                self._deleting += len(ten)
                calls.start_soon(self._delete, ten, places)

    async def _linger(self) -> None:
        with anyio.move_on_after(LINGER_SECONDS):
            while len(self._waiting) < aws_limits.SQS_BATCH_ENTRIES:
                await self._changed.wait()

    async def _delete(self, handles: Sequence[str], places: anyio.Semaphore) -> None:
        waiting, retries = list(handles), Retries(ENDLESS)
        while waiting:
            left = await self._attempt(waiting)
            for handle in set(waiting).difference(left):
                self._heartbeats.forget(handle)
            self._deleting -= len(waiting) - len(left)
            self._change()
            waiting = left
            if waiting:
                await retries.wait()
        places.release()

    async def _attempt(self, handles: Sequence[str]) -> list[str]:
        """Return what has to be tried again."""
        try:
            refused = await self._queue.delete(handles)
        except ServiceError as error:
            logger.warning("deleting %d messages failed; it is tried again: %s", len(handles), error)
            return list(handles)
        for refusal in refused:
            if refusal.final:
                logger.warning("a message that is done may come back: deleting it was refused: %s", refusal.reason)
        return [handles[refusal.position] for refusal in refused if not refusal.final]

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
