"""Outages on the local AWS: real functions, real mappings, and processes that are killed at every step."""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from command import fanfold
from fanfold._ports.breakers import OPEN
from fanfold._stack.emulator import LocalStack
from outage_on_aws import GROUPED, GROUPS, LONG_BUDGET, STEPS, Clients, OutageOnAws, outage_on_aws

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.linux]

MESSAGES = 25
QUICK = ("traffic", "tick", "after OPEN", "some released")
"""Outages of ``make test``; the others are deep."""
DURING_OUTAGE = STEPS[:4]
_LEASE_SECONDS = 61
"""After this time, nobody waits any more for a process that was killed while it probed or released messages."""


def is_open(deployed: OutageOnAws) -> bool:
    circuit = deployed.circuit()
    return circuit.state == OPEN and circuit.has_held


def begin(deployed: OutageOnAws) -> None:
    """Send messages, and wait until all of them are held."""
    deployed.send(MESSAGES)
    deployed.until(lambda: is_open(deployed) and deployed.counts(deployed.work) == (0, MESSAGES))


def end(deployed: OutageOnAws) -> None:
    """Let the service return, and other messages arrive, until everything is over."""
    deployed.service_is_up()
    deployed.until(deployed.is_over, traffic=True)  # a page that is stored last is released by the next batch


def in_traffic(deployed: OutageOnAws) -> None:
    begin(deployed)
    deployed.note(done=len(deployed.lines("done")))
    end(deployed)


def in_groups(deployed: OutageOnAws) -> None:
    deployed.send(GROUPED)
    deployed.until(lambda: is_open(deployed))
    end(deployed)


def without_traffic(deployed: OutageOnAws) -> None:
    begin(deployed)
    deployed.until(lambda: deployed.is_killed or "probe" in deployed.lines("failed"))
    deployed.service_is_up()
    deployed.until(deployed.is_over)


def with_requests(deployed: OutageOnAws) -> None:
    """Another function, which has Powertools' circuit breaker, calls the service, too."""
    api = deployed.deploy("api.handler")
    begin(deployed)
    deployed.note(in_outage=deployed.invoke(api))
    end(deployed)
    deployed.note(after=deployed.invoke(api))


def opened_by_requests(clients: Clients, deployed: OutageOnAws) -> None:
    """The other function opens the circuit, and a person closes it."""
    api = deployed.deploy("api.handler")
    deployed.note(requests=[deployed.invoke(api) for _ in range(3)])
    begin(deployed)
    deployed.note(failed=len(deployed.lines("failed")))
    deployed.service_is_up()
    closed = fanfold("breaker", "close", deployed.name, **clients.environment, FANFOLD_BREAKER_TABLE=clients.table)
    deployed.note(closed=closed.returncode)
    deployed.until(deployed.is_over)


def killed_at(step: str, deployed: OutageOnAws) -> None:
    """A process is killed at a step."""
    deployed.send(MESSAGES)
    deployed.until(lambda: deployed.is_killed or is_open(deployed))
    if step in DURING_OUTAGE:
        deployed.until(lambda: deployed.is_killed and is_open(deployed))
    deployed.service_is_up()
    deployed.until(lambda: deployed.is_killed, traffic=True)
    deployed.put_clock_forward(_LEASE_SECONDS)
    end(deployed)


def plot(name: str, clients: Clients) -> tuple[dict[str, Any], Callable[[OutageOnAws], None]]:
    """Return the settings of an outage, and what happens in it."""
    if name in STEPS:
        # Messages that were held, but not stored, return by themselves: after 30 s with this budget.
        budget = 1.0 if name == "held" else LONG_BUDGET
        return {"kill_at": name, "budget": budget}, functools.partial(killed_at, name)
    plots: dict[str, tuple[dict[str, Any], Callable[[OutageOnAws], None]]] = {
        "traffic": ({}, in_traffic),
        "groups": ({"fifo": True}, in_groups),
        "tick": ({"tick": True, "kill_at": "tick"}, without_traffic),
        "probe function": ({"tick": True, "probe": True}, without_traffic),
        "requests": ({}, with_requests),
        "opened by requests": ({}, functools.partial(opened_by_requests, clients)),
    }
    return plots[name]


@pytest.fixture(scope="module")
def outages(stack: LocalStack, request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """The outages of all tests that were selected: they last concurrently, because most of their time is waiting."""
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    clients, outages = Clients(stack), dict[str, tuple[OutageOnAws, Future[None]]]()
    with ExitStack() as opened:
        opened.callback(clients.close)
        pool = opened.enter_context(ThreadPoolExecutor(len(items)))
        for name in [item.callspec.params["deployed"] for item in items]:
            settings, play = plot(name, clients)
            deployed = opened.enter_context(outage_on_aws(clients, tmp_path_factory.mktemp("outage"), **settings))
            outages[name] = deployed, pool.submit(play, deployed)
        yield outages


@pytest.fixture
def deployed(outages, request: pytest.FixtureRequest) -> OutageOnAws:
    """A function after an outage: everything is processed, and no message is left in a queue."""
    deployed, play = outages[request.param]
    play.result()
    assert not deployed.missing
    assert deployed.counts(deployed.dead_letters) == (0, 0)
    return deployed


def after(*names: str) -> pytest.MarkDecorator:
    """Run a test after each of these outages."""
    quick = [name if name in QUICK else pytest.param(name, marks=pytest.mark.deep) for name in names]
    return pytest.mark.parametrize("deployed", quick, indirect=True)


@after("traffic")
def test_held_messages_are_released_and_processed_when_the_service_is_back(deployed: OutageOnAws):
    """The next message is the probe; nothing is lost, and nothing is in the dead-letter queue."""
    assert deployed.notes == {"done": 0}
    deployed.until(lambda: deployed.pages() == 0)  # a page is deleted after it is marked as released


@after("groups")
def test_the_messages_of_a_group_are_released_in_their_order(deployed: OutageOnAws):
    """A group of a FIFO queue is held and released as a whole."""
    done = [int(line) for line in deployed.lines("done")]
    for group in range(GROUPS):
        numbers = [number for number in done if number < GROUPED and number % GROUPS == group]
        assert numbers == sorted(numbers)


@after("tick", "probe function")
def test_a_tick_notices_the_end_of_an_outage_without_any_traffic(deployed: OutageOnAws):
    """It probes with one held message, or with the probe function, and is deleted at the end.

    A tick message is received again if the process that handled it was killed.
    """
    assert deployed.sent == MESSAGES
    assert deployed.is_killed or "probe" in deployed.lines("done")


@after("requests")
def test_a_function_with_the_breaker_of_powertools_sees_that_the_circuit_is_open(deployed: OutageOnAws):
    """Its requests do not call the service either, until the circuit is closed."""
    assert deployed.notes == {"in_outage": "open", "after": "paid"}


@after("opened by requests")
def test_a_circuit_that_powertools_opened_holds_messages_until_a_person_closes_it(deployed: OutageOnAws):
    """Without a single call of the service; ``fanfold breaker close`` releases what the functions hold."""
    assert deployed.notes == {"requests": ["failed", "failed", "open"], "failed": 0, "closed": 0}


@after(*STEPS)
def test_a_process_killed_at_any_step_of_an_outage_loses_nothing(deployed: OutageOnAws):
    """Everything is processed, no message is left in a queue, and none is dead-lettered."""
    assert deployed.is_killed
