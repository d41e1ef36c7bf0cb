"""Batches of the simulator that are not delivered yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fanfold._replay.mapping import MappingSettings, fitting, record_bytes
from fanfold.inmemory.queue import QueuedMessage

ReceivedMessage: TypeAlias = tuple[QueuedMessage, dict[str, Any]]
"""A message, and its record at the time of the receive."""


class OpenBatch:
    """A batch during its batching window."""

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.messages: list[ReceivedMessage] = []
        self._sizes: list[int] = []

    def add(self, message: QueuedMessage, record: dict[str, Any]) -> None:
        """Add a received message."""
        self.messages.append((message, record))
        self._sizes.append(record_bytes(record))

    @property
    def size_bytes(self) -> int:
        """The size of all records, in bytes of JSON."""
        return sum(self._sizes)

    def full(self, settings: MappingSettings) -> bool:
        """Return whether no further message fits."""
        count = fitting(self._sizes, settings)
        return count == settings.batch_size or count < len(self.messages)

    def ready(self, now: float, settings: MappingSettings) -> bool:
        """Return whether the batch is full or its window has ended."""
        return self.full(settings) or now >= self.began_at + settings.window_seconds

    def cut(self, settings: MappingSettings) -> tuple[list[ReceivedMessage], list[ReceivedMessage]]:
        """Return the messages that fit into one event, and the surplus."""
        count = fitting(self._sizes, settings)
        return self.messages[:count], self.messages[count:]


@dataclass(frozen=True, slots=True)
class ThrottledBatch:
    """A batch that waits for the function's reserved concurrency."""

    messages: Sequence[ReceivedMessage]
    """The messages, which are in flight."""
    expires_at: float
    """The end of the visibility timeout of its first message, at which Lambda gives up."""
