"""An outage on the local AWS: real functions, a real mapping, and processes that are killed at every step."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from fanfold._ports.breakers import OPEN
from fanfold._stack.emulator import LocalStack
from idempotency_table import new_table
from outage_on_aws import LONG_BUDGET, STEPS, OutageOnAws, outage_on_aws

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.linux]

MESSAGES = 25
DURING_OUTAGE = STEPS[:5]
Outage: TypeAlias = tuple[OutageOnAws, Future[None]]
_LEASE_SECONDS = 61
"""After this time, nobody waits any more for a process that was killed as it probed or released."""


@pytest.fixture
def table(aws: LocalStack) -> str:
    return new_table()


def is_open(deployed: OutageOnAws) -> bool:
    circuit = deployed.circuit()
    return circuit.state == OPEN and circuit.has_held


def begin(deployed: OutageOnAws) -> None:
    """Send messages, and wait until all of them are hidden."""
    deployed.send(MESSAGES)
    deployed.until(lambda: is_open(deployed) and deployed.counts(deployed.work) == (0, MESSAGES))


def test_hidden_messages_are_released_and_processed_when_the_service_is_back(
    aws: LocalStack, table: str, tmp_path: Path
):
    """The next message is the probe; nothing is lost, and nothing is in the dead-letter queue."""
    with outage_on_aws(aws, table, tmp_path / "outage") as deployed:
        begin(deployed)
        deployed.service_is_up()
        deployed.until(deployed.is_released, traffic=True)
        deployed.until(deployed.is_over)
        assert deployed.counts(deployed.dead_letters) == (0, 0)
        assert deployed.pages() == 0


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


@pytest.fixture(scope="module")
def outages(stack: LocalStack, request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[dict[str, Outage]]:
    """The outages of all steps that are tested, which last concurrently."""
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    steps = [item.callspec.params["step"] for item in items if "step" in item.callspec.params]
    with pytest.MonkeyPatch.context() as environment:
        for name, value in stack.environment.items():
            environment.setenv(name, value)
        table = new_table()
    with ExitStack() as opened:
        outages = {}
        for step in steps:
            # Messages that were hidden, but not stored, return by themselves: after 30 s with this budget.
            settings = {"kill_at": step, "budget": 1.0 if step == "hidden" else LONG_BUDGET}
            folder = tmp_path_factory.mktemp("outage")
            outages[step] = opened.enter_context(outage_on_aws(stack, table, folder, **settings))
        pool = opened.enter_context(ThreadPoolExecutor(len(steps)))
        yield {step: (deployed, pool.submit(survive, deployed, step)) for step, deployed in outages.items()}


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_any_step_of_an_outage_loses_nothing(outages, step: str):
    """Everything is processed, no message is left in a queue or in the table, and no message is dead-lettered."""
    deployed, is_over = outages[step]
    is_over.result()
    assert deployed.is_killed
    assert not deployed.missing
    assert deployed.counts(deployed.dead_letters) == (0, 0)
    assert deployed.pages() == 0
