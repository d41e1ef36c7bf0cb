"""Other execution environments change a circuit while a batch holds its messages."""

import asyncio
from collections.abc import Sequence

from fanfold import Record
from fanfold._breakers.transitions import closed
from fanfold._ports.breakers import Circuit, Held
from fanfold._ports.queue import Refusal
from fanfold.inmemory.breakers import InMemoryBreakers
from outage_consumers import Service, batch, consumer_of, invoke
from recorded_outage import CopyingSettler, Outage


class ClosingTable(InMemoryBreakers):
    """A table in which another execution environment closes the circuit just before a page is stored."""

    async def add_page(self, name: str, held: Sequence[Held], expires_at: float) -> Circuit:
        (circuit,) = await self.read([name])
        await self.change(name, circuit, closed(circuit, circuit.opened_at + 1, "another"))
        return await super().add_page(name, held, expires_at)


class SlowSettler(CopyingSettler):
    """A settler that takes longer to hold messages than the table does to store them."""

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        for _ in range(50 if any(seconds for _, seconds in changes) else 0):
            await asyncio.sleep(0)
        return await super().change_visibility(changes)


def test_messages_are_stored_after_they_are_held_so_that_nobody_releases_them_earlier():
    """Otherwise, they would be held after their release, and nobody would release them again."""
    outage = Outage(ClosingTable())
    outage.settler = SlowSettler()
    handler = consumer_of(Service().call, outage, outage.breaker())
    invoke(handler, batch(20))
    handler.close()
    timeouts = [seconds for call in outage.settler.visibility_changes for _, seconds in call]
    assert min(timeouts[:20]) >= 30
    assert timeouts[20:] == [0] * 20
