"""An outage on the local AWS: real functions, real mappings, and processes that are killed at every step."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from command import fanfold
from fanfold._ports.breakers import OPEN
from fanfold._stack.emulator import LocalStack
from outage_on_aws import GROUPED, GROUPS, LONG_BUDGET, STEPS, Clients, OutageOnAws, outage_on_aws

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.linux]

MESSAGES = 25
QUICK = ("after OPEN", "before CLOSED", "some released")
DURING_OUTAGE = STEPS[:5]
Outage: TypeAlias = tuple[OutageOnAws, Future[None]]
_LEASE_SECONDS = 61
"""After this time, nobody waits any more for a process that was killed while it probed or released messages."""


@pytest.fixture(scope="module")
def clients(stack: LocalStack) -> Iterator[Clients]:
    clients = Clients(stack)
    yield clients
    clients.close()


def is_open(deployed: OutageOnAws) -> bool:
    circuit = deployed.circuit()
    return circuit.state == OPEN and circuit.has_held


def begin(deployed: OutageOnAws) -> None:
    """Send messages, and wait until all of them are held."""
    deployed.send(MESSAGES)
    deployed.until(lambda: is_open(deployed) and deployed.counts(deployed.work) == (0, MESSAGES))


def test_held_messages_are_released_and_processed_when_the_service_is_back(clients: Clients, tmp_path: Path):
    """The next message is the probe; nothing is lost, and nothing is in the dead-letter queue."""
    with outage_on_aws(clients, tmp_path) as deployed:
        begin(deployed)
        assert not deployed.lines("done")
        deployed.service_is_up()
        deployed.until(deployed.is_released, traffic=True)
        deployed.until(deployed.is_over)
        assert deployed.counts(deployed.dead_letters) == (0, 0)
        assert deployed.pages() == 0


def test_the_messages_of_a_group_are_released_in_their_order(clients: Clients, tmp_path: Path):
    """A group of a FIFO queue is held and released as a whole."""
    with outage_on_aws(clients, tmp_path, fifo=True) as deployed:
        deployed.send(GROUPED)
        deployed.until(lambda: is_open(deployed))
        deployed.service_is_up()
        deployed.until(deployed.is_released, traffic=True)
        deployed.until(deployed.is_over)
        assert deployed.counts(deployed.dead_letters) == (0, 0)
        done = [int(line) for line in deployed.lines("done")]
        for group in range(GROUPS):
            numbers = [number for number in done if number < GROUPED and number % GROUPS == group]
            assert numbers == sorted(numbers)


@pytest.mark.parametrize("settings", [{"kill_at": "tick"}, {"probe": True}], ids=["killed", "probe function"])
def test_a_tick_notices_the_end_of_an_outage_without_any_traffic(clients: Clients, tmp_path: Path, settings):
    """It probes with one held message, or with the probe function, and is deleted at the end.

    A tick message returns although the process that handled it was killed.
    """
    with outage_on_aws(clients, tmp_path, tick=True, **settings) as deployed:
        begin(deployed)
        deployed.until(lambda: deployed.is_killed or "probe" in deployed.lines("failed"))
        deployed.service_is_up()
        deployed.until(deployed.is_over)
        assert deployed.sent == MESSAGES
        assert deployed.counts(deployed.dead_letters) == (0, 0)


def test_a_function_with_the_breaker_of_powertools_sees_that_the_circuit_is_open(clients: Clients, tmp_path: Path):
    """Its requests do not call the service either, until the circuit is closed."""
    with outage_on_aws(clients, tmp_path) as deployed:
        api = deployed.deploy("api.handler")
        assert deployed.invoke(api) == "failed"
        begin(deployed)
        assert deployed.invoke(api) == "open"
        deployed.service_is_up()
        deployed.until(deployed.is_released, traffic=True)
        assert deployed.invoke(api) == "paid"
        deployed.until(deployed.is_over)


def test_a_circuit_that_powertools_opened_holds_messages_until_a_person_closes_it(clients: Clients, tmp_path: Path):
    """Without a single call of the service; ``fanfold breaker close`` releases what the functions hold."""
    with outage_on_aws(clients, tmp_path) as deployed:
        api = deployed.deploy("api.handler")
        assert [deployed.invoke(api) for _ in range(3)] == ["failed", "failed", "open"]
        deployed.send(MESSAGES)
        deployed.until(lambda: is_open(deployed) and deployed.counts(deployed.work) == (0, MESSAGES))
        assert not deployed.lines("failed")
        deployed.service_is_up()
        closed = fanfold("breaker", "close", deployed.name, **clients.environment, FANFOLD_BREAKER_TABLE=clients.table)
        assert closed.returncode == 0, closed.stderr
        deployed.until(deployed.is_over)
        assert deployed.invoke(api) == "paid"


def survive(deployed: OutageOnAws, step: str) -> None:
    """Let a process be killed at a step of an outage, and wait until everything is over."""
    deployed.send(MESSAGES)
    deployed.until(lambda: deployed.is_killed or is_open(deployed))
    if step in DURING_OUTAGE:
        deployed.until(lambda: deployed.is_killed and is_open(deployed))
    deployed.service_is_up()
    deployed.until(lambda: deployed.is_killed, traffic=True)
    deployed.put_clock_forward(_LEASE_SECONDS)
    deployed.until(deployed.is_released, traffic=True)
    deployed.until(deployed.is_over)


@pytest.fixture(scope="module", autouse=True)
def outages(clients: Clients, request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[dict[str, Outage]]:
    """The outages of all steps that are tested, which last concurrently, from the first test of this module on."""
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    steps = [item.callspec.params["step"] for item in items if "step" in item.callspec.params]
    with ExitStack() as opened:
        outages = {}
        for step in steps:
            # Messages that were held, but not stored, return by themselves: after 30 s with this budget.
            budget = 1.0 if step == "held" else LONG_BUDGET
            deployed = outage_on_aws(clients, tmp_path_factory.mktemp("outage"), kill_at=step, budget=budget)
            outages[step] = opened.enter_context(deployed)
        pool = opened.enter_context(ThreadPoolExecutor(len(steps) or 1))
        yield {step: (deployed, pool.submit(survive, deployed, step)) for step, deployed in outages.items()}


@pytest.mark.parametrize(
    "step", [step if step in QUICK else pytest.param(step, marks=pytest.mark.deep) for step in STEPS]
)
def test_a_process_killed_at_any_step_of_an_outage_loses_nothing(outages, step: str):
    """Everything is processed, no message is left in a queue, and none is dead-lettered."""
    deployed, is_over = outages[step]
    is_over.result()
    assert deployed.is_killed
    assert not deployed.missing
    assert deployed.counts(deployed.dead_letters) == (0, 0)
