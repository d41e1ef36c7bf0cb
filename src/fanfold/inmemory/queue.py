"""A queue in this process."""

from __future__ import annotations

import itertools
import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio

from fanfold._base import aws_limits
from fanfold._ports.queue import Message, Received, Refusal
from fanfold.errors import ServiceError

__all__ = ["InMemoryQueue"]

_POLL_SECONDS = 0.005


@dataclass(slots=True)
class _Queued:
    message: Message
    message_id: str
    visible_at: float
    receive_count: int = 0
    receipt_handle: str = ""


class InMemoryQueue:
    """A standard queue: at least once, hidden after a receive, to the dead-letter queue after too many."""

    def __init__(
        self,
        *,
        visibility_timeout: float = 30.0,
        max_receive_count: int | None = None,
        dead_letter_queue: InMemoryQueue | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.visibility_timeout = visibility_timeout
        """Seconds a received message stays hidden."""
        self.max_receive_count = max_receive_count
        """Receives after which a message moves to the dead-letter queue; None for never."""
        self.dead_letter_queue = dead_letter_queue
        """Where to."""
        self._clock = clock
        self._messages: dict[str, _Queued] = {}
        self._handles = itertools.count(1)

    def __len__(self) -> int:
        return len(self._messages)

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send 1 to 10 messages of at most 1 MiB in total; none is ever refused one by one."""
        if not 1 <= len(messages) <= aws_limits.SQS_BATCH_ENTRIES:
            raise ServiceError(f"a batch of {len(messages)} messages", code="InvalidBatch", transient=False)
        if sum(message.size_bytes for message in messages) > aws_limits.SQS_BATCH_BYTES:
            raise ServiceError("a batch over 1 MiB", code="BatchRequestTooLong", transient=False)
        for message in messages:
            queued = _Queued(message, str(uuid.uuid4()), self._clock() + message.delay_seconds)
            self._messages[queued.message_id] = queued
        return []

    async def receive(self, *, most: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive up to ``most`` messages, oldest first."""
        until = self._clock() + wait_seconds
        while not (received := self._collect(most)) and self._clock() < until:  # noqa: ASYNC110 - time, not an event, makes messages visible
            await anyio.sleep(_POLL_SECONDS)
        return received

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete messages by their receipt handles; those already gone are no error."""
        for handle in receipt_handles:
            message_id = handle.partition("#")[0]
            queued = self._messages.get(message_id)
            if queued is not None and queued.receipt_handle == handle:
                del self._messages[message_id]
        return []

    def hide(self, receipt_handle: str, seconds: float) -> bool:
        """Hide a received message for some seconds from now; tell whether the receipt handle still holds."""
        queued = self._messages.get(receipt_handle.partition("#")[0])
        if queued is None or queued.receipt_handle != receipt_handle:
            return False
        queued.visible_at = self._clock() + seconds
        return True

    def seconds_until_visible(self) -> float:
        """Return the seconds until a message can be received: 0 if one can, infinity for an empty queue."""
        times = [queued.visible_at for queued in self._messages.values()]
        return max(0.0, min(times) - self._clock()) if times else math.inf

    def _collect(self, most: int) -> list[Received]:
        now = self._clock()
        received: list[Received] = []
        for queued in list(self._messages.values()):
            if queued.visible_at > now or len(received) == most:
                continue
            if self.max_receive_count is not None and queued.receive_count >= self.max_receive_count:
                self._bury(queued, now)
                continue
            queued.receive_count += 1
            queued.visible_at = now + self.visibility_timeout
            queued.receipt_handle = f"{queued.message_id}#{next(self._handles)}"
            message = queued.message
            received.append(
                Received(
                    queued.message_id, queued.receipt_handle, message.body, queued.receive_count, message.attributes
                )
            )
        return received

    def _bury(self, queued: _Queued, now: float) -> None:
        del self._messages[queued.message_id]
        if self.dead_letter_queue is not None:
            self.dead_letter_queue._messages[queued.message_id] = _Queued(  # noqa: SLF001 - of this class
                queued.message, queued.message_id, now
            )
