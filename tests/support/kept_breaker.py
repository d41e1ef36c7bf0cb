"""A breaker with its keeper, in one execution environment of a recorded outage."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from fanfold._breakers.breaker_state import BreakerState
from fanfold._breakers.keeper import Keeper
from fanfold._breakers.shared_table import SharedTable
from fanfold._breakers.transitions import closed, opened
from fanfold._ports.breakers import Circuit, Held
from recorded_outage import NAME, DownError, Outage

FAILED, SHOWS_NOTHING, SUCCEEDED = True, None, False


class Environment:
    """An execution environment with one breaker."""

    def __init__(self, outage: Outage, send_tick: Callable[[str], Any] | None = None, **settings: Any) -> None:
        self.outage = outage
        self.state = BreakerState(outage.breaker(**settings), outage.clock)
        self.shared = SharedTable(NAME, self.table, outage.clock)
        self.keeper = Keeper(
            self.state, self.shared, outage.settler, asyncio.get_running_loop(), self.run_blocking, send_tick
        )

    async def table(self) -> Any:
        return self.outage.table

    async def run_blocking(self, function: Callable[[], Any]) -> Any:
        return function()

    async def idle(self) -> Circuit:
        """Wait until everything is read and written; return the stored circuit."""
        await asyncio.sleep(0)
        while (task := self.keeper._task) is not None and not task.done():
            await asyncio.wait({task})
        assert not self.state.has_work
        return await self.outage.circuit()

    async def batch_starts(self) -> Circuit:
        self.state.batch_starts()
        return await self.idle()

    async def end(self, *results: bool | None) -> Circuit:
        """Start and end records; return the stored circuit."""
        now = self.outage.clock()
        for result in results:
            self.state.started()
            self.state.ended(now, now, result)
        return await self.idle()

    async def hold(self, held: Sequence[Held]) -> None:
        """Store messages, and look again after they are held."""
        last_page = await self.keeper.store(held)
        await self.keeper.release_if_closed(held, last_page)

    async def open(self) -> Circuit:
        """Open the circuit by failures."""
        await self.batch_starts()
        return await self.end(*[FAILED] * 5)


async def opened_by_another(outage: Outage) -> Circuit:
    return await outage.change(lambda circuit: opened(circuit, outage.clock(), probe_every=30))


async def closed_by_another(outage: Outage) -> Circuit:
    return await outage.change(lambda circuit: closed(circuit, outage.clock(), "another"))


async def probing(outage: Outage, **settings: Any) -> Environment:
    """Return an execution environment that probes."""
    environment = Environment(outage, **settings)
    await environment.open()
    outage.clock.advance(30)
    await environment.batch_starts()
    return environment


async def recovered(outage: Outage, pages: int, **settings: Any) -> Environment:
    """Return an execution environment that has just closed the circuit, with pages of twelve messages."""
    environment = await probing(outage, **settings)
    for page in range(pages):
        await outage.table.add_page(NAME, [outage.held(f"{page}-{number}") for number in range(12)], 0)
    await environment.end(SUCCEEDED)
    return environment


async def async_probe() -> None:
    """Return: the service is back."""


def failing_probe() -> None:
    raise DownError
