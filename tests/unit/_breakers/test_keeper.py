"""The reading and writing of a breaker in one execution environment."""

import asyncio
from typing import Any

import pytest

from fanfold._breakers import keeper as keeper_module
from fanfold._breakers.keeper import LEASE_SECONDS
from fanfold._breakers.shared_table import ALONE_SECONDS
from fanfold._breakers.transitions import claimed, closed, opened
from fanfold._ports.breakers import CLOSED, HALF_OPEN, OPEN, Circuit
from kept_breaker import (
    FAILED,
    SHOWS_NOTHING,
    SUCCEEDED,
    Environment,
    async_probe,
    closed_by_another,
    failing_probe,
    opened_by_another,
    probing,
    recovered,
)
from recorded_outage import NAME, BrokenTable, CopyingSettler, Outage, unavailable


@pytest.fixture
def outage() -> Outage:
    return Outage()


async def test_a_healthy_service_costs_one_read(outage):
    """At the first batch; no write ever."""
    outage.table = BrokenTable()
    environment = Environment(outage)
    for _ in range(3):
        await environment.batch_starts()
        await environment.end(*[SUCCEEDED] * 30)
    await environment.keeper.finish(None)
    await environment.keeper.release(None)
    assert outage.table.calls[0] == "read"
    assert "change" not in outage.table.calls
    assert environment.keeper.is_idle


async def test_failures_are_counted_together(outage):
    """Those that end at the same moment are one update."""
    outage.table = BrokenTable()
    environment = Environment(outage)
    await environment.batch_starts()
    await environment.end(FAILED, FAILED)
    assert outage.table.calls.count("count_failures") == 1
    assert (await outage.circuit()).failures == 2


async def test_five_failures_open_the_circuit_for_all(outage):
    """Another execution environment learns it at its next read."""
    environment, other = Environment(outage), Environment(outage)
    circuit = await environment.open()
    now = outage.clock()
    assert circuit == Circuit(OPEN, 1, since=now, opened_at=now, probe_due=now + 30)
    await other.batch_starts()
    assert other.state.is_open
    assert environment.keeper.age == 0


async def test_three_failures_open_after_others_counted_theirs(outage):
    """The shared count decides."""
    environment, other = Environment(outage), Environment(outage)
    await other.batch_starts()
    await other.end(FAILED, FAILED)
    await environment.batch_starts()
    assert (await environment.end(FAILED, FAILED)).is_closed
    assert (await environment.end(FAILED)).state == OPEN


async def test_a_circuit_that_another_one_has_opened_is_not_opened_again(outage):
    """Its outage began earlier."""
    environment = Environment(outage)
    await environment.batch_starts()
    before = await opened_by_another(outage)
    outage.clock.advance(5)
    assert await environment.end(*[FAILED] * 5) == before
    assert environment.state.circuit == before


