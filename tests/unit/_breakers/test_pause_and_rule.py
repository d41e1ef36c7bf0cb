"""Pausing event source mappings: what is written before, and who enables them again."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from fanfold._breakers.breaker_state import BreakerState
from fanfold._breakers.keeper import Keeper
from fanfold._breakers.mapping_pause import MappingPause
from fanfold._breakers.shared_table import SharedTable
from fanfold._ports.breakers import CLOSED, OPEN, Circuit
from fanfold.errors import ConfigurationError
from recorded_outage import ARN, NAME, DownError, Outage

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:orders"


class ScriptedMappings:
    """Mappings that accept every change, or refuse some."""

    def __init__(self, outage: Outage) -> None:
        self.outage = outage
        self.changes: list[tuple[str, list[str], bool]] = []
        self.paused_in_table: list[str] = []
        self.results: list[bool | Exception] = []

    async def __call__(self) -> "ScriptedMappings":
        return self

    async def set_enabled(self, function: str, queue_arns: Sequence[str], enabled: bool) -> bool:
        self.changes.append((function, list(queue_arns), enabled))
        self.paused_in_table.append((await self.outage.circuit()).paused)
        result = self.results.pop(0) if self.results else True
        if isinstance(result, Exception):
            raise result
        return result


class PausingEnvironment:
    """An execution environment whose breaker pauses the mapping of its queue."""

    def __init__(self, outage: Outage, mappings: ScriptedMappings, *, has_probe: bool = True) -> None:
        self.is_back = False
        self.outage = outage
        self.mapping_pause = MappingPause(NAME, mappings)
        self.mapping_pause.function = FUNCTION
        self.mapping_pause.queues.add(ARN)
        self.state = BreakerState(outage.breaker(probe=self.probe if has_probe else None), outage.clock)
        table = SharedTable(NAME, self.table, outage.clock)
        loop = asyncio.get_running_loop()
        self.keeper = Keeper(self.state, table, outage.settler, loop, self.run_blocking, None, self.mapping_pause)

    async def table(self) -> Any:
        return self.outage.table

    async def run_blocking(self, function: Any) -> Any:
        return function()

    def probe(self) -> None:
        if not self.is_back:
            raise DownError

    async def read(self) -> Circuit:
        self.state.batch_starts()
        await self.keeper.finish(None)
        return await self.outage.circuit()

    async def fail(self) -> Circuit:
        for _ in range(5):
            self.state.ended(self.outage.clock(), self.outage.clock(), failed=True)
        await asyncio.sleep(0)
        await self.keeper.finish(None)
        return await self.outage.circuit()


@pytest.fixture
def outage() -> Outage:
    return Outage()


@pytest.fixture
def mappings(outage: Outage) -> ScriptedMappings:
    return ScriptedMappings(outage)


async def opens(environment: PausingEnvironment) -> Circuit:
    await environment.read()
    await asyncio.sleep(0)
    await environment.keeper.finish(None)
    return await environment.fail()


async def opened(environment: PausingEnvironment) -> Circuit:
    await opens(environment)
    return await environment.read()


async def test_the_mappings_are_paused_as_soon_as_the_breaker_opens(outage, mappings):
    """Also if no other batch is delivered, because all messages are held."""
    circuit = await opens(PausingEnvironment(outage, mappings))
    assert (circuit.state, circuit.paused) == (OPEN, ARN)
    assert mappings.changes == [(FUNCTION, [ARN], False)]


async def test_the_queues_are_in_the_circuit_before_their_mappings_are_disabled(outage, mappings):
    """A process that ends in between has not disabled anything that is forgotten."""
    environment = PausingEnvironment(outage, mappings)
    await opened(environment)
    await environment.keeper.tick("")
    assert mappings.changes[0] == (FUNCTION, [ARN], False)
    assert mappings.paused_in_table[0] == ARN
    assert (await outage.circuit()).state == OPEN


async def test_the_rule_alone_probes_and_enables_the_mappings_again(outage, mappings):
    """The process that paused them is gone: no message is delivered, and no tick."""
    await opened(PausingEnvironment(outage, mappings))
    await PausingEnvironment(outage, mappings).keeper.tick("")
    mappings.changes.clear()
    outage.clock.advance(300)
    another = PausingEnvironment(outage, mappings)
    another.is_back = True
    another.mapping_pause.queues.clear()  # it has received no batch
    assert await another.keeper.tick("") is None
    circuit = await outage.circuit()
    assert (circuit.state, circuit.paused) == (CLOSED, "")
    assert mappings.changes == [(FUNCTION, [ARN], True)]


@pytest.mark.parametrize("result", [False, ConfigurationError("access denied")], ids=["in use", "denied"])
async def test_a_mapping_that_could_not_be_enabled_is_tried_again(outage, mappings, result, caplog):
    """It stays in the circuit until then."""
    environment = PausingEnvironment(outage, mappings)
    await opened(environment)
    await environment.keeper.tick("")
    outage.clock.advance(300)
    environment.is_back = True
    mappings.results = [result, True]
    assert await environment.keeper.tick("") == 5
    assert (await outage.circuit()).paused == ARN
    assert await environment.keeper.tick("") is None
    assert (await outage.circuit()).paused == ""
    assert ("could not be enabled: access denied" in caplog.text) is isinstance(result, Exception)


async def test_a_mapping_that_a_person_disabled_is_never_enabled(outage, mappings):
    """Only queues that the breaker has noted are."""
    environment = PausingEnvironment(outage, mappings)
    await environment.read()
    assert await environment.keeper.tick("") is None
    assert mappings.changes == []


async def test_without_a_probe_function_nothing_is_paused(outage, mappings):
    """A message is the probe then, and it must be delivered."""
    environment = PausingEnvironment(outage, mappings, has_probe=False)
    await opened(environment)
    await environment.keeper.tick("")
    assert mappings.changes == []
    assert (await outage.circuit()).paused == ""


def test_nothing_is_paused_before_a_batch_and_nothing_twice():
    """Neither the queue nor the function is known before."""
    mapping_pause = MappingPause(NAME, None)  # type: ignore[arg-type] # not opened
    assert mapping_pause.wanted(Circuit(OPEN)) is None
    mapping_pause.queues |= {"b", "a"}
    assert mapping_pause.wanted(Circuit()) is None
    wanted = mapping_pause.wanted(Circuit(OPEN))
    assert wanted is not None
    assert wanted.paused == "a b"
    assert mapping_pause.wanted(wanted) is None


async def test_a_function_that_is_not_known_changes_no_mapping():
    """Outside of Lambda, there is none."""
    assert await MappingPause(NAME, None).apply(Circuit(OPEN, paused="a")) is False  # type: ignore[arg-type] # not opened
