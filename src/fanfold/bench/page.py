"""A sweep as one self-contained HTML page, without scripts or requests, for light mode, dark mode and print.

Each cell shows its number, on a color from dark to light that is readable with color vision deficiency. Cells that ran
out of memory are hatched and labeled.
"""

from __future__ import annotations

from typing import Final

from fanfold._base.html import render
from fanfold.bench.cells import OUT_OF_MEMORY, Cell, Spread
from fanfold.bench.maps import HeatMap, heat_maps
from fanfold.bench.result import Result
from fanfold.bench.summary import conditions, dollars, figures, sentences

_COLUMNS: Final = ("concurrency", "memory MB", "records/s", "± tie", "$ / million", "batch p50 s", "batch p95 s",
                   "batch max s", "record p50 / p95 / p99 / max ms", "peak MB", "throttled", "failed",
                   "cold start ms")  # fmt: skip
_FIGURES: Final = ("concurrency", "memory", "speed", "tolerance", "cost", "batch p50", "batch p95", "batch max",
                   "record", "peak", "throttled", "failed", "cold")  # fmt: skip


def page(result: Result) -> str:
    """Return the page of a sweep. Names and reasons are escaped."""
    cheapest = result.findings.cheapest
    return render(
        __package__,
        "page.html",
        title=f"Concurrency against memory: {result.workload.handler}",
        sentences=sentences(result),
        legend=_legend(result),
        maps=heat_maps(result),
        tile_size=_tile_size,
        columns=_COLUMNS,
        cells=result.cells,
        cheapest=None if cheapest is None else cheapest.best.setting,
        conditions=list(conditions(result)),
        row=_row,
        describe=_describe,
    )


def _tile_size(heat_map: HeatMap) -> tuple[int, int]:
    """Return the width and height of a cell in pixels; the cells of a small sweep are larger."""
    columns, rows = len(heat_map.memories), len(heat_map.concurrencies)
    return max(86, min(150, 320 // columns)), max(44, min(80, 220 // rows))


def _legend(result: Result) -> str:
    parts = ["Solid frame: cheapest", "dotted frame: fastest", "hover over a cell for all its numbers"]
    if result.adjusting:
        parts.append("diamond: the limit that auto found")
    if any(cell.end == OUT_OF_MEMORY for cell in result.cells):
        parts.append("hatched: out of memory, not measured; heavy line: limit of memory")
    return "; ".join(parts) + "."


def _describe(cell: Cell) -> str:
    """Return the text of a cell's tooltip, with all its numbers."""
    if not cell.measured:
        return f"{cell.setting}: {cell.end}: {cell.reason}"
    parts = [
        f"{cell.setting}: {cell.records_per_second:,.0f} records/s ± {cell.tolerance:.0%}",
        f"{dollars(cell.dollars_per_million)} per million records",
    ]
    if cell.batch_seconds is not None:
        parts.append(f"batch p50 {cell.batch_seconds.p50:.3f} s, p95 {cell.batch_seconds.p95:.3f} s")
    if cell.record_seconds is not None:
        parts.append(f"record p50 / p95 / p99 / max {_four(cell.record_seconds)} ms")
    if cell.peak_memory_mb is not None:
        parts.append(f"peak memory {cell.peak_memory_mb:.0f} MB")
    if cell.throttled_share is not None:
        parts.append(f"throttled {cell.throttled_share:.0%} of the time")
    if cell.failed_share:
        parts.append(f"{cell.failed_share:.1%} of the records failed")
    return "; ".join(parts)


def _row(cell: Cell) -> list[str]:
    texts = figures(cell)
    texts["record"] = _four(cell.record_seconds) if cell.measured and cell.record_seconds is not None else "-"
    return [texts[name] for name in _FIGURES]


def _four(spread: Spread) -> str:
    return " / ".join(f"{value * 1000:.1f}" for value in (spread.p50, spread.p95, spread.p99, spread.most))
