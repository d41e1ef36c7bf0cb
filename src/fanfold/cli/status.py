"""``fanfold status``, ``fanfold redrive`` and ``fanfold results``."""

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
from rich.table import Table

from fanfold._jobs.bad_rows import BAD_ROWS_FILE
from fanfold._jobs.output import file_in
from fanfold._jobs.redrive import Failures, failures_of, redrive
from fanfold._jobs.report import RunReport, read_report, watch
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.cli import options
from fanfold.cli.arguments import segments_of, writing
from fanfold.cli.show import RunDisplay, report_table, watching
from fanfold.errors import ConfigurationError, FanfoldError, MissingExtraError

_MAX_SHOWN = 20


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
        print(json.dumps({**_about(status), "report": asdict(report)}))
    else:
        _show(status, report)
    if status.ended and status.state != RunState.SUCCEEDED:
        why, what = (f": {reason}", "the fold") if reason else ("", "the failed segments")
        raise FanfoldError(
            f"run {status.id} ended as {status.state}{why}. Run `fanfold redrive {status.id}` to retry {what}"
        )


async def _status(run_id: str, display: RunDisplay | None, within: float) -> tuple[Run, RunReport, str | None]:
    async with _backend() as backend:
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


def redrive_run(
    run: options.Run,
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the failed segments and their reasons; send nothing."),
    only: str | None = typer.Option(
        None, metavar="SEGMENTS", help="Retry only these of the failed segments, such as 3,17,20-25."
    ),
    follow: bool = typer.Option(True, "--watch/--no-watch", help="Wait until the run ends, with a progress bar."),
    within: options.WatchWithin = 3600.0,
    as_json: options.Json = False,
) -> None:
    """Retry the failed segments of a run that has ended.

    Use it after you have fixed the cause. The command first shows the reasons of the failures. Successful segments
    keep their results, and the run commits one more output. If a redrive is interrupted, run it again to resume it. If
    only the fold failed, only the fold is retried.

    Exit code 0 only if the run then succeeds, or with --dry-run.
    """
    chosen = None if only is None else segments_of(only)
    failures = anyio.run(_failures, run)
    if not as_json and failures.segments:
        _show_failures(failures)
    if dry_run:
        if as_json:
            print(json.dumps({**_about(failures.run), "would_redrive": failures.segments}))
        else:
            print(f"would retry {_segments(len(failures.segments))}; nothing was sent")
        return
    with watching() as display:
        document = anyio.run(_redrive, run, chosen, display if follow else None, within)
    if as_json:
        print(json.dumps(document))
    if follow and document["state"] != RunState.SUCCEEDED:
        raise FanfoldError(f"run {run} ended as {document['state']} again. Run `fanfold status {run}` for the reasons")


async def _failures(run_id: str) -> Failures:
    async with _backend() as backend:
        return await failures_of(run_id, backend)


async def _redrive(run_id: str, only: set[int] | None, display: RunDisplay | None, within: float) -> dict[str, Any]:
    async with _backend() as backend:
        sent = await redrive(run_id, backend, only=only)
        if display is not None:
            display.step(f"run {run_id}: {_segments(sent.segments)} enqueued again")
            async for progress in watch(backend, run_id, within_seconds=within):
                display.run(progress)
        run = (await failures_of(run_id, backend)).run
        return {**_about(run), "redriven": sent.segments}


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
    async with _backend() as backend:
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
        raise FanfoldError(f"run {run_id} is {run.state} and has no output yet. Run `fanfold status {run_id} --watch`")
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


def _backend() -> Any:
    try:
        from fanfold.aws.backend import from_environment
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "runs on AWS") from error
    return from_environment()


def _about(run: Run) -> dict[str, Any]:
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


def _segments(count: int) -> str:
    return f"{count:,} segment{'' if count == 1 else 's'}"


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
