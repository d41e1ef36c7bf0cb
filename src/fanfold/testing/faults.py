"""Queues that fail according to a script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fanfold._ports.queue import Message, Queue, Received, Refusal
from fanfold.errors import ServiceError


@dataclass(frozen=True)
class Ok:
    """The call succeeds."""


@dataclass(frozen=True)
class Throttled:
    """The call is throttled, and has no effect."""


@dataclass(frozen=True)
class Partial:
    """The first messages of the call are accepted; the others fail with a server error."""

    accepted: int
    """Number of accepted messages."""


class Faulty:
    """A queue whose calls of ``send`` follow a script, one step per call; after the script, all calls succeed.

        queue = Faulty(InMemoryQueue(), [Throttled(), Partial(3), Ok()])

    ``receive`` and ``delete`` are passed to the queue.
    """

    def __init__(self, queue: Queue, script: Iterable[Ok | Throttled | Partial]) -> None:
        self._queue = queue
        self._script = list(script)

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send messages according to the next step of the script."""
        step = self._script.pop(0) if self._script else Ok()
        if isinstance(step, Throttled):
            raise ServiceError("too many requests", code="RequestThrottled", transient=True)
        accepted = len(messages) if isinstance(step, Ok) else min(step.accepted, len(messages))
        if accepted:
            await self._queue.send(messages[:accepted])
        return [Refusal(position, "InternalError", final=False) for position in range(accepted, len(messages))]

    async def receive(self, *, max_messages: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive messages from the queue."""
        return await self._queue.receive(max_messages=max_messages, wait_seconds=wait_seconds)

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete messages from the queue."""
        return await self._queue.delete(receipt_handles)
