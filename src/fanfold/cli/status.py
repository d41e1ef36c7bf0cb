"""``fanfold status`` and ``fanfold results``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import typer
from rich.console import Console
from rich.markup import escape

from fanfold._jobs.bad_rows import BAD_ROWS_FILE
from fanfold._jobs.output import file_in
from fanfold._jobs.redrive import failures_of
from fanfold._jobs.report import RunReport, read_report, watch
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.cli import options
from fanfold.cli.arguments import writing
from fanfold.cli.backend import deployed_backend
from fanfold.cli.show import RunDisplay, report_table, watching
from fanfold.errors import ConfigurationError, FanfoldError


def status_of(
    run: str = typer.Argument(metavar="RUN", help="Name of the run, as returned by the scatter function."),
    follow: bool = typer.Option(False, "--watch", help="Wait until the run ends, with a progress bar."),
    within: options.WatchWithin = 3600.0,
    as_json: options.Json = False,
) -> None:
    """Show the state of a run, its run report, and the failed segments with their reasons.

    Use it while a run is in progress, or to find out why it failed. The FANFOLD_… environment variables name the
    queues, the table and the bucket, as in the functions' environment; `fanfold env STACK` prints them.

    Exit code: 1 if the run has failed, 0 otherwise.
    """
    with watching() if follow else nullcontext() as display:
        status, report, reason = anyio.run(_status, run, display, within)
    if as_json:
        print(json.dumps({**about(status), "report": asdict(report)}))
    else:
        _show(status, report)
    if status.ended and status.state != RunState.SUCCEEDED:
        why, what = (f": {reason}", "the fold") if reason else ("", "the failed segments")
        raise FanfoldError(
            f"run {status.id} ended as {status.state}{why}. Run `fanfold redrive {status.id}` to retry {what}"
        )


async def _status(run_id: str, display: RunDisplay | None, within: float) -> tuple[Run, RunReport, str | None]:
    async with deployed_backend() as backend:
        if display is not None:
            async for progress in watch(backend, run_id, within_seconds=within):
                display.run(progress)
        run = (await failures_of(run_id, backend)).run
        return run, await read_report(backend, run), await fold_failure(run, backend)


async def fold_failure(run: Run, backend: Backend) -> str | None:
    """Return why a run failed although its segments did not; None if that is not so."""
    if run.state != RunState.FAILED or run.output is None or run.output == run.failures_key():
        return None
    reason: str = json.loads(await backend.get_result(run.output))["fold"]
    return reason


def results_of(
    run: options.Run,
    output: Path | None = typer.Option(
        None, "--output", "-o", metavar="FILE", help="File to write.", show_default="standard output"
    ),
    failures: bool = typer.Option(False, "--failures", help="Export the list of failures instead of the output."),
    bad_rows: bool = typer.Option(False, "--bad-rows", help="Export the collected bad rows instead of the output."),
) -> None:
    """Export the committed output of a run that has ended.

    The output is the JSON document that the fold returned, or the file that it wrote.

    Exit code 0 only if the run has an output.
    """
    if failures and bad_rows:
        raise ConfigurationError("specify either --failures or --bad-rows")
    anyio.run(_export, run, failures, bad_rows, output)


async def _export(run_id: str, failures: bool, bad_rows: bool, output: Path | None) -> None:
    async with deployed_backend() as backend:
        file: str | None
        if bad_rows:
            data, file = b"", await _bad_rows(run_id, backend)
        else:
            data = await _results(run_id, failures, backend)
            file = None if failures else file_in(json.loads(data), run_id)
        with _target(output) as target:
            if file is None:
                target.write(data if output else data + b"\n")
                return
            async for piece in backend.store.read(backend.results_bucket, file):
                target.write(piece)


@contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    with writing(output), output.open("wb") as target:
        yield target


async def _bad_rows(run_id: str, backend: Backend) -> str:
    """Return the key of the bad rows of a run."""
    run = (await failures_of(run_id, backend)).run
    key = f"{run.prefix()}/{BAD_ROWS_FILE}"
    if key not in [listed.key async for listed in backend.store.list(backend.results_bucket, key)]:
        when = "" if run.ended else " yet"
        raise FanfoldError(f"run {run_id} is {run.state} and has no object of bad rows{when}")
    return key


async def _results(run_id: str, failures: bool, backend: Backend) -> bytes:
    run = (await failures_of(run_id, backend)).run
    if run.output is None:
        follow = f"fanfold redrive {run_id}" if run.ended else f"fanfold status {run_id} --watch"
        raise FanfoldError(f"run {run_id} is {run.state} and has no output. Run `{follow}`")
    if failures:
        if not run.failed:
            raise FanfoldError(f"run {run_id} has no failures")
        return bytes(await backend.get_result(run.failures_key()))
    if run.state != RunState.SUCCEEDED:
        where = (
            "Use --failures to export the failures" if run.failed else f"Run `fanfold status {run_id}` for the reason"
        )
        raise FanfoldError(f"run {run_id} is {run.state} and has no output. {where}")
    return bytes(await backend.get_result(run.output))


def about(run: Run) -> dict[str, Any]:
    """Return a run as JSON."""
    return {
        "run": run.id,
        "job": run.job,
        "state": run.state,
        "generation": run.gen,
        "params": dict(run.params),
        "output": run.output,
        "failed": run.failed,
    }


def _show(run: Run, report: RunReport) -> None:
    console = Console()
    generation = f", generation {run.gen}" if run.gen else ""
    console.print(f"run [bold]{escape(run.id)}[/bold] of {escape(run.job)}: {run.state}{generation}")
    if run.output:
        console.print(f"output: {escape(run.output)}", soft_wrap=True)
    console.print(report_table(report))
