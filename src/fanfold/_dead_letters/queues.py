"""The interfaces of a dead-letter queue, and of a queue that its messages are sent back to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from fanfold._base.record import Record
from fanfold._ports.queue import Refusal

Sent: TypeAlias = str | Refusal
"""The result for a message: its new id, or why it was not accepted."""


class DeadLetterQueue(Protocol):
    """A queue whose messages are read, and deleted or made visible again."""

    async def receive_records(self, *, max_messages: int, wait_seconds: float) -> Sequence[dict[str, Any]]:
        """Receive up to ``max_messages`` messages, 1 to 10, in the form of the records of a Lambda event."""
        ...

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Set the visibility timeout of 1 to 10 messages, integer seconds from now; return the failed entries."""
        ...

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete 1 to 10 messages by their receipt handles; return the failed entries."""
        ...


class TargetQueue(Protocol):
    """A queue that messages are sent back to."""

    async def resend(self, records: Sequence[Record]) -> Sequence[Sent]:
        """Send 1 to 10 messages with their body, attributes, and message group; return one result for each.

        In a FIFO queue, a message that is sent twice within five minutes is enqueued once.

        Raises:
            FanfoldError: If the call failed; some messages may have been accepted nevertheless.
        """
        ...
