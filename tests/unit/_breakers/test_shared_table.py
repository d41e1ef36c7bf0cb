"""The table of a breaker, and what an execution environment does alone while it cannot be used."""

import asyncio

import pytest

from fanfold._breakers.shared_table import ALONE_SECONDS, SharedTable
from fanfold._ports.breakers import OPEN, UNREADABLE, Circuit
from fanfold.errors import ConfigurationError, ServiceError
from recorded_outage import NAME, START, BrokenTable, Outage, unavailable

DOWN = Circuit(OPEN, since=START, opened_at=START, probe_due=START + 30, pages=4, released=1)


class Environment(Outage):
    """A shared table over one that can fail."""

    def __init__(self, error: BaseException | None = None, *, has_table: bool = True) -> None:
        super().__init__(BrokenTable(error))
        self.opened = 0
        self.shared = SharedTable(NAME, self.open if has_table else None, self.clock)

    async def open(self) -> BrokenTable:
        self.opened += 1
        return self.table


async def test_without_a_table_an_execution_environment_decides_alone(caplog):
    """All state is in memory, and nothing is logged: the user has chosen it."""
    environment = Environment(has_table=False)
    shared = environment.shared
    assert shared.is_alone
    assert await shared.change(Circuit(), DOWN)
    circuit = await shared.add_page([environment.held("a")], 0, DOWN)
    assert (circuit.state, circuit.pages) == (OPEN, 1)
    assert not shared.holds_alone
    assert await shared.page(1, circuit) == (environment.held("a"),)
    await shared.released(1, circuit)
    assert not (await shared.read(circuit)).has_held
    assert list(await shared.held_alone()) == []
    assert caplog.messages == []


async def test_a_table_that_works_is_used_for_everything():
    """Nothing is stored in memory."""
    environment = Environment()
    shared = environment.shared
    assert await shared.change(Circuit(), DOWN)
    assert (await shared.count_failures(3, Circuit())).failures == 3
    await shared.add_page([environment.held("a")], 0, Circuit())
    assert len(await shared.page(1, Circuit())) == 1
    await shared.released(1, Circuit())
    assert (await shared.read(Circuit())).state == OPEN
    assert environment.table.calls == ["change", "count_failures", "add_page", "page", "released", "read"]
    assert not shared.is_alone
    assert (await shared.alone.read([NAME])) == [Circuit()]


@pytest.mark.parametrize(
    "error",
    [
        unavailable(),
        ConfigurationError("table 'breakers': access is denied"),
        OSError("no route"),
        TimeoutError("slow"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_table_that_fails_is_one_line_and_not_used_for_a_minute(error, caplog):
    """The execution environment goes on alone with what it knows, except for messages that are in the table."""
    environment = Environment(error)
    shared = environment.shared
    circuit = await shared.read(DOWN)
    assert circuit == DOWN._replace(version=1, pages=0, released=0)
    assert shared.is_alone
    assert await shared.read(Circuit()) == circuit
    assert await shared.change(circuit, circuit._replace(state="CLOSED"))
    assert environment.table.calls == ["read"]
    assert caplog.messages == [
        f"breaker 'payments': its table cannot be used, so this execution environment decides alone for 60 s: {error}"
    ]
    assert "\n" not in caplog.messages[0]


async def test_a_table_that_hangs_is_one_line_and_not_used_for_a_minute(caplog, monkeypatch):
    """After ten seconds: records wait for its first read."""
    monkeypatch.setattr("fanfold._breakers.shared_table.CALL_SECONDS", 0.0)
    environment = Environment()
    environment.table.read = lambda *_: asyncio.Event().wait()
    assert (await environment.shared.read(DOWN)).state == OPEN
    assert environment.shared.is_alone
    (line,) = caplog.messages
    assert line.endswith("decides alone for 60 s: it did not respond within 0 s")


async def test_a_table_is_used_again_after_a_minute():
    """Its circuit counts then."""
    environment = Environment(unavailable())
    await environment.shared.read(DOWN)
    environment.table.error = None
    environment.clock.advance(ALONE_SECONDS - 1)
    assert (await environment.shared.read(Circuit())).state == OPEN
    environment.clock.advance(1)
    assert not environment.shared.is_alone
    assert await environment.shared.read(Circuit()) == Circuit()


async def test_messages_that_were_stored_alone_are_returned_once_the_table_can_be_used():
    """Until they are visible."""
    environment = Environment(unavailable())
    shared, held = environment.shared, environment.held
    await shared.add_page([held("a"), held("b")], 0, DOWN)
    await shared.add_page([held("c")], 0, DOWN)
    assert shared.holds_alone
    assert list(await shared.held_alone()) == []
    await shared.forget_alone()
    environment.table.error = None
    environment.clock.advance(ALONE_SECONDS)
    assert [message.handle for message in await shared.held_alone()] == ["a", "b", "c"]
    await shared.forget_alone()
    assert not shared.holds_alone
    assert list(await shared.held_alone()) == []


async def test_a_second_failure_goes_on_with_what_is_known_then():
    """And with the messages that were stored alone before."""
    environment = Environment(unavailable())
    shared = environment.shared
    await shared.add_page([environment.held("a")], 0, DOWN)
    environment.clock.advance(ALONE_SECONDS)
    circuit = await shared.read(Circuit(closed_at=START))
    assert (circuit.is_closed, circuit.pages, circuit.released) == (True, 1, 0)


async def test_a_page_that_cannot_be_read_has_no_messages(caplog):
    """They become visible at their time; any other error means that the table cannot be used."""
    environment = Environment(ServiceError("page 1 is damaged", code=UNREADABLE, transient=False))
    assert list(await environment.shared.page(1, DOWN)) == []
    assert caplog.messages == ["breaker 'payments': page 1 of held messages cannot be read: page 1 is damaged"]
    assert not environment.shared.is_alone
    environment.table.error = unavailable()
    assert list(await environment.shared.page(1, DOWN)) == []
    assert environment.shared.is_alone


async def test_other_errors_are_those_of_the_breaker():
    """A bug does not look like a table that is down."""
    environment = Environment(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await environment.shared.read(Circuit())
    assert not environment.shared.is_alone
