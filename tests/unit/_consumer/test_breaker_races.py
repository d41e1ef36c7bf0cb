"""Other execution environments change a circuit while a batch holds its messages."""

import asyncio
from collections.abc import Sequence

import pytest

from fanfold import Record
from fanfold._breakers.transitions import closed
from fanfold._ports.breakers import Circuit, Held
from fanfold._ports.queue import Refusal
from fanfold.inmemory.breakers import InMemoryBreakers
from outage_consumers import Service, batch, consumer_of, invoke
from recorded_outage import NAME, CopyingSettler, Outage


class ClosingTable(InMemoryBreakers):
    """A table in which another execution environment closes the circuit when a page is stored.

    Args:
        releases: Whether it has also released the page before the messages are held.
    """

    def __init__(self, *, releases: bool) -> None:
        super().__init__()
        self._releases = releases

    async def add_page(self, name: str, held: Sequence[Held], expires_at: float) -> Circuit:
        circuit = await super().add_page(name, held, expires_at)
        await self.change(name, circuit, closed(circuit, circuit.opened_at + 1, "another"))
        if self._releases:
            await self.released(name, circuit.pages)
        return circuit


class SlowSettler(CopyingSettler):
    """A settler that takes longer to hold messages than the table does to store them."""

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        for _ in range(50 if any(seconds for _, seconds in changes) else 0):
            await asyncio.sleep(0)
        return await super().change_visibility(changes)


@pytest.mark.parametrize("releases", [False, True])
def test_messages_that_are_held_after_the_circuit_was_closed_are_released(releases: bool):
    """Even if their page was released before: otherwise, nobody would release them again."""
    table = ClosingTable(releases=releases)
    outage = Outage(table)
    outage.settler = SlowSettler()
    handler = consumer_of(Service().call, outage, outage.breaker())
    invoke(handler, batch(20))
    handler.close()
    timeouts = [seconds for call in outage.settler.visibility_changes for _, seconds in call]
    assert min(timeouts[:20]) >= 30
    assert timeouts[20:] == [0] * 20
    (circuit,) = asyncio.run(table.read([NAME]))
    assert not circuit.has_held


class DyingSettler(CopyingSettler):
    """A settler whose execution environment is ended before it holds messages."""

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        await asyncio.sleep(3_600)
        raise AssertionError


def test_messages_are_stored_before_they_are_held():
    """The environment that closes the circuit finds them, even if this one has been ended."""
    outage = Outage()
    outage.settler = DyingSettler()
    handler = consumer_of(Service().call, outage, outage.breaker())
    assert len(invoke(handler, batch(20), seconds=1).outcomes) == 20
    handler.close()
    assert sum(map(len, asyncio.run(outage.pages()))) == 20
