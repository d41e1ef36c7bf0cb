"""Terminal output about runs: steps and a progress bar on stderr, tables on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from fanfold._base.readable import printable
from fanfold._jobs.masking import masked
from fanfold._jobs.report import Progress as RunProgress
from fanfold._jobs.report import RunReport
from fanfold._ports.run import Run, RunState


class RunDisplay:
    """A line for each step, and a progress bar for the segments."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar = progress.add_task("segments", total=None, visible=False)
        self._state: RunState | None = None

    def step(self, name: str) -> None:
        """Print the name of a step."""
        self._progress.console.print(f"[dim]·[/dim] {name}")

    def enqueued(self, segments: int) -> None:
        """Show how many segments have been enqueued."""
        self._progress.update(self._bar, visible=True, completed=segments, description="segments enqueued")

    def inline(self, ended: int, total: int) -> None:
        """Show how many segments of an inline run have ended."""
        self._progress.update(self._bar, visible=True, completed=ended, total=total, description="segments ended")

    def run(self, progress: RunProgress) -> None:
        """Show the progress of a run: its segments in the bar, and a step when its state changes."""
        if self._state is not None and progress.state != self._state:
            self.step(f"the run is {progress.state}")
        self._state = progress.state
        name = "redriven segments ended" if progress.is_redrive else "segments ended"
        self._progress.update(self._bar, visible=True, total=progress.total, completed=progress.ended, description=name)


_COLUMNS = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()


@contextmanager
def progress_bar(description: str, total: int | None, time: ProgressColumn) -> Iterator[Callable[..., None]]:
    """Show a progress bar on stderr while the block runs, if stderr is a terminal. Yield a function that updates it."""
    console = Console(stderr=True)
    with Progress(*_COLUMNS, time, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield partial(progress.update, progress.add_task(description, total=total))


@contextmanager
def watching() -> Iterator[RunDisplay]:
    """Show steps and progress on stderr while the block runs."""
    with Progress(*_COLUMNS, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        yield RunDisplay(progress)


def table_of(rows: Mapping[str, Mapping[str, Any]], key: str, title: str) -> Table:
    """Return a table with a row for each key. Numbers are right-aligned; fractions have three decimals."""
    table = Table(title=title, title_justify="left")
    columns = list(next(iter(rows.values()), {}))
    table.add_column(key)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for name, row in rows.items():
        table.add_row(name, *(_cell(row[column]) for column in columns))
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def about(run: Run) -> dict[str, Any]:
    """Return a run as JSON."""
    return {
        "run": run.id,
        "job": run.job,
        "state": run.state,
        "generation": run.gen,
        "params": masked(run.params),
        "output": run.output,
        "failed": run.failed,
    }


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 segment" or "2,000 segments"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def two_columns(title: str) -> Table:
    """Return an empty table of names and right-aligned values."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    return table


def report_table(report: RunReport) -> Table:
    """Return a run report as a table."""
    table = two_columns("run report")
    for name in ("segments", "done", "missing", "deliveries", "retries", "duplicates"):
        label = "duplicates ignored" if name == "duplicates" else name
        table.add_row(label, f"{getattr(report, name):,}")
    if (spread := report.evenness) is not None:
        table.add_row("items", f"{spread.items:,}")
        table.add_row("  per segment", f"{spread.least:,} to {spread.most:,}, mean {spread.mean:,.0f}")
        for segment, items in spread.uneven.items():
            table.add_row(f"  [yellow]uneven:[/yellow] segment {segment}", f"{items:,}, over five times the mean")
    if report.bad_rows:
        table.add_row("[yellow]bad rows[/yellow]", f"{report.bad_rows:,}")
    table.add_row("failed", f"{len(report.failed):,}")
    for segment, reason in report.failed.items():
        table.add_row(f"  segment {segment}", escape(printable(reason)))
    return table
