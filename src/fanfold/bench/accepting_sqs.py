"""A fake SQS endpoint for measured handlers: every queue exists, accepts every request, and stores nothing.

Measured batches were never received from a queue, so SQS would not accept their receipt handles. A measured handler
must not fill a real dead-letter queue either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fanfold._replay.endpoint import serving
from fanfold.inmemory.queue import InMemoryQueue, QueuedMessage

_QUEUE, _DEAD_LETTER_QUEUE = "measured", "measured-dead-letters"


class _Accepting(InMemoryQueue):
    def change_visibility(self, handle: str, seconds: float) -> bool:  # noqa: ARG002 - as in the base class
        return True

    def remove(self, handle: str) -> bool:  # noqa: ARG002 - as in the base class
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
    """Serve the queues while the block runs. Yield the variables that direct a handler's SQS calls to them."""
    with serving(_EveryName()) as endpoint:
        yield endpoint.environment(_QUEUE, _DEAD_LETTER_QUEUE)
