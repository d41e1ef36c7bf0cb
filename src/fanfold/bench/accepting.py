"""What answers a measured handler's SQS calls: every queue is there, accepts everything, and keeps nothing.

The batches that are measured were never received from a queue, so their receipt handles mean nothing to SQS; and a
handler that is measured shall not fill anyone's dead-letter queue.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fanfold._replay.endpoint import serving
from fanfold._replay.queue import QueueSettings, SimulatedMessage, SimulatedQueue

__all__ = ["accepting_queues"]

_QUEUE, _DEAD_LETTERS = "measured", "measured-dead-letters"


class _Accepting(SimulatedQueue):
    def hide(self, handle: str, seconds: float) -> bool:  # noqa: ARG002 - by the name of what it stands for
        return True

    def delete(self, handle: str) -> bool:  # noqa: ARG002 - by the name of what it stands for
        return True

    def send(self, record: Mapping[str, Any], *, delay_seconds: float = 0.0) -> SimulatedMessage:
        return SimulatedMessage(0, record, delay_seconds)


class _EveryName(dict[str, SimulatedQueue]):
    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> SimulatedQueue:
        return self.setdefault(name, _Accepting(QueueSettings(), lambda: 0.0, random.Random(0)))  # noqa: S311 - unused


@contextmanager
def accepting_queues() -> Iterator[dict[str, str]]:
    """Serve them while the block runs; yields the variables that lead a handler's SQS calls to them."""
    with serving(_EveryName()) as endpoint:
        yield endpoint.environment(_QUEUE, _DEAD_LETTERS)
