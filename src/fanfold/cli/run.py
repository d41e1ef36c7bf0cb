"""``fanfold run``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from fanfold._base.import_string import load
from fanfold._jobs.job import Job
from fanfold.cli import options
from fanfold.cli.arguments import segments_of
from fanfold.cli.run_deployed import run_deployed
from fanfold.cli.run_here import plan, run_here
from fanfold.cli.run_modes import mode_of
from fanfold.errors import ConfigurationError

_deployed = options.panel("For a run that is deployed")
_dry_run = options.panel("With --dry-run")
_inline = options.panel("With --inline")


def run(
    ctx: typer.Context,
    job: str = typer.Argument(..., metavar="MODULE:JOB", help="The job, such as app:job; found in the current folder."),
    params: str | None = typer.Option(None, show_default="{}", help="Parameters of the run, a JSON object."),
    run_id: str | None = typer.Option(
        None,
        "--run",
        help="Name of the run; the same name resumes the same run, with the parameters it was begun with.",
    ),
    within: float = _deployed(3600.0, "Seconds to wait for the run to end.", min=1),
    state_machine: bool = _deployed(
        False, "By the state machine that FANFOLD_STATE_MACHINE_ARN names, instead of by SQS.", "--state-machine"
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Plan it: segments, messages, requests, cost, warnings. Nothing is written or sent."
    ),
    read_first: bool = _dry_run(
        False, "With --dry-run: read the first segment, and say how long that takes.", "--read-first"
    ),
    inline: bool = typer.Option(
        False, "--inline", help="Run all of it in this process: no queue, no table, no deployed function."
    ),
    only: str | None = _inline(
        None, "With --inline: these segments alone, such as 3,17,20-25; also those that are done.", metavar="LIST"
    ),
    concurrency: int | None = _inline(
        None, "With --inline: segments worked on at once.", min=1, show_default="the job's"
    ),
    output: Path = _inline(
        Path("fanfold-runs"), "With --inline: keeps what is done, and the output, by run.", file_okay=False
    ),
    timeout: float = _dry_run(
        900.0, "Timeout of the segment function, seconds: the most that --read-first takes.", min=1
    ),
    batch_size: int = _dry_run(10, "Batch size of the segment function, for the estimate.", min=1, max=10_000),
    as_json: options.Json = False,
) -> None:
    """Start a run of a deployed job and watch it until it has ended.

    The segments are cut and enqueued from here; the deployed functions do the rest. Queues, table and bucket are named
    by FANFOLD_QUEUE_URL, FANFOLD_FOLD_QUEUE_URL, FANFOLD_QUARANTINE_QUEUE_URL, FANFOLD_LEDGER_TABLE and
    FANFOLD_RESULTS_BUCKET, as in the functions' environment.

    With --state-machine an execution plans it, works on the segments and folds them; it has the name of the run.

    With --inline the segments are worked on and folded in this process. One that fails is named, the others carry on;
    what is done is kept in a folder, and the same command with --run NAME does only what is missing.

    With --dry-run nothing is written or sent, and only the source is read. Neither of the two needs these variables.

    Exit code 0 only if the run succeeded.
    """
    values = None if params is None else _params(params)
    mode_of(_given(ctx))  # refuses options that do not go together
    loaded = load(job, Job)
    if dry_run:
        plan(loaded, values or {}, batch_size, timeout if read_first else None, as_json=as_json)
    elif inline:
        segments = None if only is None else segments_of(only)
        run_here(loaded, values, run_id, output, only=segments, concurrency=concurrency, as_json=as_json)
    else:
        run_deployed(loaded, values, run_id, within, state_machine=state_machine, as_json=as_json)


def _given(ctx: typer.Context) -> set[str]:
    """Return the options that were written on the command line."""
    sources = {param.opts[0]: ctx.get_parameter_source(str(param.name)) for param in ctx.command.params}
    return {option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _params(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"--params is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"--params must be a JSON object, not {text[:80]}")
    return value
