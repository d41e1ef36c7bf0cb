"""``fanfold run`` of a deployed job, with SQS or, with ``--state-machine``, Step Functions."""

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
from fanfold._jobs.report import POLL_SECONDS, progress_of, read_report, watch
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState, check_name
from fanfold.cli.show import RunDisplay, report_table, watching
from fanfold.errors import ConfigurationError, FanfoldError

if TYPE_CHECKING:
    from fanfold.aws.executions import StateMachine

VARIABLE: Final = "FANFOLD_STATE_MACHINE_ARN"


def run_deployed(
    job: Job, params: dict[str, Any] | None, run_id: str | None, within: float, *, state_machine: bool, as_json: bool
) -> None:
    """Start a run of a job, wait until it ends, and print its output and its run report.

    Raises:
        FanfoldError: If the run did not succeed.
    """
    start = _with_state_machine if state_machine else _with_queue
    with watching() as display:
        document = anyio.run(_run, job, partial(start, job, params, run_id, within, display))
    if as_json:
        print(json.dumps({**document, "report": asdict(document["report"])}))
    else:
        console = Console()
        console.print_json(json.dumps(document["output"]))
        console.print(report_table(document["report"]))
    if document["state"] != RunState.SUCCEEDED:
        raise FanfoldError(f"run {document['run']} ended as {document['state']}: {json.dumps(document['output'])}")


async def _run(job: Job, start: Callable[[Backend], Awaitable[Run]]) -> dict[str, Any]:
    async with job.open_backend() as backend:
        ended = await start(backend)
        if ended.output is None:
            raise FanfoldError(
                f"run {ended.id} ended as {ended.state} without an output; see `fanfold status {ended.id}`"
            )
        return {
            "run": ended.id,
            "state": ended.state,
            "output": json.loads(await backend.get_result(ended.output)),
            "report": await read_report(backend, ended),
        }


async def _with_queue(
    job: Job, params: dict[str, Any] | None, run_id: str | None, within: float, display: RunDisplay, backend: Backend
) -> Run:
    display.step("scatter")
    if params is None:
        existing = None if run_id is None else await backend.ledger.run(run_id)
        params = {} if existing is None else dict(existing.params)
    scattered = await job.start(backend, params, run_id, progress=display.enqueued)
    display.step(f"run {scattered.run_id}: {scattered.segments} segments enqueued")
    async for progress in watch(backend, scattered.run_id, within_seconds=within):
        display.run(progress)
    ended = await backend.ledger.run(scattered.run_id)
    if ended is None:
        raise FanfoldError(f"run {scattered.run_id} is no longer in the ledger; was its table emptied?")
    return ended


async def _with_state_machine(
    job: Job, params: dict[str, Any] | None, run_id: str | None, within: float, display: RunDisplay, backend: Backend
) -> Run:
    """Start an execution with the name of the run, wait until both end, and return the run."""
    from fanfold.aws.executions import open_state_machine  # imports the SDK, which an inline run does not need

    arn = os.environ.get(VARIABLE)
    if not arn:
        raise ConfigurationError(
            f"the environment variable {VARIABLE} is not set: deploy with StateMachine=inline or distributed; "
            "the stack's output StateMachine is the ARN"
        )
    _ = job.task_handler  # raises if the job has none
    name = check_name(run_id or uuid.uuid4().hex, "run")
    async with open_state_machine(arn) as machine:
        execution = await machine.start(name, params or {})
        display.step(f"run {name}: execution started")
        with anyio.move_on_after(within):
            return await _wait_for_end(name, machine, execution, backend, display)
    raise FanfoldError(
        f"execution {name} has not ended within {within:.0f} s and is still running: wait longer with --within"
    )


async def _wait_for_end(name: str, machine: StateMachine, arn: str, backend: Backend, display: RunDisplay) -> Run:
    while True:
        execution = await machine.execution(arn)  # read before the run, so that the run includes all its writes
        run = await backend.ledger.run(name)
        if run is not None:
            counter = await backend.ledger.counter(name)
            display.run(progress_of(run, counter))
        if execution.running:
            await anyio.sleep(POLL_SECONDS)
            continue
        if run is None or not run.ended:
            raise FanfoldError(
                f"execution {name} ended as {execution.status}, but the run has not ended: {execution.reason}"
            )
        return run
