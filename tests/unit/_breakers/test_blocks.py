"""``with breaker:`` around a call, in one execution environment."""

import asyncio
import itertools
from typing import Any

import pytest

from fanfold import Retry
from fanfold._breakers.blocks import Block, BreakerOpenError
from fanfold._breakers.breaker_state import PROBE_POLL_SECONDS
from fanfold._breakers.counted import counted_by
from fanfold._breakers.keeper import Keeper
from fanfold._breakers.shared_table import SharedTable
from fanfold._breakers.transitions import opened
from recorded_outage import NAME, DownError, Outage


class Environment:
    """An execution environment, and the blocks in it."""

    def __init__(self, *, is_of_blocks: bool = True) -> None:
        self.outage = Outage()
        self.state = self.outage.state()
        self.keeper = Keeper(
            self.state,
            SharedTable(NAME, self.table, self.outage.clock),
            self.outage.settler,
            asyncio.get_running_loop(),
            self.table,
            is_of_blocks=is_of_blocks,
        )

    async def table(self, *_: Any) -> Any:
        return self.outage.table

    async def run(self, error: BaseException | None = None) -> None:
        """Run a block that ends with an error, or without one."""
        block = Block(self.keeper)
        await block.enter()
        block.exit(error)

    async def idle(self) -> None:
        await asyncio.sleep(0)
        await self.keeper.finish(None)

    async def open(self) -> None:
        for _ in range(5):
            await self.run(DownError())
        await self.idle()


async def test_the_first_call_waits_until_the_circuit_is_read():
    """The service may be down already."""
    environment = Environment()
    await environment.outage.change(lambda circuit: opened(circuit, environment.outage.clock(), probe_every=30))
    with pytest.raises(BreakerOpenError):
        await environment.run()
    assert environment.state.is_open


async def test_a_call_does_not_wait_longer_than_five_seconds():
    """The table hangs; the call is made as without a breaker."""
    environment = Environment()
    environment.state.wakes = bool
    environment.state.now = itertools.count(0, 2).__next__
    await environment.run()
    assert environment.state.has_work


async def test_five_failing_calls_open_the_breaker_and_the_next_one_is_not_made():
    """The error names the breaker, and the message is redelivered later."""
    environment = Environment()
    await environment.open()
    with pytest.raises(BreakerOpenError, match=r"^breaker 'payments' is open$") as raised:
        await environment.run()
    assert isinstance(raised.value, Retry)
    assert raised.value.name == NAME
    assert 30 <= raised.value.after <= 42_300
    assert counted_by(raised.value) is environment.keeper
    assert environment.state.calls_saved == 1
    assert (await environment.outage.circuit()).state == "OPEN"


async def test_an_error_that_counts_is_marked():
    """It does not count again for the record, whose message is held if the breaker is open."""
    environment = Environment()
    error, other = DownError(), ValueError()
    await environment.run(error)
    await environment.run(other)
    assert counted_by(error) is environment.keeper
    assert counted_by(other) is None


async def test_a_call_is_the_probe_and_closes_the_breaker():
    """Other calls are not made meanwhile."""
    environment = Environment()
    await environment.open()
    environment.outage.clock.advance(30)
    block = Block(environment.keeper)
    await block.enter()
    with pytest.raises(BreakerOpenError):
        await environment.run()
    block.exit(None)
    await environment.idle()
    assert (await environment.outage.circuit()).is_closed
    await environment.run()


@pytest.mark.parametrize(("error", "state"), [(DownError(), "OPEN"), (ValueError(), "HALF_OPEN")])
async def test_a_probe_that_fails_opens_the_breaker_again(error, state):
    """After another error, the next call is the probe."""
    environment = Environment()
    await environment.open()
    environment.outage.clock.advance(30)
    await environment.run(error)
    await asyncio.sleep(0)
    while (task := environment.keeper._task) is not None and not task.done():
        await asyncio.wait({task})
    assert (await environment.outage.circuit()).state == state
    if state == "HALF_OPEN":
        await environment.run()


async def test_a_block_on_a_thread_waits_for_the_read_too():
    """A ``def`` handler."""
    environment = Environment()
    await environment.outage.change(lambda circuit: opened(circuit, environment.outage.clock(), probe_every=30))
    with pytest.raises(BreakerOpenError):
        await asyncio.to_thread(Block(environment.keeper).enter_here)


async def test_a_block_without_async_does_not_wait_on_the_event_loop():
    """That would block all other records: until the circuit is read, the call is made."""
    environment = Environment()
    await environment.outage.change(lambda circuit: opened(circuit, environment.outage.clock(), probe_every=30))
    block = Block(environment.keeper)
    block.enter_here()
    block.exit(None)
    await environment.idle()
    with pytest.raises(BreakerOpenError):
        Block(environment.keeper).enter_here()


async def test_a_block_of_a_consumers_breaker_makes_every_call():
    """Admission has let the record start, perhaps as the probe; only the failure of the call is noted."""
    environment = Environment(is_of_blocks=False)
    environment.state.has_read()
    await environment.open()
    assert environment.state.is_open
    await environment.run()
    assert environment.state.is_open
    assert environment.state.wait(0) > PROBE_POLL_SECONDS
    error = DownError()
    await environment.run(error)
    assert counted_by(error) is environment.keeper
