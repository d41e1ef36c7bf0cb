"""The findings of a sweep. Pure functions of its cells: a difference within the noise counts as a tie."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fanfold.bench.cells import OUT_OF_MEMORY, Cell, Setting

FAILED_SHARE_TOLERANCE: Final = 0.001
"""How much a cell's share of failed records may exceed the smallest share of all cells."""
_MIN_CURVE: Final = 3
"""Minimum number of cells with a knee."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The best cell by some measure, and its ties."""

    best: Cell
    """The cell with the best median."""
    ties: tuple[Cell, ...]
    """Other cells whose difference from it is within the noise, best first."""

    @property
    def clear(self) -> bool:
        """True if there are no ties."""
        return not self.ties

    @property
    def settings(self) -> frozenset[Setting]:
        """The settings of the best cell and its ties."""
        return frozenset(cell.setting for cell in (self.best, *self.ties))


@dataclass(frozen=True, slots=True)
class Frontier:
    """The memory that one concurrency needs."""

    concurrency: int
    """Concurrent handlers."""
    killed_at_mb: int | None
    """Largest memory in MB that was not sufficient; None if every memory was."""
    fits_from_mb: int | None
    """Smallest larger memory in MB that was sufficient; None if none was."""


@dataclass(frozen=True, slots=True)
class Saving:
    """The cost that another setting would save."""

    present: Cell
    """The cell of the present setting."""
    proposed: Cell
    """The cell of the other setting."""
    share: float
    """Share of the cost that would be saved; negative if the other setting costs more."""
    certain: bool
    """True if the difference exceeds the noise."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of two sweeps."""

    kind: str
    """``agree``, ``cannot tell`` (the choices are ties) or ``differ``."""
    reason: str
    """The reason, as text."""


def tied(one: float, other: float, tolerance: float) -> bool:
    """Return whether two positive numbers differ by at most this share of the larger one."""
    return abs(one - other) <= tolerance * max(one, other)


def comparable(cells: Iterable[Cell]) -> list[Cell]:
    """Return the measured cells whose share of failures is about the smallest one."""
    measured = [cell for cell in cells if cell.measured]
    least = min((cell.failed_share for cell in measured), default=0.0)
    return [cell for cell in measured if cell.failed_share <= least + FAILED_SHARE_TOLERANCE]


def meets(cell: Cell, within_seconds: float | None) -> bool:
    """Return whether 95 % of batches take at most this many seconds. None: no limit."""
    return within_seconds is None or (cell.batch_seconds is not None and cell.batch_seconds.p95 <= within_seconds)


def fastest(cells: Iterable[Cell]) -> Choice | None:
    """Return the cell with the most acknowledged records per second; None if none was measured."""
    return _best(comparable(cells), lambda cell: cell.records_per_second, highest=True)


def cheapest(cells: Iterable[Cell], within_seconds: float | None = None) -> Choice | None:
    """Return the cell with the lowest cost; None if no cell was measured, or none meets the time limit.

    Args:
        cells: The cells of a sweep.
        within_seconds: Maximum duration of a batch; None for no limit.
    """
    fitting = [cell for cell in comparable(cells) if meets(cell, within_seconds)]
    return _best(fitting, lambda cell: cell.dollars_per_million, highest=False)


def enough(cells: Iterable[Cell]) -> list[Setting]:
    """Return for each memory the lowest concurrency that is as fast as any, by memory.

    With a higher concurrency, handlers only wait for the CPU, or for the services that they call.
    """
    rows: dict[int, list[Cell]] = {}
    for cell in comparable(cells):
        rows.setdefault(cell.setting.memory_mb, []).append(cell)
    best = (_best(rows[memory_mb], lambda cell: cell.records_per_second, highest=True) for memory_mb in sorted(rows))
    return [min(choice.settings) for choice in best if choice is not None]


def pareto(cells: Iterable[Cell]) -> list[Cell]:
    """Return the Pareto front: the cells such that no other cell is both cheaper and faster, cheapest first."""
    front: list[Cell] = []
    order = sorted(
        comparable(cells), key=lambda cell: (cell.dollars_per_million, -cell.records_per_second, cell.setting)
    )
    for cell in order:
        if not front or cell.records_per_second > front[-1].records_per_second:
            front.append(cell)
    return front


