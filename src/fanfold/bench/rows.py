"""A sweep as rows: one for each cell, numbers in full, for a sheet or a notebook."""

from __future__ import annotations

from typing import Any, Final

from fanfold.bench.cells import Cell, Spread
from fanfold.bench.result import Result

COLUMNS: Final = (
    "concurrency", "memory_mb", "end", "reason", "repeats", "out_of_memory_kills", "records_per_second",
    "tolerance_share", "dollars_per_million_records", "batch_p50_seconds", "batch_p95_seconds", "batch_p99_seconds",
    "batch_max_seconds", "record_p50_seconds", "record_p95_seconds", "record_p99_seconds", "record_max_seconds",
    "failed_share", "peak_memory_mb", "throttled_share", "cold_start_seconds", "most_in_flight",
)  # fmt: skip
"""Names of the columns; an empty one means not measured."""


def rows(result: Result) -> list[list[Any]]:
    """Return a row for each cell, its values in the order of the columns; None where nothing was measured."""
    return [_row(cell) for cell in result.cells]


def _row(cell: Cell) -> list[Any]:
    numbers = [cell.records_per_second, cell.tolerance, cell.dollars_per_million] if cell.measured else [None] * 3
    return [
        cell.setting.concurrency,
        cell.setting.memory_mb,
        cell.end,
        cell.reason,
        cell.repeats,
        cell.kills,
        *numbers,
        *_four(cell.batch_seconds),
        *_four(cell.record_seconds),
        cell.failed_share if cell.measured else None,
        cell.peak_memory_mb,
        cell.throttled_share,
        cell.cold_start_seconds,
        cell.most_in_flight,
    ]


def _four(spread: Spread | None) -> list[Any]:
    return [None] * 4 if spread is None else [spread.p50, spread.p95, spread.p99, spread.most]
