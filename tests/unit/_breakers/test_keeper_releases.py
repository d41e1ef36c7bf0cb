"""Held messages are stored, and made visible once the circuit is closed."""

import asyncio

import pytest

from fanfold._ports.breakers import PAGE_HANDLES
from fanfold.errors import ServiceError
from kept_breaker import (
    Environment,
    closed_by_another,
    recovered,
)
from recorded_outage import NAME, CopyingSettler, Outage


@pytest.fixture
def outage() -> Outage:
    return Outage()


async def test_held_messages_are_stored_in_pages(outage):
    """Up to 500 in each."""
    environment = Environment(outage)
    await environment.open()
    held = [outage.held(str(number)) for number in range(PAGE_HANDLES + 1)]
    await environment.hold(held)
    assert list(map(len, await outage.pages())) == [PAGE_HANDLES, 1]
    assert outage.settler.visibility_changes == []


async def test_messages_that_are_held_while_another_one_closes_the_circuit_are_released(outage):
    """Nobody else would look at their page."""
    environment = Environment(outage)
    await environment.open()
    await closed_by_another(outage)
    await environment.hold([outage.held("a")])
    assert outage.settler.visibility_changes == [[("a", 0)]]
    assert not environment.state.is_open
    assert not (await outage.circuit()).has_held
    assert await outage.pages() == []


async def test_all_messages_of_a_large_batch_are_released_if_another_one_has_closed_the_circuit(outage):
    """A batch of 10,000 has more pages than are released together."""
    environment = Environment(outage)
    await environment.open()
    await closed_by_another(outage)
    await environment.hold([outage.held(str(number)) for number in range(20 * PAGE_HANDLES)])
    assert sum(map(len, outage.settler.visibility_changes)) == 20 * PAGE_HANDLES
    assert not (await outage.circuit()).has_held


async def test_pages_of_others_stay_with_the_one_who_closed_the_circuit(outage):
    """It is still making their messages visible. Those that were just held are made visible here."""
    environment = Environment(outage)
    await environment.open()
    await outage.table.add_page(NAME, [outage.held("other")], 0)
    await closed_by_another(outage)
    await environment.hold([outage.held("a")])
    assert outage.settler.visibility_changes == [[("a", 0)]]
    assert len(await outage.pages()) == 2


async def test_the_one_who_closes_releases_all_pages(outage):
    """In calls of ten messages."""
    environment = await recovered(outage, pages=11)
    await environment.keeper.release(5)
    calls = outage.settler.visibility_changes
    assert {message for call in calls for message in call} == {(f"{p}-{n}", 0) for p in range(11) for n in range(12)}
    assert max(map(len, calls)) == 10
    assert not (await outage.circuit()).has_held
    assert await outage.pages() == []
    assert environment.keeper.is_idle


async def test_nothing_is_released_while_the_circuit_is_open_or_without_messages(outage):
    """The service is down, or there was no outage."""
    environment = Environment(outage)
    await environment.keeper.release(5)
    await environment.open()
    await environment.hold([outage.held("a")])
    await environment.keeper.release(5)
    assert outage.settler.visibility_changes == []


async def test_messages_that_are_visible_by_now_are_skipped(outage):
    """SQS might accept an old handle."""
    environment = await recovered(outage, pages=1)
    outage.clock.advance(3_600)
    await environment.keeper.release(5)
    assert outage.settler.visibility_changes == []
    assert not (await outage.circuit()).has_held


async def test_an_old_handle_is_refused_and_the_others_are_released(outage):
    """The message was received in the meantime."""
    outage.settler = CopyingSettler("0-3")
    environment = await recovered(outage, pages=1)
    await environment.keeper.release(5)
    assert len(outage.settler.changed) == 12
    assert not (await outage.circuit()).has_held


@pytest.mark.parametrize(("transient", "has_held"), [(True, True), (False, False)])
async def test_messages_that_a_failing_call_did_not_release_stay_in_their_pages(transient, has_held, caplog):
    """Another batch continues; if a further attempt cannot help, their visibility timeouts end later."""
    outage = Outage()
    outage.settler = CopyingSettler(fails=ServiceError("no\nroom", code="X", transient=transient))
    environment = await recovered(outage, pages=1)
    await environment.keeper.release(5)
    assert (await outage.circuit()).has_held is has_held
    assert "breaker 'payments': messages could not be made visible: no" in caplog.text
    await environment.keeper.release(5)
    assert not (await outage.circuit()).has_held


async def test_another_execution_environment_continues_if_the_one_who_closed_is_gone(outage):
    """After 30 seconds."""
    await recovered(outage, pages=2)
    other = Environment(outage)
    await other.batch_starts()
    await other.keeper.release(5)
    assert outage.settler.visibility_changes == []
    outage.clock.advance(30)
    await other.batch_starts()
    assert (await outage.circuit()).owner == other.state.owner
    await other.keeper.release(5)
    assert not (await outage.circuit()).has_held


async def test_a_release_ends_in_time_and_goes_on_in_the_next_batch(outage):
    """The settler hangs."""
    environment = await recovered(outage, pages=1)
    settler, outage.settler.change_visibility = outage.settler.change_visibility, lambda _: asyncio.Event().wait()
    await environment.keeper.release(0)
    assert environment.state.circuit.has_held
    outage.settler.change_visibility = settler
    await environment.keeper.release(5)
    assert len(outage.settler.changed) == 12
