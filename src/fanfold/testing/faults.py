"""Queues that fail as a script says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fanfold._ports.queue import Message, Queue, Received, Refusal
from fanfold.errors import ServiceError


@dataclass(frozen=True)
class Ok:
    """The call goes through."""


@dataclass(frozen=True)
class Throttled:
    """The call is refused as one too many; nothing of it takes effect."""


@dataclass(frozen=True)
class Partial:
    """The first messages of the call are accepted, the others are not, for no fault of the sender."""

    accepted: int
    """How many are accepted."""


class Faulty:
    """A queue whose calls to ``send`` go as a script says, one step each; after the script all go through.

        queue = Faulty(InMemoryQueue(), [Throttled(), Partial(3), Ok()])

    Receiving and deleting go to the queue as they are.
    """

    def __init__(self, queue: Queue, script: Iterable[Ok | Throttled | Partial]) -> None:
        self._queue = queue
        self._script = list(script)

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send messages as the next step of the script has it."""
        step = self._script.pop(0) if self._script else Ok()
        if isinstance(step, Throttled):
            raise ServiceError("too many requests", code="RequestThrottled", transient=True)
        accepted = len(messages) if isinstance(step, Ok) else min(step.accepted, len(messages))
        if accepted:
            await self._queue.send(messages[:accepted])
        return [Refusal(position, "InternalError", final=False) for position in range(accepted, len(messages))]

    async def receive(self, *, max_messages: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive, as the queue does."""
        return await self._queue.receive(max_messages=max_messages, wait_seconds=wait_seconds)

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete, as the queue does."""
        return await self._queue.delete(receipt_handles)
