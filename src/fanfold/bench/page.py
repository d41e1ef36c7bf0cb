"""A sweep as one self-contained HTML page: no script, no request, legible in light, in dark and in print.

A cell's number is written in it and its colour follows the number from dark to light, in a scale made for readers who
see colours differently; what ran out of memory is hatched and says so.
"""

from __future__ import annotations

from typing import Final

from fanfold._base.html import render
from fanfold.bench.cells import OUT_OF_MEMORY, Cell, Spread
from fanfold.bench.maps import heat_maps
from fanfold.bench.result import Result
from fanfold.bench.summary import conditions, dollars, figures, sentences

_COLUMNS: Final = ("at once", "memory MB", "records/s", "± tie", "$ / million", "batch p50 s", "batch p95 s",
                   "batch max s", "record p50 / p95 / p99 / max ms", "peak MB", "throttled", "came back",
                   "cold start ms")  # fmt: skip
_FIGURES: Final = ("concurrency", "memory", "speed", "tolerance", "cost", "batch p50", "batch p95", "batch max",
                   "record", "peak", "throttled", "failed", "cold")  # fmt: skip


def page(result: Result) -> str:
    """Return the page of a sweep. Names and reasons in it are shown as text, whatever they hold."""
    cheapest = result.findings.cheapest
    return render(
        __package__,
        "page.html",
        title=f"Concurrency against memory: {result.workload.handler}",
        sentences=sentences(result),
        legend=_legend(result),
        maps=heat_maps(result),
        columns=_COLUMNS,
        cells=result.cells,
        cheapest=None if cheapest is None else cheapest.best.setting,
        conditions=list(conditions(result)),
        row=_row,
        told=_told,
    )


def _legend(result: Result) -> str:
    parts = ["Solid frame: the cheapest", "dotted frame: the fastest", "all numbers of a cell stand under the pointer"]
    if any(cell.end == OUT_OF_MEMORY for cell in result.cells):
        parts.append("heavy line: where memory ends; hatched: out of memory, so nothing was measured")
    return "; ".join(parts) + "."


def _told(cell: Cell) -> str:
    """Return all of a cell in words, as shown under the pointer."""
    if not cell.measured:
        return f"{cell.setting}: {cell.end}: {cell.reason}"
    parts = [
        f"{cell.setting}: {cell.records_per_second:,.0f} records/s ± {cell.tolerance:.0%}",
        f"{dollars(cell.dollars_per_million)} for a million records",
    ]
    if cell.batch_seconds is not None:
        parts.append(f"a batch takes {cell.batch_seconds.p50:.3f} s, p95 {cell.batch_seconds.p95:.3f} s")
    if cell.record_seconds is not None:
        parts.append(f"a record p50 / p95 / p99 / max {_four(cell.record_seconds)} ms")
    if cell.peak_memory_mb is not None:
        parts.append(f"peak memory {cell.peak_memory_mb:.0f} MB")
    if cell.throttled_share is not None:
        parts.append(f"throttled {cell.throttled_share:.0%} of the time")
    if cell.failed_share:
        parts.append(f"{cell.failed_share:.1%} of the records came back")
    return "; ".join(parts)


def _row(cell: Cell) -> list[str]:
    found = figures(cell)
    found["record"] = _four(cell.record_seconds) if cell.measured and cell.record_seconds is not None else "-"
    return [found[name] for name in _FIGURES]


def _four(spread: Spread) -> str:
    return " / ".join(f"{value * 1000:.1f}" for value in (spread.p50, spread.p95, spread.p99, spread.most))
