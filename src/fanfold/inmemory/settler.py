"""A settler of a queue in this process."""

from __future__ import annotations

from collections.abc import Sequence

from fanfold._base.dead_letter import ATTRIBUTE, reason_attribute
from fanfold._base.record import Record
from fanfold._ports.queue import Message, Refusal
from fanfold.inmemory.queue import InMemoryQueue

__all__ = ["InMemorySettler"]


class InMemorySettler:
    """Hands messages back to an in-memory queue, and buries them in another."""

    def __init__(self, queue: InMemoryQueue, dead_letter_queue: InMemoryQueue | None = None) -> None:
        self._queue = queue
        self._dead_letter_queue = dead_letter_queue

    async def __call__(self) -> InMemorySettler:
        """Return this settler: it is its own opener."""
        return self

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Hide messages for some seconds from now; refuse those that are gone or received again since."""
        return [
            Refusal(position, "the receipt handle is no longer valid", final=True)
            for position, (record, seconds) in enumerate(changes)
            if not self._queue.hide(record.receipt_handle, seconds)
        ]

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send messages with their reasons to the dead-letter queue."""
        if self._dead_letter_queue is None:
            return [Refusal(position, "there is no dead-letter queue", final=True) for position in range(len(rejects))]
        messages = [Message(record.body, {ATTRIBUTE: reason_attribute(record, reason)}) for record, reason in rejects]
        return await self._dead_letter_queue.send(messages)
