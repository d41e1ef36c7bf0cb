"""What answers a measured handler's SQS calls: every queue is there, accepts everything, and keeps nothing.

The batches that are measured were never received from a queue, so their receipt handles mean nothing to SQS; and a
handler that is measured shall not fill anyone's dead-letter queue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fanfold._replay.endpoint import serving
from fanfold.inmemory.queue import InMemoryQueue, QueuedMessage

_QUEUE, _DEAD_LETTERS = "measured", "measured-dead-letters"


class _Accepting(InMemoryQueue):
    def change_visibility(self, handle: str, seconds: float) -> bool:  # noqa: ARG002 - by the name of what it stands for
        return True

    def remove(self, handle: str) -> bool:  # noqa: ARG002 - by the name of what it stands for
        return True

    def put(self, record: Mapping[str, Any], *, delay_seconds: float = 0.0) -> QueuedMessage:
        return QueuedMessage(0, record, delay_seconds)


class _EveryName(dict[str, InMemoryQueue]):
    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> InMemoryQueue:
        return self.setdefault(name, _Accepting())


@contextmanager
def accepting_queues() -> Iterator[dict[str, str]]:
    """Serve them while the block runs; yields the variables that lead a handler's SQS calls to them."""
    with serving(_EveryName()) as endpoint:
        yield endpoint.environment(_QUEUE, _DEAD_LETTERS)
