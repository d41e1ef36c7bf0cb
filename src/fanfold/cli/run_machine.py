"""``fanfold run --state-machine``: the same run, by Step Functions."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any, Final

import anyio

from fanfold._jobs.job import Job
from fanfold._jobs.report import POLL_SECONDS, Progress
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, check_name
from fanfold.aws.executions import Execution, StateMachine, open_state_machine
from fanfold.cli.show import Watching
from fanfold.errors import ConfigurationError, FanfoldError

VARIABLE: Final = "FANFOLD_STATE_MACHINE_ARN"


async def run_on_machine(
    job: Job, backend: Backend, params: Mapping[str, Any], run_id: str | None, within_seconds: float, seen: Watching
) -> Run:
    """Start an execution under the name of the run, watch both to their end, and return the run.

    Raises:
        ConfigurationError: If no state machine is named, or the job cannot run on one.
        FanfoldError: If the execution ended and the run did not, or neither has in time.
    """
    arn = os.environ.get(VARIABLE)
    if not arn:
        raise ConfigurationError(
            f"the environment variable {VARIABLE} is not set: deploy with StateMachine=inline or distributed; "
            "the stack's output StateMachine is the ARN"
        )
    _ = job.task_handler  # says so if the job has none
    name = check_name(run_id or uuid.uuid4().hex, "run")
    async with open_state_machine(arn) as machine:
        execution = await machine.start(name, params)
        seen.step(f"run {name}: its execution is started")
        with anyio.move_on_after(within_seconds):
            return await _ended(name, machine, execution, backend, seen)
    raise FanfoldError(f"the execution {name} has not ended in {within_seconds:.0f} s; it goes on by itself")


async def _ended(name: str, machine: StateMachine, arn: str, backend: Backend, seen: Watching) -> Run:
    while True:
        execution = await machine.execution(arn)  # before the run: what it did before it ended is seen
        run = await backend.ledger.run(name)
        if run is not None:
            counter = await backend.ledger.counter(name)
            seen.run(Progress(run.state, counter.ended, counter.total))
        if not execution.running:
            return _run_of(execution, run, name)
        await anyio.sleep(POLL_SECONDS)


def _run_of(execution: Execution, run: Run | None, name: str) -> Run:
    if run is None or not run.ended:
        raise FanfoldError(f"the execution {name} ended as {execution.status}, the run has not: {execution.reason}")
    return run
