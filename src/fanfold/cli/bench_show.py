"""How a sweep looks in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from fanfold.bench.cells import Cell, Setting
from fanfold.bench.compare import Comparison
from fanfold.bench.decide import Findings
from fanfold.bench.result import Result
from fanfold.bench.sweep import Progress as Told
from fanfold.bench.words import conditions, dollars, sentences

_WIDE = 120
"""Columns of a terminal from which a table shows everything."""
_NARROW = ("at\nonce", "MB", "records\n/s", "±", "batch\np95 s", "record\np95 ms", "peak\nMB", "throt-\ntled",
           "$ per\nmillion")  # fmt: skip
_MORE = ("record ms\np50 · p99 · max", "came\nback", "cold\nms")


@contextmanager
def progress_bar() -> Iterator[Told]:
    """Show on stderr how far a sweep is; yields what it tells its progress."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("measuring", total=None)

        def tell(done: int, planned: int, setting: Setting) -> None:
            progress.update(bar, completed=done, total=planned, description=f"measuring {setting}")

        yield tell


def show(result: Result, console: Console) -> None:
    """Print the cells, what follows from them, and how they were measured."""
    table = Table(
        title=f"{escape(result.workload.handler)}: concurrency x memory",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    more = console.width >= _WIDE
    for name in (*_NARROW, *(_MORE if more else ())):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", min_width=10)
    for cell in result.cells:
        table.add_row(*_row(cell, more=more), ", ".join(_marks(cell, result.findings, result.present, more=more)))
    console.print(table)
    for number, line in enumerate(sentences(result)):
        console.print(escape(line), style="" if number else "bold", highlight=False)
    for line in conditions(result):
        console.print(escape(line), style="dim", highlight=False)


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print how the second of two sweeps differs from the first."""
    table = Table(title="second / first", title_justify="left")
    for name in ("at once", "MB", "records/s", "$/million", "peak MB", ""):
        table.add_column(name, justify="left" if not name else "right")
    for row in comparison.rows:
        ratios = [_ratio(row.speed), _ratio(row.cost), _ratio(row.memory)]
        table.add_row(str(row.setting.concurrency), f"{row.setting.memory_mb:,}", *ratios, row.words)
    console.print(table)
    for line in comparison.lines:
        console.print(escape(line), highlight=False)


def _row(cell: Cell, *, more: bool) -> list[str]:
    start = [str(cell.setting.concurrency), f"{cell.setting.memory_mb:,}"]
    if not cell.measured:
        return [*start, *["-"] * (len(_NARROW) - 2 + (len(_MORE) if more else 0))]
    record = cell.record_seconds
    row = [
        *start,
        f"{cell.records_per_second:,.0f}",
        f"{cell.tolerance:.0%}",
        "-" if cell.batch_seconds is None else f"{cell.batch_seconds.p95:.3f}",
        "-" if record is None else f"{record.p95 * 1000:.1f}",
        "-" if cell.peak_memory_mb is None else f"{cell.peak_memory_mb:.0f}",
        "-" if cell.throttled_share is None else f"{cell.throttled_share:.0%}",
        dollars(cell.dollars_per_million),
    ]
    if more:
        spread = (
            "-"
            if record is None
            else " · ".join(f"{value * 1000:.1f}" for value in (record.p50, record.p99, record.most))
        )
        cold = "-" if cell.cold_start_seconds is None else f"{cell.cold_start_seconds * 1000:.0f}"
        row += [spread, f"{cell.failed_share:.1%}", cold]
    return row


def _marks(cell: Cell, found: Findings, present: Setting | None, *, more: bool) -> Iterator[str]:
    if not cell.measured:
        yield f"[bold red]{cell.end}[/]" + (f": {escape(cell.reason)}" if more else "")
    elif cell.failed_share:
        yield f"[red]{cell.failed_share:.1%} came back[/]"
    if found.cheapest is not None and cell.setting in found.cheapest.settings:
        yield "[bold green]cheapest[/]" if cell.setting == found.cheapest.best.setting else "as cheap"
    if found.fastest is not None and cell.setting in found.fastest.settings:
        yield "[bold]fastest[/]" if cell.setting == found.fastest.best.setting else "as fast"
    if found.knee is not None and cell.setting == found.knee.setting:
        yield "knee"
    if cell.setting == present:
        yield "present"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
