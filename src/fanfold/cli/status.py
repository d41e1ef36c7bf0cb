"""``fanfold status``, ``fanfold redrive`` and ``fanfold results``: what became of a run, and what to do about it."""

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

from fanfold._jobs.output import file_in
from fanfold._jobs.redrive import Failures, failures_of, redrive
from fanfold._jobs.report import RunReport, read_report, watch
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.cli import options
from fanfold.cli.arguments import segments_of, writing
from fanfold.cli.show import Watching, report_table, watching
from fanfold.errors import FanfoldError, MissingExtraError

_SHOWN = 20


def status_of(
    run: str = typer.Argument(metavar="RUN", help="Name of the run, as the scatter function returned it."),
    follow: bool = typer.Option(False, "--watch", help="Wait until it has ended, with a progress bar."),
    within: options.WatchWithin = 3600.0,
    as_json: options.Json = False,
) -> None:
    """Look at a run: its state, an account of every segment, what failed and why.

    Queues, table and bucket are named by the FANFOLD_… variables, as in the functions' environment. Exit code 0 unless
    the run has failed.
    """
    with watching() if follow else nullcontext() as seen:
        found, report = anyio.run(_status, run, seen, within)
    if as_json:
        print(json.dumps({**_about(found), "account": asdict(report)}))
    else:
        _show(found, report)
    if found.ended and found.state != RunState.SUCCEEDED:
        raise FanfoldError(f"run {found.id} ended as {found.state}; fanfold redrive {found.id} does again what failed")


async def _status(run_id: str, seen: Watching | None, within: float) -> tuple[Run, RunReport]:
    async with _backend() as backend:
        if seen is not None:
            async for progress in watch(backend, run_id, within_seconds=within):
                seen.run(progress)
        run = (await failures_of(run_id, backend)).run
        return run, await read_report(backend, run)


def redrive_run(
    run: options.Run,
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what failed and why, and do nothing."),
    only: str | None = typer.Option(
        None, metavar="LIST", help="Only these segments, of those that failed, such as 3,17,20-25."
    ),
    follow: bool = typer.Option(True, "--watch/--no-watch", help="Wait until it has ended, with a progress bar."),
    within: options.WatchWithin = 3600.0,
    as_json: options.Json = False,
) -> None:
    """Do again what failed in a run that has ended; the reasons are shown first.

    What was done stays done; the run gets one more output. A redrive that died is resumed by another one. A run whose
    fold failed is folded again. Exit code 0 only if the run then succeeded, or with --dry-run.
    """
    chosen = None if only is None else segments_of(only)
    failures = anyio.run(_failures, run)
    if not as_json and failures.segments:
        _show_failures(failures)
    if dry_run:
        if as_json:
            print(json.dumps({**_about(failures.run), "would_redrive": failures.segments}))
        else:
            print(f"would be done again: {_segments(len(failures.segments))}; nothing was sent")
        return
    with watching() as seen:
        document = anyio.run(_redrive, run, chosen, seen if follow else None, within)
    if as_json:
        print(json.dumps(document))
    if follow and document["state"] != RunState.SUCCEEDED:
        raise FanfoldError(f"run {run} ended as {document['state']} again: fanfold status {run} says why")


async def _failures(run_id: str) -> Failures:
    async with _backend() as backend:
        return await failures_of(run_id, backend)


async def _redrive(run_id: str, only: set[int] | None, seen: Watching | None, within: float) -> dict[str, Any]:
    async with _backend() as backend:
        sent = await redrive(run_id, backend, only=only)
        if seen is not None:
            seen.step(f"run {run_id}: {_segments(sent.segments)} enqueued again")
            async for progress in watch(backend, run_id, within_seconds=within):
                seen.run(progress)
        run = (await failures_of(run_id, backend)).run
        return {**_about(run), "redriven": sent.segments}


def results_of(
    run: options.Run,
    output: Path | None = typer.Option(None, "--output", "-o", help="File to write; standard output if not given."),
    failures: bool = typer.Option(False, "--failures", help="The list of failures instead of the output."),
) -> None:
    """Export the output of a run that has ended, as the fold committed it; of a fold that made a file, the file.

    Exit code 0 only if there is one.
    """
    anyio.run(_export, run, failures, output)


async def _export(run_id: str, failures: bool, output: Path | None) -> None:
    async with _backend() as backend:
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


async def _results(run_id: str, failures: bool, backend: Backend) -> bytes:
    run = (await failures_of(run_id, backend)).run
    if run.output is None:
        raise FanfoldError(f"run {run_id} is {run.state}: it has no output yet")
    if failures:
        if not run.failed:
            raise FanfoldError(f"run {run_id} has no failures")
        return bytes(await backend.get_result(run.failures_key()))
    if run.state != RunState.SUCCEEDED:
        raise FanfoldError(f"run {run_id} is {run.state}: it has no output; --failures exports what failed")
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
    again = f", generation {run.gen}" if run.gen else ""
    console.print(f"run [bold]{escape(run.id)}[/bold] of {escape(run.job)}: {run.state}{again}")
    if run.output:
        console.print(f"output: {escape(run.output)}", soft_wrap=True)
    console.print(report_table(report))


def _segments(count: int) -> str:
    return f"{count:,} segment{'' if count == 1 else 's'}"


def _show_failures(failures: Failures) -> None:
    table = Table(title=f"failed for good: {len(failures.segments):,}", title_justify="left")
    table.add_column("segment", justify="right")
    table.add_column("reason")
    for segment, reason in list(failures.segments.items())[:_SHOWN]:
        table.add_row(str(segment), escape(reason))
    console = Console(stderr=True)
    console.print(table)
    if (left := len(failures.segments) - _SHOWN) > 0:
        console.print(f"and {left:,} more: fanfold results {failures.run.id} --failures")
