"""What tests of handlers need: events, records, contexts, a clock moved by hand, a delivery, a simulator.

::

    from fanfold.testing import deliver

    def test_an_order_without_a_customer_goes_back():
        result = deliver(handler, {"customer": None})
        assert result.response == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fanfold._base.outcome import BatchResult
from fanfold._base.record import Record
from fanfold._base.sample_events import (
    FakeContext,
    ManualClock,
    make_context,
    make_event,
    make_eventbridge_record,
    make_extended_record,
    make_fair_record,
    make_fifo_record,
    make_record,
    make_s3_record,
    make_sns_record,
)
from fanfold._consumer.consumer import Consumer
from fanfold._ports.queue import Message, Queue, Received, Refusal, Settler
from fanfold._replay.simulator import Simulator
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.inmemory.tables import InMemoryEntries

__all__ = [
    "FakeContext",
    "Faulty",
    "ManualClock",
    "Ok",
    "Partial",
    "Simulator",
    "Throttled",
    "deliver",
    "make_context",
    "make_event",
    "make_eventbridge_record",
    "make_extended_record",
    "make_fair_record",
    "make_fifo_record",
    "make_record",
    "make_s3_record",
    "make_sns_record",
]


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

    async def receive(self, *, most: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive, as the queue does."""
        return await self._queue.receive(most=most, wait_seconds=wait_seconds)

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete, as the queue does."""
        return await self._queue.delete(receipt_handles)


def deliver(handler: Consumer[..., Any], *bodies: Any, seconds: float = 30.0) -> BatchResult:
    """Deliver a batch to a consumer as Lambda would, and return how each record ended.

    Runs on an event loop with a lifespan of its own, which are ended afterwards. No queue is asked for anything: delays
    and dead letters are taken as accepted, unless the consumer has a settler of its own; nor is a table: idempotency
    remembers in this process, and for this delivery, unless it has been given a store of its own.

    Args:
        handler: The consumer.
        bodies: One for each record; a text as it is, anything else as JSON.
        seconds: Time the invocation has.

    Raises:
        ConfigurationError: If it is no consumer.
    """
    if not isinstance(handler, Consumer):
        raise ConfigurationError(f"deliver takes what @fanfold.consumer has made of a handler, not {handler!r}")
    idempotency = handler.settings.idempotency
    tested = handler.with_settings(
        settler=handler.settings.settler or _accepting,
        idempotency=None if idempotency is None else idempotency.with_entries(_remembering),
    )
    try:
        return tested.invoke(make_event(*bodies), make_context(seconds))
    finally:
        tested.close()


class _Accepting:
    """Hands nothing back to any queue."""

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:  # noqa: ARG002 - accepted
        return ()

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:  # noqa: ARG002 - accepted
        return ()


async def _accepting() -> Settler:
    return _Accepting()


@asynccontextmanager
async def _remembering() -> AsyncIterator[InMemoryEntries]:
    yield InMemoryEntries()
