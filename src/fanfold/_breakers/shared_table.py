"""The table of a breaker; while it cannot be used, one in memory, so that this execution environment decides alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias, TypeVar

from fanfold._base.log import logger
from fanfold._ports.breakers import UNREADABLE, BreakerTable, Circuit, Held
from fanfold.errors import FanfoldError, ServiceError
from fanfold.inmemory.breakers import InMemoryBreakers

T = TypeVar("T")

OpenedTable: TypeAlias = Callable[[], Awaitable[BreakerTable]]
"""Returns the table, which the first call opens."""

CALL_SECONDS: Final = 10.0
"""Longest time of a call: a table that hangs must not hold records."""
ALONE_SECONDS: Final = 60.0
"""Time after an error of the table until it is used again."""


class SharedTable:
    """A table that never fails.

    Args:
        name: Name of the breaker.
        open_table: Opens the table; None without one.
        clock: Returns the time, in seconds since 1970.
    """

    def __init__(self, name: str, open_table: OpenedTable | None, clock: Callable[[], float]) -> None:
        self.alone: InMemoryBreakers = InMemoryBreakers()
        """The table in memory."""
        self._name = name
        self._open = open_table
        self._clock = clock
        self._alone_until = 0.0
        self.holds_alone: bool = False
        """True if messages are stored in memory although there is a table."""

    @property
    def is_alone(self) -> bool:
        """True if the table is not used."""
        return self._open is None or self._clock() < self._alone_until

    async def read(self, known: Circuit) -> Circuit:
        """Return the circuit; ``known`` is the one that this execution environment goes on with alone."""
        (circuit,) = await self._call(lambda table: table.read([self._name]), known)
        return circuit

    async def change(self, before: Circuit, after: Circuit) -> bool:
        """Replace the circuit, unless it has changed; see ``BreakerTable``."""
        return await self._call(lambda table: table.change(self._name, before, after), before)

    async def count_failures(self, failures: int, known: Circuit) -> Circuit:
        """Add failures to those of all execution environments; return the circuit after it."""
        now = self._clock()
        return await self._call(lambda table: table.count_failures(self._name, failures, now), known)

    async def add_page(self, held: Sequence[Held], expires_at: float, known: Circuit) -> Circuit:
        """Store held messages; return the circuit after that."""
        circuit = await self._call(lambda table: table.add_page(self._name, held, expires_at), known)
        self.holds_alone = self.holds_alone or (self._open is not None and self.is_alone)
        return circuit

    async def page(self, number: int, known: Circuit) -> Sequence[Held]:
        """Return the messages of a page; none for one that cannot be read: they become visible at their time."""

        async def read(table: BreakerTable) -> Sequence[Held]:
            try:
                return await table.page(self._name, number)
            except ServiceError as error:
                if error.code != UNREADABLE:
                    raise
                logger.warning("breaker %r: page %d of held messages cannot be read: %s", self._name, number, error)
                return ()

        return await self._call(read, known)

    async def released(self, number: int, known: Circuit) -> None:
        """Note that the messages of a page are visible."""
        await self._call(lambda table: table.released(self._name, number), known)

    async def held_alone(self) -> Sequence[Held]:
        """Return the messages that were stored in memory while the table could not be used, once it can."""
        if not self.holds_alone or self.is_alone:
            return ()
        (circuit,) = await self.alone.read([self._name])
        pages = [await self.alone.page(self._name, number) for number in range(circuit.released + 1, circuit.pages + 1)]
        return [held for page in pages for held in page]

    async def forget_alone(self) -> None:
        """Forget these messages: they are visible."""
        if self.holds_alone and not self.is_alone:
            self.holds_alone = False
            (circuit,) = await self.alone.read([self._name])
            for number in range(circuit.released + 1, circuit.pages + 1):
                await self.alone.released(self._name, number)

    async def _call(self, call: Callable[[BreakerTable], Awaitable[T]], known: Circuit) -> T:
        if self._open is not None and self._clock() >= self._alone_until:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    return await call(await self._open())
            except (FanfoldError, OSError, TimeoutError) as error:
                logger.warning(
                    "breaker %r: its table cannot be used, so this execution environment decides alone for %.0f s: %s",
                    self._name,
                    ALONE_SECONDS,
                    str(error) or f"it did not respond within {CALL_SECONDS:.0f} s",
                )
                self._alone_until = self._clock() + ALONE_SECONDS
                await self._begin_alone(known)
        return await call(self.alone)

    async def _begin_alone(self, known: Circuit) -> None:
        """Go on with what is known, except for messages that are stored in the table."""
        (before,) = await self.alone.read([self._name])
        await self.alone.change(self._name, before, known._replace(released=before.released))
