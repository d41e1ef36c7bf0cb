"""A batch delivered to a consumer without a queue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fanfold._base.outcome import BatchResult
from fanfold._base.record import Record
from fanfold._base.sample_events import make_context, make_event
from fanfold._consumer.consumer import Consumer
from fanfold._ports.queue import Refusal, Settler
from fanfold.errors import ConfigurationError
from fanfold.inmemory.tables import InMemoryEntries


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

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:  # noqa: ARG002 - accepted
        return ()

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:  # noqa: ARG002 - accepted
        return ()


async def _accepting() -> Settler:
    return _Accepting()


@asynccontextmanager
async def _remembering() -> AsyncIterator[InMemoryEntries]:
    yield InMemoryEntries()
