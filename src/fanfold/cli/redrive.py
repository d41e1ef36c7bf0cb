"""``fanfold redrive``."""

from __future__ import annotations

import json
from typing import Any

import anyio
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanfold._jobs.redrive import Failures, chosen_of, failures_of, redrive
from fanfold._jobs.report import watch
from fanfold._ports.run import RunState
from fanfold.cli import options
from fanfold.cli.arguments import segments_of
from fanfold.cli.backend import deployed_backend
from fanfold.cli.confirm import confirm
from fanfold.cli.show import RunDisplay, counted, watching
from fanfold.cli.status import about
from fanfold.errors import FanfoldError

_MAX_SHOWN = 20


def redrive_run(
    run: options.Run,
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the failed segments and their reasons; send nothing."),
    only: str | None = typer.Option(
        None, metavar="SEGMENTS", help="Retry only these of the failed segments, such as 3,17,20-25."
    ),
    yes: options.Yes = False,
    follow: bool = typer.Option(True, "--watch/--no-watch", help="Wait until the run ends, with a progress bar."),
    within: options.WatchWithin = 3600.0,
    as_json: options.Json = False,
) -> None:
    """Retry the failed segments of a run that has ended, or the rest of a cancelled run.

    Use it after you have fixed the cause. The command first shows the reasons of the failures, and asks. Successful
    segments keep their results, and the run commits one more output. If a redrive is interrupted, run it again to
    resume it. If only the fold failed, only the fold is retried.

    Exit code 0 only if the run then succeeds, or with --dry-run.
    """
    chosen = None if only is None else segments_of(only)
    failures = anyio.run(_failures, run)
    if not as_json and failures.segments:
        _show_failures(failures)
    if dry_run:
        _show_dry_run(failures, as_json=as_json)
        return
    if failures.run.ended:
        segments = len(chosen_of(failures, chosen))
        what = f"Retry {counted(segments, 'segment')}" if segments else "Repeat the fold"
        confirm(f"{what} of run {run} ({failures.run.state})?", yes=yes)
    with watching() as display:
        document = anyio.run(_redrive, run, chosen, display if follow else None, within)
    if as_json:
        print(json.dumps(document))
    if follow and document["state"] != RunState.SUCCEEDED:
        raise FanfoldError(f"run {run} ended as {document['state']} again. Run `fanfold status {run}` for the reasons")


async def _failures(run_id: str) -> Failures:
    async with deployed_backend() as backend:
        return await failures_of(run_id, backend)


async def _redrive(run_id: str, only: set[int] | None, display: RunDisplay | None, within: float) -> dict[str, Any]:
    async with deployed_backend() as backend:
        sent = await redrive(run_id, backend, only=only)
        if display is not None:
            display.step(f"run {run_id}: {counted(sent.segments, 'segment')} enqueued again")
            async for progress in watch(backend, run_id, within_seconds=within):
                display.run(progress)
        run = (await failures_of(run_id, backend)).run
        return {**about(run), "redriven": sent.segments}


def _show_dry_run(failures: Failures, *, as_json: bool) -> None:
    if as_json:
        document = {"would_redrive": failures.segments, "not_ended": len(failures.missing)}
        print(json.dumps({**about(failures.run), **document}))
    else:
        rest = f", {len(failures.missing):,} of them have not ended" if failures.missing else ""
        print(f"would retry {counted(len(failures.chosen), 'segment')}{rest}; nothing was sent")


def _show_failures(failures: Failures) -> None:
    table = Table(title=f"failed segments: {len(failures.segments):,}", title_justify="left")
    table.add_column("segment", justify="right")
    table.add_column("reason")
    for segment, reason in list(failures.segments.items())[:_MAX_SHOWN]:
        table.add_row(str(segment), escape(reason))
    console = Console(stderr=True)
    console.print(table)
    if (more := len(failures.segments) - _MAX_SHOWN) > 0:
        console.print(f"and {more:,} more. Run `fanfold results {failures.run.id} --failures`")
