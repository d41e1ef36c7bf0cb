"""Breakers of a simulation follow its time, and keep their state in memory."""

import sys

from fanfold import Breaker
from fanfold._breakers.breaker import breakers_of
from fanfold._breakers.simulated import EPOCH, SimulatedBreakers, simulated_breakers
from fanfold._ports.breakers import Circuit
from fanfold.inmemory.breakers import InMemoryBreakers
from fanfold.testing import ManualClock
from recorded_outage import DownError

PAYMENTS = Breaker("payments", on=DownError, table="production")


async def test_the_copies_share_a_table_in_memory_and_the_simulated_time():
    """Nothing is written where production reads."""
    clock = ManualClock(5)
    simulated = SimulatedBreakers([PAYMENTS], clock, 3)
    (copy,) = breakers_of(simulated)
    block = simulated.copy(Breaker("stock", on=KeyError))
    assert (copy.name, copy.clock(), copy.max_receives, copy.waits) == ("payments", EPOCH + 5, 3, False)
    async with copy.open_table() as table, block.open_table() as same:
        assert table is same
        assert isinstance(table, InMemoryBreakers)
    assert PAYMENTS.open_table is None


async def test_several_simulations_can_share_a_table():
    """The handlers of a replay do."""
    table = InMemoryBreakers()
    await table.change("payments", Circuit(), Circuit(state="OPEN"))
    (copy,) = simulated_breakers(PAYMENTS, ManualClock(), None, table).of_consumer
    async with copy.open_table() as opened:
        assert (await opened.read(["payments"]))[0].state == "OPEN"


def test_a_consumer_without_breakers_has_none_in_a_simulation():
    """A block in its handler gets a copy nevertheless."""
    simulated = simulated_breakers(None, ManualClock(), None)
    assert list(breakers_of(simulated)) == []
    assert simulated.copy(PAYMENTS).name == "payments"


def test_a_process_without_breakers_does_not_import_them(monkeypatch):
    """Neither a setting nor a block can use one."""
    monkeypatch.delitem(sys.modules, "fanfold._breakers.breaker")
    assert simulated_breakers(None, ManualClock(), None) is None
    assert "fanfold._breakers.breaker" not in sys.modules
