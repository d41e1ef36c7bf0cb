"""The tick messages of a breaker."""

import pytest

from fanfold._breakers.keeper import LEASE_SECONDS, TICK_LOST_SECONDS
from kept_breaker import Environment, async_probe, failing_probe, probing, recovered
from recorded_outage import NAME, CopyingSettler, Outage, unavailable


@pytest.fixture
def outage() -> Outage:
    return Outage()


class Ticks:
    """Sends tick messages, unless it fails."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.sent: list[str] = []

    async def __call__(self, name: str) -> None:
        if self.errors:
            raise self.errors.pop()
        self.sent.append(name)


async def test_the_tick_message_is_sent_before_the_circuit_is_opened(outage):
    """A tick without an outage is harmless."""
    ticks = Ticks()
    environment = Environment(outage, ticks)
    assert (await environment.open()).tick_at == outage.clock()
    assert ticks.sent == [NAME]


async def test_a_tick_message_that_cannot_be_sent_is_one_line(outage, caplog):
    """The circuit is opened nevertheless, and the tick is sent at the next read."""
    environment = Environment(outage, Ticks(unavailable()))
    assert (await environment.open()).tick_at == 0
    assert caplog.messages[0].startswith("breaker 'payments': the tick message could not be sent: ")
    assert (await environment.batch_starts()).tick_at == outage.clock()


async def test_a_lost_tick_message_is_replaced(outage):
    """Nobody has seen it for 15 minutes."""
    ticks = Ticks()
    environment = Environment(outage, ticks, probe_every=10_000)
    await environment.open()
    outage.clock.advance(TICK_LOST_SECONDS)
    await environment.batch_starts()
    assert len(ticks.sent) == 1
    outage.clock.advance(1)
    assert (await environment.batch_starts()).tick_at == outage.clock()
    assert len(ticks.sent) == 2


async def test_a_tick_of_a_closed_circuit_releases_and_ends(outage):
    """Only when no message is held any more; after a call that failed, it is renewed."""
    outage.settler = CopyingSettler(fails=unavailable(), failures=2)
    environment = await recovered(outage, pages=1)
    assert await environment.keeper.tick("t") == 5
    assert await environment.keeper.tick("t") is None
    assert len(outage.settler.changed) == 12


async def test_a_tick_releases_the_message_with_the_most_receives_as_the_probe(outage):
    """When a probe is due; it is renewed for the interval, or a longer one so that three probes last for the budget."""
    environment = Environment(outage, outage_budget=240)
    await environment.open()
    left = {"a": 2, "b": 4, "c": 3, "gone": 9}
    await environment.hold(
        [outage.held(name, receives_left=count, seconds=10 if name == "gone" else 600) for name, count in left.items()]
    )
    assert await environment.keeper.tick("t") == 30
    assert outage.settler.visibility_changes == []
    outage.clock.advance(30)
    assert await environment.keeper.tick("t") == 30 * (8 ** (1 / 3) - 1)
    assert outage.settler.visibility_changes == [[("b", 0)]]
    circuit = await outage.circuit()
    assert (circuit.tick_at, circuit.ticker) == (outage.clock(), "t")


async def test_a_tick_tries_the_next_message_if_a_handle_is_old(outage):
    """It was received in the meantime."""
    outage.settler = CopyingSettler("b")
    environment = Environment(outage)
    await environment.open()
    await environment.hold([outage.held("a", receives_left=2), outage.held("b", receives_left=4)])
    outage.clock.advance(30)
    await environment.keeper.tick("t")
    assert outage.settler.visibility_changes == [[("b", 0)], [("a", 0)]]


@pytest.mark.parametrize(("last", "released"), [("try", []), ("copy", [[("a", 0)]])])
async def test_a_tick_does_not_use_up_the_last_spare_receive(outage, last, released):
    """Except if a copy would have all receives again."""
    environment = Environment(outage, last=last)
    await environment.open()
    await environment.hold([outage.held("a", receives_left=1)])
    outage.clock.advance(30)
    await environment.keeper.tick("t")
    assert outage.settler.visibility_changes == released


async def test_a_tick_looks_at_the_newest_and_the_oldest_pages(outage):
    """Ten of each; the newest ones here have no message that can be the probe."""
    environment = Environment(outage)
    await environment.open()
    for number in range(25):
        await environment.hold([outage.held(str(number), receives_left=3 if number in (2, 12) else 1)])
    outage.clock.advance(30)
    await environment.keeper.tick("t")
    assert outage.settler.visibility_changes == [[("2", 0)]]


async def test_a_second_tick_message_is_not_renewed(outage):
    """Two execution environments that open at the same moment both send one."""
    environment = Environment(outage)
    await environment.open()
    assert await environment.keeper.tick("one") == 30
    assert await environment.keeper.tick("two") is None
    outage.clock.advance(15)
    assert await environment.keeper.tick("one") == 15
    outage.clock.advance(15)
    assert await environment.keeper.tick("two") == 30  # the other one was not seen for half an interval


async def test_a_tick_with_a_probe_function_probes(outage):
    """No message is needed for it."""
    environment = Environment(outage, probe=failing_probe)
    await environment.open()
    await environment.hold([outage.held("a")])
    outage.clock.advance(30)
    assert await environment.keeper.tick("t") == 30
    assert outage.settler.visibility_changes == []
    environment.state.breaker.probe = async_probe
    outage.clock.advance(30)
    assert await environment.keeper.tick("t") is None
    assert outage.settler.visibility_changes == [[("a", 0)]]


async def test_a_tick_waits_for_the_probe_of_a_record(outage):
    """Until its lease ends."""
    environment = await probing(outage)
    assert await environment.keeper.tick("t") == LEASE_SECONDS
    outage.clock.advance(LEASE_SECONDS)
    assert await environment.keeper.tick("t") == 1
