"""A comparison of two sweeps: speed, cost and memory of each setting, and whether both recommend the same setting."""

from __future__ import annotations

from dataclasses import dataclass

from fanfold.bench.cells import Cell, Setting
from fanfold.bench.decide import agreement, tied
from fanfold.bench.result import Result


@dataclass(frozen=True, slots=True)
class Row:
    """One setting in both sweeps. Ratios are second / first."""

    setting: Setting
    """The setting."""
    speed: float | None
    """Ratio of records per second; None if either was not measured."""
    cost: float | None
    """Ratio of the cost per million records."""
    memory: float | None
    """Ratio of peak memory."""
    text: str
    """``same``, ``faster``, ``slower``, or how either ended."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sweeps side by side."""

    rows: tuple[Row, ...]
    """Settings that both measured."""
    kind: str
    """Agreement of the recommendations: ``agree``, ``cannot tell`` or ``differ``."""
    lines: tuple[str, ...]
    """The findings, as sentences."""


def compare(first: Result, second: Result) -> Comparison:
    """Compare two sweeps."""
    before = {cell.setting: cell for cell in first.cells}
    after = {cell.setting: cell for cell in second.cells}
    rows = tuple(_row(setting, before[setting], after[setting]) for setting in sorted(before.keys() & after.keys()))
    verdict = agreement(first.findings.cheapest, second.findings.cheapest)
    lines = [f"Recommendation: {verdict.kind}: {verdict.reason}."]
    differing = [
        f"{name}: {one!r} and {other!r}"
        for name, one, other in (
            ("handlers", first.workload.handler, second.workload.handler),
            ("records per batch", first.workload.records, second.workload.records),
            ("content", first.workload.digest, second.workload.digest),
            ("limits", first.limits, second.limits),
            ("processors", first.machine["cpu"], second.machine["cpu"]),
            ("time limits", first.grid.within_seconds, second.grid.within_seconds),
        )
        if one != other
    ]
    if differing:
        lines.append(f"The conditions differ: {'; '.join(differing)}.")
    if len(rows) < len(before.keys() | after.keys()):
        lines.append(f"{len(before.keys() ^ after.keys())} settings were measured in only one of the sweeps.")
    return Comparison(rows, verdict.kind, tuple(lines))


def _row(setting: Setting, before: Cell, after: Cell) -> Row:
    if not (before.measured and after.measured):
        return Row(setting, None, None, None, before.end if before.end == after.end else f"{before.end}, {after.end}")
    speed = after.records_per_second / before.records_per_second
    same = tied(before.records_per_second, after.records_per_second, max(before.tolerance, after.tolerance))
    known = before.peak_memory_mb is not None and after.peak_memory_mb is not None
    return Row(
        setting,
        speed,
        after.dollars_per_million / before.dollars_per_million,
        (after.peak_memory_mb or 0.0) / (before.peak_memory_mb or 1.0) if known else None,
        "same" if same else "faster" if speed > 1 else "slower",
    )
