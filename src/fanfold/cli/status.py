"""``fanfold status`` and ``fanfold results``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import anyio
import typer
from rich.console import Console

from fanfold._jobs.bad_rows import BAD_ROWS_FILE
from fanfold._jobs.output import file_in
from fanfold._jobs.redrive import failures_of
from fanfold._ports.backend import Backend
from fanfold._ports.run import RunState
from fanfold._report.page import RunPage
from fanfold._report.read_page import watch_pages
from fanfold.cli import options, run_sources
from fanfold.cli.arguments import writing
from fanfold.cli.backend import deployed_backend
from fanfold.cli.run_sources import read_run
from fanfold.cli.run_status import status_view, watching_status
from fanfold.cli.status_json import status_json
from fanfold.errors import ConfigurationError, FanfoldError


def status_of(
    run: str = typer.Argument(metavar="RUN", help="Name of the run, as returned by the scatter function."),
    follow: bool = typer.Option(False, "--watch", help="Show the status until the run ends."),
    within: options.WatchWithin = 3600.0,
    inline: run_sources.Inline = False,
    folder: run_sources.Folder = run_sources.FOLDER,
    as_json: options.Json = False,
) -> None:
    """Show the state of a run, its progress, and what fails or has failed with which error.

    Use it while a run is in progress, or to find out why it failed. `fanfold report` draws the same as a page. With
    --json, the document also lists the segments. The FANFOLD_… environment variables name the queues, the table and
    the bucket, as in the functions' environment; `fanfold env STACK` prints them.

    Exit code: 1 if the run has failed, 0 otherwise.
    """
    if follow and inline:
        raise ConfigurationError("--watch does not apply to an inline run, whose process shows its progress")
    source = anyio.run(_watch, run, within) if follow else anyio.run(read_run, run, folder if inline else None)
    details = source.details
    if as_json:
        for text in status_json(source):
            print(text, end="")
        print()
    else:
        Console().print(status_view(source))
    if details.run.ended and details.run.state != RunState.SUCCEEDED:
        why, what = (f": {source.fold_failure}", "retry the fold") if source.fold_failure else ("", source.purpose)
        raise FanfoldError(f"run {run} ended as {details.run.state}{why}. Run `{source.command}` to {what}")


async def _watch(run_id: str, within: float) -> RunPage:
    async with deployed_backend() as backend:
        with watching_status() as show:
            async for source in watch_pages(run_id, backend, within_seconds=within):
                show(source)
    return source


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
