"""Breakers in a simulation: their state is in memory, and they follow the simulated time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from fanfold._breakers.breaker import Breaker, breakers_of
from fanfold._ports.breakers import BreakerTable
from fanfold.inmemory.breakers import InMemoryBreakers

EPOCH: Final = 1_767_225_600.0
"""The time at the start of a simulation, seconds since 1970: that of the sample events."""


def simulated_breakers(
    setting: Breaker | Sequence[Breaker],
    clock: Callable[[], float],
    max_receives: int | None,
    table: InMemoryBreakers | None = None,
) -> Sequence[Breaker]:
    """Return copies of a consumer's breakers for a simulation.

    Args:
        setting: The setting of the consumer.
        clock: Returns the simulated time, in seconds from any moment.
        max_receives: Receives after which a message is moved to the dead-letter queue; None for no limit.
        table: Holds the state; None for a new one.
    """
    shared = table or InMemoryBreakers()

    @asynccontextmanager
    async def open_table() -> AsyncIterator[BreakerTable]:
        yield shared

    return [
        breaker.simulated(open_table, lambda: EPOCH + clock(), max_receives=max_receives)
        for breaker in breakers_of(setting)
    ]
