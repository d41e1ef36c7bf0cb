"""Breakers in a simulation: their state is in memory, and they follow the simulated time."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from fanfold._ports.breakers import BreakerTable
from fanfold.inmemory.breakers import InMemoryBreakers

if TYPE_CHECKING:  # not imported in processes without breakers
    from fanfold._breakers.breaker import Breaker

EPOCH: Final = 1_767_225_600.0
"""The time at the start of a simulation, seconds since 1970: that of the sample events."""


class SimulatedBreakers:
    """The setting ``breaker`` of a consumer in a simulation.

    Args:
        breakers: The breakers of the consumer.
        clock: Returns the simulated time, in seconds from any moment.
        max_receives: Receives after which a message is moved to the dead-letter queue; None for no limit.
        table: Holds the state; None for a new one.
    """

    def __init__(
        self,
        breakers: Sequence[Breaker],
        clock: Callable[[], float],
        max_receives: int | None,
        table: InMemoryBreakers | None = None,
    ) -> None:
        self._clock = clock
        self._max_receives = max_receives
        self._table = table or InMemoryBreakers()
        self.of_consumer: Sequence[Breaker] = [self.copy(breaker) for breaker in breakers]
        """Copies of the breakers of the consumer."""

    def copy(self, breaker: Breaker) -> Breaker:
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
    if "fanfold._breakers.breaker" not in sys.modules:
        return None
    from fanfold._breakers.breaker import breakers_of

    return SimulatedBreakers(breakers_of(setting), clock, max_receives, table)
