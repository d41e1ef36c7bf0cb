"""``fanfold run --inline``."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import anyio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanfold._base.import_string import load
from fanfold._jobs.inline import InlineRun, run_inline
from fanfold._jobs.job import Job
from fanfold.cli.given import segments_of
from fanfold.cli.run_modes import RunOptions
from fanfold.cli.show import watching
from fanfold.errors import FanfoldError

_MOST_NAMED = 5


def start(name: str, options: RunOptions) -> None:
    """Run the job of this name in this process and print what became of it.

    Raises:
        ConfigurationError: If an option is wrong.
        FanfoldError: If not everything succeeded.
    """
    job = load(name, Job)
    with watching() as seen:
        ended = anyio.run(
            partial(
                run_inline,
                job,
                options.params,
                run=options.run_id,
                only=None if options.only is None else segments_of(options.only),
                concurrency=options.concurrency,
                folder=options.folder,
                progress=seen.inline,
            )
        )
    if options.as_json:
        document = asdict(replace(ended, failed=dict(ended.failed)))
        print(json.dumps({"run": document.pop("id"), **document, "succeeded": ended.succeeded}))
    else:
        _show(ended)
    if not ended.succeeded:
        raise FanfoldError(_what_is_left(ended, options.folder))


def _show(ended: InlineRun) -> None:
    console = Console()
    if ended.succeeded:
        console.print_json(json.dumps(ended.output))
    table = Table(title=f"run {ended.id}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in ("segments", "done", "worked_on", "missing"):
        table.add_row(name.replace("_", " "), f"{getattr(ended, name):,}")
    if (spread := ended.evenness) is not None:
        table.add_row("items", f"{spread.items:,}")
        table.add_row("  in a segment", f"{spread.least:,} to {spread.most:,}, {spread.mean:,.0f} in the mean")
    table.add_row("seconds", f"{ended.seconds:,.1f}")
    table.add_row("failed", f"{len(ended.failed):,}")
    for segment, reason in ended.failed.items():
        table.add_row(f"  segment {segment}", escape(reason))
    console.print(table)


def _what_is_left(ended: InlineRun, folder: Path) -> str:
    again = f"--inline --run {ended.id} --output {folder}"
    if not ended.failed:
        return f"run {ended.id}: {ended.missing} of {ended.segments} segments are still to be done: {again}"
    named = [f"segment {segment} ({reason})" for segment, reason in list(ended.failed.items())[:_MOST_NAMED]]
    more = len(ended.failed) - len(named)
    numbers = ",".join(map(str, list(ended.failed)[:_MOST_NAMED])) if not more else ""
    return (
        f"run {ended.id}: {len(ended.failed)} of {ended.segments} segments failed: {'; '.join(named)}"
        f"{f' and {more} more' if more else ''}. What is done is kept; do the rest again with {again}"
        f"{f' or alone with --only {numbers}' if numbers else ''}"
    )
