"""``fanfold run`` of a deployed job: by SQS, or with ``--state-machine`` by Step Functions."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from rich.console import Console

from fanfold._jobs.job import Job
from fanfold._jobs.report import POLL_SECONDS, Progress, read_report, watch
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState, check_name
from fanfold.cli.show import Watching, report_table, watching
from fanfold.errors import ConfigurationError, FanfoldError

if TYPE_CHECKING:
    from fanfold.aws.executions import StateMachine

VARIABLE: Final = "FANFOLD_STATE_MACHINE_ARN"


def run_deployed(
    job: Job, params: dict[str, Any] | None, run_id: str | None, within: float, *, state_machine: bool, as_json: bool
) -> None:
    """Start a run of a job, watch it to its end, and print what became of it.

    Raises:
        FanfoldError: If it did not succeed.
    """
    begin = _by_machine if state_machine else _by_queue
    with watching() as seen:
        document = anyio.run(_run, job, partial(begin, job, params, run_id, within, seen))
    if as_json:
        print(json.dumps({**document, "account": asdict(document["account"])}))
    else:
        console = Console()
        console.print_json(json.dumps(document["output"]))
        console.print(report_table(document["account"]))
    if document["state"] != RunState.SUCCEEDED:
        raise FanfoldError(f"run {document['run']} ended as {document['state']}: {json.dumps(document['output'])}")


async def _run(job: Job, begin: Callable[[Backend], Awaitable[Run]]) -> dict[str, Any]:
    async with job.open_backend() as backend:
        ended = await begin(backend)
        if ended.output is None:
            raise FanfoldError(f"run {ended.id} has no output")
        return {
            "run": ended.id,
            "state": ended.state,
            "output": json.loads(await backend.get_result(ended.output)),
            "account": await read_report(backend, ended),
        }


async def _by_queue(
    job: Job, params: dict[str, Any] | None, run_id: str | None, within: float, seen: Watching, backend: Backend
) -> Run:
    seen.step("scatter")
    if params is None:
        known = None if run_id is None else await backend.ledger.run(run_id)
        params = {} if known is None else dict(known.params)
    scattered = await job.start(backend, params, run_id, progress=seen.enqueued)
    seen.step(f"run {scattered.run_id}: {scattered.segments} segments enqueued")
    async for progress in watch(backend, scattered.run_id, within_seconds=within):
        seen.run(progress)
    ended = await backend.ledger.run(scattered.run_id)
    if ended is None:
        raise FanfoldError(f"run {scattered.run_id} is not in the ledger any more")
    return ended


async def _by_machine(
    job: Job, params: dict[str, Any] | None, run_id: str | None, within: float, seen: Watching, backend: Backend
) -> Run:
    """Start an execution under the name of the run, watch both to their end, and return the run."""
    from fanfold.aws.executions import open_state_machine  # needs the SDK, which a run in this process does not

    arn = os.environ.get(VARIABLE)
    if not arn:
        raise ConfigurationError(
            f"the environment variable {VARIABLE} is not set: deploy with StateMachine=inline or distributed; "
            "the stack's output StateMachine is the ARN"
        )
    _ = job.task_handler  # says so if the job has none
    name = check_name(run_id or uuid.uuid4().hex, "run")
    async with open_state_machine(arn) as machine:
        execution = await machine.start(name, params or {})
        seen.step(f"run {name}: its execution is started")
        with anyio.move_on_after(within):
            return await _ended(name, machine, execution, backend, seen)
    raise FanfoldError(f"the execution {name} has not ended in {within:.0f} s; it goes on by itself")


async def _ended(name: str, machine: StateMachine, arn: str, backend: Backend, seen: Watching) -> Run:
    while True:
        execution = await machine.execution(arn)  # before the run: what it did before it ended is seen
        run = await backend.ledger.run(name)
        if run is not None:
            counter = await backend.ledger.counter(name)
            seen.run(Progress(run.state, counter.ended, counter.total))
        if execution.running:
            await anyio.sleep(POLL_SECONDS)
            continue
        if run is None or not run.ended:
            raise FanfoldError(f"the execution {name} ended as {execution.status}, the run has not: {execution.reason}")
        return run