def knee(cells: Iterable[Cell]) -> Cell | None:
    """Return the cell after which more speed costs disproportionately more; None if the front has no such bend.

    It is the cell of the ``pareto`` front that is farthest above the line between its ends. Both axes are logarithmic,
    so that only ratios count. The bend must be faster than the cheapest cell and cheaper than the fastest one, each by
    more than the noise.
    """
    front = pareto(cells)
    if len(front) < _MIN_CURVE:
        return None
    points = [(math.log(cell.dollars_per_million), math.log(cell.records_per_second)) for cell in front]
    (x0, y0), (x1, y1) = points[0], points[-1]
    if x1 <= x0 or y1 <= y0:
        return None
    above = [(y - y0) / (y1 - y0) - (x - x0) / (x1 - x0) for x, y in points]
    place = max(range(len(front)), key=lambda position: (above[position], -position))
    bend, cheap, fast = front[place], front[0], front[-1]
    faster = not tied(bend.records_per_second, cheap.records_per_second, max(bend.tolerance, cheap.tolerance))
    cheaper = not tied(bend.dollars_per_million, fast.dollars_per_million, max(bend.tolerance, fast.tolerance))
    return bend if above[place] > 1e-9 and faster and cheaper else None  # noqa: PLR2004 - rounding


def frontier(cells: Iterable[Cell]) -> list[Frontier]:
    """Return the memory that each concurrency needs, by concurrency."""
    rows: dict[int, list[Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.setting.concurrency, []).append(cell)
    return [_frontier(concurrency, rows[concurrency]) for concurrency in sorted(rows)]


def saving(present: Cell, proposed: Cell) -> Saving:
    """Return the cost that a cell would save, compared with the present one."""
    share = 1 - proposed.dollars_per_million / present.dollars_per_million
    noise = max(present.tolerance, proposed.tolerance)
    same = tied(present.dollars_per_million, proposed.dollars_per_million, noise)
    return Saving(present, proposed, share, certain=not same)


def agreement(one: Choice | None, other: Choice | None) -> Agreement:
    """Return whether two sweeps of the same cells recommend the same setting."""
    if one is None or other is None:
        return Agreement("agree", "neither recommends a setting") if one is other else Agreement(
            "differ", "only one of them recommends a setting")  # fmt: skip
    first, second = one.best.setting, other.best.setting
    if first == second:
        return Agreement("agree", f"both recommend {first}")
    if first in other.settings and second in one.settings:
        return Agreement("cannot tell", f"{first} and {second} cost the same within the noise of both")
    if first in other.settings or second in one.settings:
        return Agreement("cannot tell", f"{first} and {second} cost the same within the noise of one of them")
    return Agreement("differ", f"the first recommends {first}, the second {second}")


def _best(cells: Sequence[Cell], measure: Callable[[Cell], float], *, highest: bool) -> Choice | None:
    ranked = sorted(cells, key=lambda cell: (-measure(cell) if highest else measure(cell), cell.setting))
    if not ranked:
        return None
    best, *others = ranked
    same = [cell for cell in others if tied(measure(best), measure(cell), max(best.tolerance, cell.tolerance))]
    return Choice(best, tuple(same))


def _frontier(concurrency: int, cells: Sequence[Cell]) -> Frontier:
    killed = [cell.setting.memory_mb for cell in cells if cell.end == OUT_OF_MEMORY]
    most = max(killed, default=0)
    fits = [cell.setting.memory_mb for cell in cells if cell.measured and cell.setting.memory_mb > most]
    return Frontier(concurrency, max(killed, default=None), min(fits, default=None))


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings of a sweep."""

    cheapest: Choice | None
    """The recommendation: the cheapest cell that meets the time limit."""
    fastest: Choice | None
    """The fastest cell."""
    knee: Cell | None
    """The cell after which more speed costs disproportionately more."""
    pareto: tuple[Cell, ...]
    """The cells such that no other cell is both cheaper and faster, cheapest first."""
    enough: tuple[Setting, ...]
    """For each memory, the lowest concurrency that is as fast as any."""
    frontier: tuple[Frontier, ...]
    """The memory that each concurrency needs."""
    saving: Saving | None
    """The cost that the recommendation saves; None if the present setting was not measured."""


def findings(cells: Sequence[Cell], *, within_seconds: float | None = None, present: Setting | None = None) -> Findings:
    """Return all findings of a sweep.

    Args:
        cells: The cells of the sweep.
        within_seconds: Maximum duration of a batch; None for no limit.
        present: The present setting of the function; None if it is not known.
    """
    best = cheapest(cells, within_seconds)
    now = next((cell for cell in cells if cell.setting == present and cell.measured), None)
    return Findings(
        cheapest=best,
        fastest=fastest(cells),
        knee=knee(cells),
        pareto=tuple(pareto(cells)),
        enough=tuple(enough(cells)),
        frontier=tuple(frontier(cells)),
        saving=saving(now, best.best) if now is not None and best is not None else None,
    )
