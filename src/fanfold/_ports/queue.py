"""What fanfold asks of a queue, of whoever settles its messages, and of whoever notifies people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fanfold._base.record import Record


@dataclass(frozen=True, slots=True)
class Message:
    """A message to be sent."""

    body: str
    """Its text."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Text attributes sent with it, at most ten."""
    delay_seconds: int = 0
    """Seconds it is hidden at first, from 0 to 900."""
    group_id: str | None = None
    """Message group, for FIFO queues."""
    deduplication_id: str | None = None
    """What makes two messages one, for FIFO queues."""

    @property
    def size_bytes(self) -> int:
        """What SQS counts against its limits: the body, and each attribute's name, type and value."""
        return len(self.body.encode()) + sum(
            len(name.encode()) + len("String") + len(value.encode()) for name, value in self.attributes.items()
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry of a call that the queue did not carry out; the other entries are not affected."""

    position: int
    """Where it stood in the call, from 0."""
    reason: str
    """The queue's own words."""
    final: bool
    """Whether the same entry would be refused again."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it was received; hidden from others until its visibility timeout ends or it is deleted."""

    message_id: str
    """Names the message."""
    receipt_handle: str
    """Names this receive."""
    body: str
    """Its text."""
    receive_count: int
    """Deliveries so far, this one included; from 1."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Text attributes sent with it."""


class Queue(Protocol):
    """A queue of messages, delivered at least once."""

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send 1 to 10 messages of at most 1 MiB in total; return those that were not accepted.

        Raises:
            ServiceError: If the call failed; some messages may have been accepted all the same.
            ConfigurationError: If the queue does not exist or may not be sent to.
        """
        ...

    async def receive(self, *, max_messages: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive up to ``max_messages`` messages (1 to 10), waiting up to ``wait_seconds`` (0 to 20) for the first."""
        ...

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete 1 to 10 messages by their receipt handles; return what was refused.

        Messages that are already gone are no error.
        """
        ...


class Settler(Protocol):
    """Hands back what a batch could not do: to its own queue with a delay, or to the dead-letter queue."""

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Hide 1 to 10 messages for some whole seconds from now; return what was refused.

        Raises:
            FanfoldError: If the call failed.
        """
        ...

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send 1 to 10 messages with the reasons to the dead-letter queue; return what was refused.

        Raises:
            FanfoldError: If the call failed.
        """
        ...


class Notifier(Protocol):
    """Tells people of things."""

    async def publish(self, subject: str, body: str) -> None:
        """Tell of something.

        Args:
            subject: At most 100 characters of ASCII, on one line.
            body: At most 256 KiB.

        Raises:
            FanfoldError: If that failed.
        """
        ...
