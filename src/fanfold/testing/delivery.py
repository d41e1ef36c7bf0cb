"""Delivery of a batch to a consumer without a queue."""

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
    """Deliver a batch to a consumer as Lambda would, and return the outcome of each record.

    The call uses a separate event loop and lifespan, and ends both. It calls no queue and no table: delays and dead
    letters count as accepted, unless the consumer has a custom settler; idempotency entries exist in memory for this
    call only, unless ``Idempotency`` has a custom store.

    Args:
        handler: The consumer.
        bodies: One body per record; a string is delivered as is, any other value as JSON.
        seconds: Time until the invocation's timeout.

    Raises:
        ConfigurationError: If ``handler`` is not a consumer.
    """
    if not isinstance(handler, Consumer):
        raise ConfigurationError(f"deliver needs a handler decorated with @fanfold.consumer, not {handler!r}")
    idempotency = handler.settings.idempotency
    consumer = handler.with_settings(
        settler=handler.settings.settler or _open_accepting_settler,
        idempotency=None if idempotency is None else idempotency.with_entries(_open_entries),
    )
    try:
        return consumer.invoke(make_event(*bodies), make_context(seconds))
    finally:
        consumer.close()


class _AcceptingSettler:
    """A settler that accepts everything and calls no queue."""

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:  # noqa: ARG002 - accepted
        return ()

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:  # noqa: ARG002 - accepted
        return ()


async def _open_accepting_settler() -> Settler:
    return _AcceptingSettler()


@asynccontextmanager
async def _open_entries() -> AsyncIterator[InMemoryEntries]:
    yield InMemoryEntries()
