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

_run = options.panel("Run")
_mode = options.panel("Mode (default: the deployed functions, with SQS)")
_deployed = options.panel("Deployed run")
_dry_run = options.panel("With --dry-run")
_inline = options.panel("With --inline")


def run(
    ctx: typer.Context,
    job: str = typer.Argument(
        ..., metavar="MODULE:JOB", help="The job, such as app:job, imported from the current folder."
    ),
    params: str | None = _run(None, "Parameters of the run: a JSON object.", show_default="{}", metavar="JSON"),
    run_id: str | None = _run(
        None,
        "Name of the run. An existing name resumes that run with its first parameters.",
        "--run",
        metavar="NAME",
        show_default="a random name",
    ),
    state_machine: bool = _mode(
        False, "Use the Step Functions state machine in FANFOLD_STATE_MACHINE_ARN.", "--state-machine"
    ),
    inline: bool = _mode(
        False, "Run the whole job in this process: no queue, no table, no deployed function.", "--inline"
    ),
    dry_run: bool = _mode(
        False, "Show segments, messages, requests, cost and warnings. Nothing is written or sent.", "--dry-run"
    ),
    within: float = _deployed(3600.0, "Maximum time to wait for the run to end.", min=1, metavar="SECONDS"),
    only: str | None = _inline(
        None, "Process only these segments, such as 3,17,20-25, even if they are done.", metavar="SEGMENTS"
    ),
    concurrency: int | None = _inline(
        None, "Segments to process concurrently.", min=1, metavar="N", show_default="that of the job"
    ),
    output: Path = _inline(
        Path("fanfold-runs"), "Folder for finished segments and the output.", file_okay=False, metavar="FOLDER"
    ),
    read_first: bool = _dry_run(False, "Read the first segment and report its duration.", "--read-first"),
    timeout: float = _dry_run(
        900.0, "Timeout of the segment function; the time limit of --read-first.", min=1, metavar="SECONDS"
    ),
    batch_size: int = _dry_run(
        10, "Batch size of the segment function, for the estimate.", min=1, max=10_000, metavar="N"
    ),
    as_json: options.Json = False,
) -> None:
    """Start a run of a job and wait until it ends.

    By default, this command cuts the source into segments and sends them to the queue; the deployed functions do the
    rest. FANFOLD_QUEUE_URL, FANFOLD_FOLD_QUEUE_URL, FANFOLD_QUARANTINE_QUEUE_URL, FANFOLD_LEDGER_TABLE and
    FANFOLD_RESULTS_BUCKET name the queues, the table and the bucket, as in the functions' environment. `fanfold env`
    prints them.

    With --state-machine, an execution with the name of the run plans, processes and folds it.

    Use --inline to try a job on your machine. If a segment fails, the others continue. Finished segments are saved;
    the same command with --run NAME processes only the missing ones.

    Use --dry-run before a large run. It only reads the source. Neither --inline nor --dry-run needs the variables.

    Exit code 0 only if the run succeeded.
    """
    values = None if params is None else _params(params)
    mode_of(_written_options(ctx))  # rejects options that do not go together
    loaded = load(job, Job)
    if dry_run:
        plan(loaded, values or {}, batch_size, timeout if read_first else None, as_json=as_json)
    elif inline:
        segments = None if only is None else segments_of(only)
        run_here(loaded, values, run_id, output, only=segments, concurrency=concurrency, as_json=as_json)
    else:
        run_deployed(loaded, values, run_id, within, state_machine=state_machine, as_json=as_json)


def _written_options(ctx: typer.Context) -> set[str]:
    """Return the options that the user wrote on the command line."""
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
