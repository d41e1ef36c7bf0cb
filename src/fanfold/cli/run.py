"""``fanfold run``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import typer
from rich.console import Console

from fanfold._base.import_string import load
from fanfold._jobs.job import Job
from fanfold._jobs.report import account_of, watch
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.cli.run_inline import inline as run_inline
from fanfold.cli.run_plan import plan
from fanfold.cli.show import Watching, account_table, watching
from fanfold.errors import ConfigurationError, FanfoldError

__all__ = ["run"]


def run(
    job: str = typer.Argument(metavar="MODULE:JOB", help="The job, such as app:job; found in the current folder."),
    params: str | None = typer.Option(None, help="Parameters of the run, a JSON object.", show_default="{}"),
    run_id: str | None = typer.Option(
        None,
        "--run",
        help="Name of the run; the same name resumes the same run, with the parameters it was begun with.",
    ),
    within: float = typer.Option(3600.0, min=1, help="Seconds to wait for the run to end."),
    state_machine: bool = typer.Option(
        False, "--state-machine", help="By the state machine that FANFOLD_STATE_MACHINE_ARN names, instead of by SQS."
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Plan it: segments, messages, requests, cost, warnings. Nothing is written or sent."
    ),
    read_first: bool = typer.Option(
        False, "--read-first", help="With --dry-run: read the first segment, and say how long that takes."
    ),
    inline: bool = typer.Option(
        False, "--inline", help="Run all of it in this process: no queue, no table, no deployed function."
    ),
    only: str | None = typer.Option(
        None, help="With --inline: these segments alone, such as 3,17,20-25; also those that are done.", metavar="LIST"
    ),
    concurrency: int | None = typer.Option(
        None, min=1, help="With --inline: segments worked on at once.", show_default="the job's"
    ),
    output: Path = typer.Option(
        Path("fanfold-runs"), help="With --inline: keeps what is done, and the output, by run.", file_okay=False
    ),
    timeout: float = typer.Option(
        900.0, min=1, help="Timeout of the segment function, seconds: the most that --read-first takes."
    ),
    batch_size: int = typer.Option(10, min=1, max=10_000, help="Batch size of the segment function, for the estimate."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Start a run of a deployed job and watch it until it has ended.

    The segments are cut and enqueued from here; the deployed functions do the rest. Queues, table and bucket are named
    by FANFOLD_QUEUE_URL, FANFOLD_FOLD_QUEUE_URL, FANFOLD_PARKING_QUEUE_URL, FANFOLD_LEDGER_TABLE and
    FANFOLD_RESULTS_BUCKET, as in the functions' environment.

    With --state-machine an execution plans it, works on the segments and folds them; it has the name of the run.

    With --inline the segments are worked on and folded in this process. One that fails is named, the others carry on;
    what is done is kept in a folder, and the same command with --run NAME does only what is missing.

    With --dry-run nothing is written or sent, and only the source is read. Neither of the two needs these variables.

    Exit code 0 only if the run succeeded.
    """
    loaded = load(job, Job)
    given = None if params is None else _params(params)
    _check(
        inline=inline,
        dry_run=dry_run,
        state_machine=state_machine,
        read_first=read_first,
        only=only,
        concurrency=concurrency,
    )
    if inline:
        run_inline(
            loaded,
            given,
            run_id=run_id,
            only=only,
            concurrency=concurrency,
            folder=output,
            as_json=as_json,
        )
        return
    if dry_run:
        plan(loaded, given or {}, as_json=as_json, batch_size=batch_size, read_within=timeout if read_first else None)
        return
    with watching() as seen:
        start = _by_machine if state_machine else _by_queue
        document = anyio.run(_run, loaded, start, given, run_id, within, seen)
    if as_json:
        print(json.dumps({**document, "account": asdict(document["account"])}))
    else:
        console = Console()
        console.print_json(json.dumps(document["output"]))
        console.print(account_table(document["account"]))
    if document["state"] != RunState.SUCCEEDED:
        raise FanfoldError(f"run {document['run']} ended as {document['state']}: {json.dumps(document['output'])}")


def _check(
    *, inline: bool, dry_run: bool, state_machine: bool, read_first: bool, only: str | None, concurrency: int | None
) -> None:
    if inline and dry_run:
        raise ConfigurationError("--inline and --dry-run are two ways to do without a deployment: choose one")
    if state_machine and (inline or dry_run):
        raise ConfigurationError("--state-machine starts what is deployed: leave out --inline and --dry-run")
    if read_first and not dry_run:
        raise ConfigurationError("--read-first is for a plan, and this would be a run: add --dry-run")
    if not inline and (only is not None or concurrency is not None):
        raise ConfigurationError("--only and --concurrency are for a run in this process: add --inline")


def _params(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"--params is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"--params must be a JSON object, not {text[:80]}")
    return value


_Start: TypeAlias = Callable[[Job, Backend, dict[str, Any] | None, str | None, float, Watching], Awaitable[Run]]


async def _run(
    job: Job, start: _Start, params: dict[str, Any] | None, run_id: str | None, within: float, seen: Watching
) -> dict[str, Any]:
    async with job.open_backend() as backend:
        ended = await start(job, backend, params, run_id, within, seen)
        if ended.output is None:
            raise FanfoldError(f"run {ended.id} has no output")
        return {
            "run": ended.id,
            "state": ended.state,
            "output": json.loads(await backend.get_result(ended.output)),
            "account": await account_of(backend, ended),
        }


async def _by_queue(
    job: Job, backend: Backend, params: dict[str, Any] | None, run_id: str | None, within: float, seen: Watching
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
    job: Job, backend: Backend, params: dict[str, Any] | None, run_id: str | None, within: float, seen: Watching
) -> Run:
    from fanfold.cli.run_machine import run_on_machine  # needs the SDK, which a run in this process does not

    return await run_on_machine(job, backend, params or {}, run_id, within, seen)
