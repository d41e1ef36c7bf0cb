"""``fanfold run`` of a deployed job: by SQS, or with ``--state-machine`` by Step Functions."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, TypeAlias

import anyio
from rich.console import Console

from fanfold._base.import_string import load
from fanfold._jobs.job import Job
from fanfold._jobs.report import account_of, watch
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.cli.run_modes import RunOptions
from fanfold.cli.show import Watching, account_table, watching
from fanfold.errors import FanfoldError

_Start: TypeAlias = Callable[[Job, Backend, RunOptions, Watching], Awaitable[Run]]


def start(name: str, options: RunOptions) -> None:
    """Start a run of the job of this name, watch it to its end, and print what became of it.

    Raises:
        FanfoldError: If it did not succeed.
    """
    job = load(name, Job)
    with watching() as seen:
        document = anyio.run(_run, job, _by_machine if options.state_machine else _by_queue, options, seen)
    if options.as_json:
        print(json.dumps({**document, "account": asdict(document["account"])}))
    else:
        console = Console()
        console.print_json(json.dumps(document["output"]))
        console.print(account_table(document["account"]))
    if document["state"] != RunState.SUCCEEDED:
        raise FanfoldError(f"run {document['run']} ended as {document['state']}: {json.dumps(document['output'])}")


async def _run(job: Job, begin: _Start, options: RunOptions, seen: Watching) -> dict[str, Any]:
    async with job.open_backend() as backend:
        ended = await begin(job, backend, options, seen)
        if ended.output is None:
            raise FanfoldError(f"run {ended.id} has no output")
        return {
            "run": ended.id,
            "state": ended.state,
            "output": json.loads(await backend.get_result(ended.output)),
            "account": await account_of(backend, ended),
        }


async def _by_queue(job: Job, backend: Backend, options: RunOptions, seen: Watching) -> Run:
    seen.step("scatter")
    params, run_id = options.params, options.run_id
    if params is None:
        known = None if run_id is None else await backend.ledger.run(run_id)
        params = {} if known is None else dict(known.params)
    scattered = await job.start(backend, params, run_id, progress=seen.enqueued)
    seen.step(f"run {scattered.run_id}: {scattered.segments} segments enqueued")
    async for progress in watch(backend, scattered.run_id, within_seconds=options.within):
        seen.run(progress)
    ended = await backend.ledger.run(scattered.run_id)
    if ended is None:
        raise FanfoldError(f"run {scattered.run_id} is not in the ledger any more")
    return ended


async def _by_machine(job: Job, backend: Backend, options: RunOptions, seen: Watching) -> Run:
    from fanfold.cli.run_machine import run_on_machine  # needs the SDK, which a run in this process does not

    return await run_on_machine(job, backend, options.params or {}, options.run_id, options.within, seen)
