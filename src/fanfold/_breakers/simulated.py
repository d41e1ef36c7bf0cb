"""Breakers in a simulation: their state is in memory, and they follow the simulated time."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from fanfold._ports.breakers import BreakerTable
from fanfold.inmemory.breakers import InMemoryBreakers

EPOCH: Final = 1_767_225_600.0
"""The time at the start of a simulation, seconds since 1970: that of the sample events."""


class SimulatedBreakers:
    """The setting ``breaker`` of a consumer in a simulation.

    Args:
        setting: The setting of the consumer.
        clock: Returns the simulated time, in seconds from any moment.
        max_receives: Receives after which a message is moved to the dead-letter queue; None for no limit.
        table: Holds the state; None for a new one.
    """

    def __init__(
        self,
        setting: Any,
        clock: Callable[[], float],
        max_receives: int | None,
        table: InMemoryBreakers | None = None,
    ) -> None:
        from fanfold._breakers.breaker import breakers_of

        self._clock = clock
        self._max_receives = max_receives
        self._table = table or InMemoryBreakers()
        self.of_consumer: Sequence[Any] = [self.copy(breaker) for breaker in breakers_of(setting)]
        """Copies of the breakers of the consumer."""

    def copy(self, breaker: Any) -> Any:
        """Return a copy of a breaker that follows the simulation."""
        return breaker.simulated(
            self._open_table, lambda: EPOCH + self._clock(), max_receives=self._max_receives, waits=False
        )

    @asynccontextmanager
    async def _open_table(self) -> AsyncIterator[BreakerTable]:
        yield self._table


def simulated_breakers(
    setting: Any, clock: Callable[[], float], max_receives: int | None, table: InMemoryBreakers | None = None
) -> SimulatedBreakers | None:
    """Return the setting of a consumer for a simulation; None if this process has no breakers. See the class."""
    has_breakers = "fanfold._breakers.breaker" in sys.modules
    return SimulatedBreakers(setting, clock, max_receives, table) if has_breakers else None
