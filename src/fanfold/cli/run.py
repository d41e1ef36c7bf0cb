"""``fanfold run``."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from fanfold.cli import options
from fanfold.cli.run_modes import MODES, RunOptions, mode_of
from fanfold.errors import ConfigurationError


def run(
    ctx: typer.Context,
    job: options.Job,
    params: options.Params = None,
    run_id: options.RunName = None,
    within: options.Within = 3600.0,
    state_machine: options.StateMachine = False,
    dry_run: options.DryRun = False,  # noqa: ARG001 - read from the context, as the other modes
    read_first: options.ReadFirst = False,
    inline: options.Inline = False,  # noqa: ARG001 - read from the context, as the other modes
    only: options.Only = None,
    concurrency: options.SegmentsAtOnce = None,
    output: options.RunFolder = Path("fanfold-runs"),
    timeout: options.ReadWithin = 900.0,
    batch_size: options.SegmentBatchSize = 10,
    as_json: options.Json = False,
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
    chosen = RunOptions(
        params=None if params is None else _params(params),
        run_id=run_id,
        within=within,
        state_machine=state_machine,
        only=only,
        concurrency=concurrency,
        folder=output,
        read_first=read_first,
        timeout=timeout,
        batch_size=batch_size,
        as_json=as_json,
    )
    import_module(f"fanfold.cli.{MODES[mode_of(_given(ctx))]}").start(job, chosen)


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
