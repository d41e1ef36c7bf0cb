"""The interfaces of a queue, of a settler of messages, and of a notifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from fanfold._base.record import Record


@dataclass(frozen=True, slots=True)
class Message:
    """A message to send."""

    body: str
    """The message body."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """String message attributes, at most ten."""
    delay_seconds: int = 0
    """Delay before the first delivery, seconds, from 0 to 900."""
    group_id: str | None = None
    """Message group, for FIFO queues."""
    deduplication_id: str | None = None
    """Deduplication id, for FIFO queues."""

    @property
    def size_bytes(self) -> int:
        """The size that counts against the SQS limits: the body, and the name, type, and value of each attribute."""
        return len(self.body.encode()) + sum(
            len(name.encode()) + len("String") + len(value.encode()) for name, value in self.attributes.items()
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """A failed entry of a batch call; the other entries are not affected."""

    position: int
    """Position of the entry in the call, from 0."""
    reason: str
    """The reason that the queue gives."""
    final: bool
    """True if a retry of the entry would be refused again."""


@dataclass(frozen=True, slots=True)
class Received:
    """A received message; in flight until it is deleted or its visibility timeout expires."""

    message_id: str
    """The id of the message."""
    receipt_handle: str
    """The receipt handle of this receive."""
    body: str
    """The message body."""
    receive_count: int
    """Deliveries so far, this one included; from 1."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """String message attributes."""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Numbers of messages of a queue; approximate on AWS."""

    waiting: int
    """Messages that may be received now, or after their delay."""
    in_flight: int
    """Messages that were received, and are neither deleted nor visible again."""


class Queue(Protocol):
    """A queue of messages, delivered at least once."""

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send 1 to 10 messages of at most 1 MiB in total; return those that were not accepted.

        Raises:
            ServiceError: If the call failed; some messages may have been accepted nevertheless.
            ConfigurationError: If the queue does not exist or access to it is denied.
        """
        ...

    async def receive(self, *, max_messages: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive up to ``max_messages`` messages (1 to 10), waiting up to ``wait_seconds`` (0 to 20) for the first."""
        ...

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete 1 to 10 messages by their receipt handles; return the failed entries.

        Deleting a message that no longer exists is not an error.
        """
        ...

    async def counts(self) -> QueueCounts:
        """Return how many messages wait, and how many are in flight."""
        ...


class Settler(Protocol):
    """Changes the visibility timeout of messages of a batch, or sends them to the dead-letter queue."""

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Set the visibility timeout of 1 to 10 messages, integer seconds from now; return the failed entries.

        Raises:
            FanfoldError: If the call failed.
        """
        ...

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send 1 to 10 messages with their reasons to the dead-letter queue; return the failed entries.

        Raises:
            FanfoldError: If the call failed.
        """
        ...


@runtime_checkable
class CopyingSettler(Settler, Protocol):
    """A settler that can also replace a message of a standard queue by a copy."""

    async def send_copies(self, copies: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Send copies of 1 to 10 messages to their queue, after 0 to 900 integer seconds; return the failed entries.

        Raises:
            FanfoldError: If the call failed.
        """
        ...


class Notifier(Protocol):
    """Sends notifications to people."""

    async def publish(self, subject: str, body: str) -> None:
        """Publish a notification.

        Args:
            subject: At most 100 characters of ASCII, on one line.
            body: At most 256 KiB.

        Raises:
            FanfoldError: If the call failed.
        """
        ...
