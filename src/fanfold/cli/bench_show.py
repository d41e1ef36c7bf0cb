"""How a sweep looks in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanfold.bench.cells import Cell, Setting
from fanfold.bench.compare import Comparison
from fanfold.bench.decide import Findings
from fanfold.bench.result import Result
from fanfold.bench.words import conditions, figures, sentences

_WIDE = 120
"""Columns of a terminal from which a table shows everything."""
_NARROW = ("at\nonce", "MB", "records\n/s", "±", "batch\np95 s", "record\np95 ms", "peak\nMB", "throt-\ntled",
           "$ per\nmillion")  # fmt: skip
_MORE = ("record ms\np50 · p99 · max", "came\nback", "cold\nms")


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
    found, record = figures(cell), cell.record_seconds if cell.measured else None
    names = "concurrency", "memory", "speed", "tolerance", "batch p95", "record p95", "peak", "throttled", "cost"
    row = [found[name] for name in names]
    if more:
        spread = () if record is None else (record.p50, record.p99, record.most)
        row += [" · ".join(f"{value * 1000:.1f}" for value in spread) or "-", found["failed"], found["cold"]]
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