class Contended(BrokenTable):
    """A table whose circuit another execution environment changes before each of the first changes."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self.changes = changes

    async def change(self, name: str, before: Circuit, after: Circuit) -> bool:
        if self.changes:
            self.changes -= 1
            (stored,) = await self.table.read([name])
            await self.table.change(name, stored, stored._replace(tick_at=1.0))
        return await self.table.change(name, before, after)


@pytest.mark.parametrize(("changes", "state"), [(4, OPEN), (5, CLOSED)])
async def test_a_change_is_decided_again_if_the_circuit_has_changed(changes, state):
    """Five attempts; then the stored circuit counts, and the next failures try it again."""
    outage = Outage(Contended(changes))
    environment = Environment(outage)
    assert (await environment.open()).state == state
    assert environment.state.circuit.state == state


async def test_one_execution_environment_claims_the_probe(outage):
    """The others let nothing start until its lease ends."""
    environments = [Environment(outage) for _ in range(3)]
    await environments[0].open()
    outage.clock.advance(30)
    for environment in environments:
        await environment.batch_starts()
    circuit = await outage.circuit()
    assert (circuit.state, circuit.lease_until) == (HALF_OPEN, outage.clock() + LEASE_SECONDS)
    assert [environment.state.is_probing for environment in environments] == [True, False, False]
    outage.clock.advance(LEASE_SECONDS)
    await environments[1].batch_starts()
    assert (await outage.circuit()).owner == environments[1].state.owner


async def test_a_record_that_succeeds_as_the_probe_closes_the_circuit(outage):
    """For all, with the number of pages that there are by now."""
    environment = await probing(outage)
    await outage.table.add_page(NAME, [outage.held("a")], 0)
    circuit = await environment.end(SUCCEEDED)
    assert (circuit.state, circuit.closed_at, circuit.owner) == (CLOSED, outage.clock(), environment.state.owner)
    assert environment.state.circuit.has_held
    assert not environment.keeper.is_idle


async def test_a_record_that_fails_as_the_probe_opens_it_again(outage):
    """The next probe is due after the interval."""
    environment = await probing(outage)
    circuit = await environment.end(FAILED)
    assert (circuit.state, circuit.opened_at, circuit.probe_due) == (OPEN, outage.clock(), outage.clock() + 30)


async def test_a_late_failure_does_not_take_the_probe_of_another_one(outage):
    """Its lease had ended, and another execution environment probes."""
    environment = await probing(outage)
    after = await outage.change(lambda circuit: claimed(circuit, outage.clock(), "another", 60))
    assert await environment.end(FAILED) == after


async def test_a_late_success_closes_the_circuit_that_another_one_probes(outage):
    """The service is back, in whichever environment that was shown."""
    environment = await probing(outage)
    await outage.change(lambda circuit: claimed(circuit, outage.clock(), "another", 60))
    assert (await environment.end(SUCCEEDED)).is_closed


async def test_a_circuit_that_was_opened_by_hand_is_not_closed_by_a_success(outage):
    """Nor by a probe."""
    environment = await probing(outage)
    forced = await outage.change(lambda circuit: circuit._replace(forced=True))
    assert await environment.end(SUCCEEDED) == forced
    assert environment.state.is_open


def returning_probe() -> Any:
    return async_probe()


@pytest.mark.parametrize(
    ("probe", "state"), [(async_probe, CLOSED), (bool, CLOSED), (returning_probe, CLOSED), (failing_probe, OPEN)]
)
async def test_a_probe_function_finds_out_whether_the_service_is_back(outage, probe, state):
    """``async def``, ``def`` on a thread, and a ``def`` that returns an awaitable."""
    environment = await probing(outage, probe=probe)
    assert (await outage.circuit()).state == state
    assert not environment.state.is_probing


async def test_a_probe_that_raises_is_one_line(outage, caplog):
    """The service is still down."""
    caplog.set_level("INFO", "fanfold")
    await probing(outage, probe=failing_probe)
    assert "breaker 'payments': its probe failed: DownError()" in caplog.messages


async def test_a_probe_that_hangs_fails(outage, monkeypatch, caplog):
    """After ten seconds; one line."""
    monkeypatch.setattr(keeper_module, "PROBE_SECONDS", 0.0)
    await probing(outage, probe=asyncio.Event().wait)
    assert (await outage.circuit()).state == OPEN
    assert caplog.messages[-1] == "breaker 'payments': its probe did not end within 0 s"


async def test_a_probe_that_showed_nothing_is_given_back_at_the_end_of_the_batch(outage):
    """The next batch, of any execution environment, can probe immediately."""
    environment, other = await probing(outage), Environment(outage)
    await environment.end(SHOWS_NOTHING)
    await environment.keeper.finish(5)
    assert (await outage.circuit()).state == OPEN
    await other.batch_starts()
    assert other.state.is_probing


@pytest.mark.parametrize("change", [claimed, closed])
async def test_a_probe_that_another_one_has_taken_or_ended_is_not_given_back(outage, change):
    """Its lease had ended."""
    environment = await probing(outage)
    arguments = ("another", 60) if change is claimed else ("another",)
    after = await outage.change(lambda circuit: change(circuit, outage.clock(), *arguments))
    await environment.keeper.finish(5)
    assert await outage.circuit() == after
    assert environment.state.circuit == after


class Hanging(BrokenTable):
    """A table whose methods hang, and that counts those that were cancelled."""

    cancelled = 0

    def __getattr__(self, name: str) -> Any:
        async def call(*_: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled += 1

        return call


async def test_the_end_of_a_batch_does_not_wait_longer_than_it_may(outage):
    """The table hangs."""
    environment = Environment(outage)
    outage.table = Hanging()
    environment.state.batch_starts()
    await asyncio.sleep(0)
    await environment.keeper.finish(0)
    assert not environment.keeper.is_idle
    environment.keeper._task.cancel()
    await asyncio.wait({environment.keeper._task})
    assert environment.state.wait(0) == 0  # nothing waits for the read any more


async def test_without_its_table_an_execution_environment_opens_alone(outage, caplog):
    """The messages are held, and nothing starts; one line states it."""
    outage.table = BrokenTable(unavailable())
    environment = Environment(outage)
    await environment.batch_starts()
    await environment.end(*[FAILED] * 5)
    assert environment.state.is_open
    assert environment.keeper.is_alone
    await environment.hold([outage.held("a")])
    assert len([line for line in caplog.messages if "cannot be used" in line]) == 1


async def alone(outage: Outage) -> Environment:
    """Return an execution environment that is open alone, and holds a message; the table can be used from now on."""
    outage.table = BrokenTable(unavailable())
    environment = Environment(outage)
    await environment.batch_starts()
    await environment.end(*[FAILED] * 5)
    await environment.hold([outage.held("a")])
    outage.table.error = None
    outage.clock.advance(ALONE_SECONDS)
    return environment


async def test_an_outage_that_was_opened_alone_is_written_once_the_table_can_be_used(outage):
    """The others have to learn it."""
    environment = await alone(outage)
    circuit = await environment.batch_starts()
    assert circuit.state != CLOSED
    assert environment.state.is_open


async def test_messages_that_were_held_alone_are_released(outage):
    """Nobody else knows them; after a call that failed, once more."""
    outage.settler = CopyingSettler(fails=unavailable())
    environment = await alone(outage)
    await environment.batch_starts()
    await closed_by_another(outage)
    await environment.batch_starts()
    assert not environment.keeper.is_idle
    await environment.keeper.release(5)
    await environment.keeper.release(5)
    assert outage.settler.visibility_changes == [[("a", 0)]] * 2
    assert environment.keeper.is_idle


@pytest.mark.parametrize("method", ["read", "count_failures"])
async def test_an_error_in_the_breaker_means_no_breaker(outage, method, caplog):
    """The messages are processed as without it."""
    outage.table = BrokenTable()
    environment = Environment(outage)
    await environment.batch_starts()
    outage.table.error = ZeroDivisionError()
    if method == "read":
        outage.clock.advance(5)
        environment.state.redelivered()
    await environment.end(FAILED if method == "count_failures" else SUCCEEDED)
    assert not environment.state.is_open
    assert environment.state.wait(0) == 0
    assert "breaker 'payments' failed; messages are processed as without it" in caplog.messages


async def test_errors_at_the_end_of_a_batch_mean_no_breaker(outage):
    """Storing pages, releasing them, and giving a probe back."""
    outage.table = BrokenTable()
    environment = await recovered(outage, pages=1)
    outage.table.error = ZeroDivisionError()
    await environment.keeper.release(5)
    await environment.hold([outage.held("a")])
    assert not environment.state.is_open
    environment.state.adopt(claimed(opened(Circuit(), 0, probe_every=30), 0, environment.state.owner, 60))
    outage.table.error = ZeroDivisionError()
    await environment.keeper.finish(5)
    assert not environment.state.is_open


async def test_after_the_end_of_its_loop_nothing_is_woken(outage):
    """A thread of an abandoned handler may end late."""
    environment = Environment(outage)
    environment.keeper._loop = asyncio.new_event_loop()
    environment.keeper._loop.close()
    environment.state.batch_starts()
    assert environment.state.has_work
