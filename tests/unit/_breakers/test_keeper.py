"""The reading and writing of a breaker in one execution environment."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fanfold._breakers import keeper as keeper_module
from fanfold._breakers.breaker_state import BreakerState
from fanfold._breakers.keeper import LEASE_SECONDS, TICK_LOST_SECONDS, Keeper
from fanfold._breakers.shared_table import ALONE_SECONDS, SharedTable
from fanfold._breakers.transitions import claimed, closed, opened
from fanfold._ports.breakers import CLOSED, HALF_OPEN, OPEN, PAGE_HANDLES, Circuit, Held
from fanfold.errors import ServiceError
from recorded_outage import NAME, BrokenTable, CopyingSettler, DownError, Outage, unavailable

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


@pytest.fixture
def outage() -> Outage:
    return Outage()


async def opened_by_another(outage: Outage) -> Circuit:
    return await outage.change(lambda circuit: opened(circuit, outage.clock(), probe_every=30))


async def closed_by_another(outage: Outage) -> Circuit:
    return await outage.change(lambda circuit: closed(circuit, outage.clock(), "another"))


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


async def probing(outage: Outage, **settings: Any) -> Environment:
    """Return an execution environment that probes."""
    environment = Environment(outage, **settings)
    await environment.open()
    outage.clock.advance(30)
    await environment.batch_starts()
    return environment


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


async def async_probe() -> None:
    """Return: the service is back."""


def returning_probe() -> Any:
    return async_probe()


def failing_probe() -> None:
    raise DownError


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


async def recovered(outage: Outage, pages: int, **settings: Any) -> Environment:
    """Return an execution environment that has just closed the circuit, with pages of twelve messages."""
    environment = await probing(outage, **settings)
    for page in range(pages):
        await outage.table.add_page(NAME, [outage.held(f"{page}-{number}") for number in range(12)], 0)
    await environment.end(SUCCEEDED)
    return environment


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
