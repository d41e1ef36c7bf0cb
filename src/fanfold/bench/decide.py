"""What follows from the cells of a sweep. Nothing here measures; a difference within the noise is no difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fanfold.bench.cells import OUT_OF_MEMORY, Cell, Setting

FAILED_SHARE_TOLERANCE: Final = 0.001
"""How much larger a share of records may come back than in the best cell."""
_A_CURVE: Final = 3
"""Cells from which there is a knee."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The best cell by some measure, and those that cannot be told from it."""

    best: Cell
    """The best by its median."""
    ties: tuple[Cell, ...]
    """Others whose difference from it is within the noise, best first."""

    @property
    def clear(self) -> bool:
        """Whether no other cell is as good within the noise."""
        return not self.ties

    @property
    def settings(self) -> frozenset[Setting]:
        """All that may be the best."""
        return frozenset(cell.setting for cell in (self.best, *self.ties))


@dataclass(frozen=True, slots=True)
class Frontier:
    """Where memory ends, for one concurrency."""

    concurrency: int
    """Handlers at once."""
    killed_at_mb: int | None
    """Most memory that was not enough, MB; None if all were."""
    fits_from_mb: int | None
    """Least memory above that which was enough, MB; None if none was."""


@dataclass(frozen=True, slots=True)
class Saving:
    """What another cell would save of the present one's cost."""

    present: Cell
    """As it is set now."""
    proposed: Cell
    """As it might be."""
    share: float
    """Share of the cost saved; negative if it would cost more."""
    certain: bool
    """Whether the difference is more than noise."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether two sweeps recommend the same."""

    kind: str
    """``agree``, ``cannot tell`` (each allows the other's choice, or nothing can be compared) or ``differ``."""
    reason: str
    """Why, in words."""


def tied(one: float, other: float, tolerance: float) -> bool:
    """Tell whether two positive numbers differ by at most a share of the larger one."""
    return abs(one - other) <= tolerance * max(one, other)


def comparable(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells that did the work: measured, and with no larger share of failures than the best of them."""
    measured = [cell for cell in cells if cell.measured]
    least = min((cell.failed_share for cell in measured), default=0.0)
    return [cell for cell in measured if cell.failed_share <= least + FAILED_SHARE_TOLERANCE]


def meets(cell: Cell, within_seconds: float | None) -> bool:
    """Tell whether a batch takes at most so many seconds, in 95 of 100 cases; None for any."""
    return within_seconds is None or (cell.batch_seconds is not None and cell.batch_seconds.p95 <= within_seconds)


def fastest(cells: Iterable[Cell]) -> Choice | None:
    """Return the cell that acknowledges the most records in a second; None if none was measured."""
    return _best(comparable(cells), lambda cell: cell.records_per_second, highest=True)


def cheapest(cells: Iterable[Cell], within_seconds: float | None = None) -> Choice | None:
    """Return the cell that costs the least; None if none was measured, or none meets the time.

    Args:
        cells: What was measured.
        within_seconds: What a batch may take; None for as long as it likes.
    """
    fitting = [cell for cell in comparable(cells) if meets(cell, within_seconds)]
    return _best(fitting, lambda cell: cell.dollars_per_million, highest=False)


def enough(cells: Iterable[Cell]) -> list[Setting]:
    """Return for each memory the fewest handlers at once that are as fast as any there, by memory.

    More of them only wait for one another: for the CPU, or for what they call.
    """
    rows: dict[int, list[Cell]] = {}
    for cell in comparable(cells):
        rows.setdefault(cell.setting.memory_mb, []).append(cell)
    best = (_best(rows[memory_mb], lambda cell: cell.records_per_second, highest=True) for memory_mb in sorted(rows))
    return [min(choice.settings) for choice in best if choice is not None]


def pareto(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells than which no other is both cheaper and faster, cheapest first."""
    found: list[Cell] = []
    order = sorted(
        comparable(cells), key=lambda cell: (cell.dollars_per_million, -cell.records_per_second, cell.setting)
    )
    for cell in order:
        if not found or cell.records_per_second > found[-1].records_per_second:
            found.append(cell)
    return found


def knee(cells: Iterable[Cell]) -> Cell | None:
    """Return the cell after which more speed costs over-proportionally; None if there is no such bend.

    It is the cell of the ``pareto`` front farthest above the line between its ends, both axes by their logarithm: the
    units do not matter, only ratios do. A bend within the noise of either end is none: it has to be faster than the
    cheapest cell, and cheaper than the fastest.
    """
    front = pareto(cells)
    if len(front) < _A_CURVE:
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
    """Return where memory ends for each concurrency, by concurrency."""
    rows: dict[int, list[Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.setting.concurrency, []).append(cell)
    return [_frontier(concurrency, rows[concurrency]) for concurrency in sorted(rows)]


def saving(present: Cell, proposed: Cell) -> Saving:
    """Return what a cell would save of the present one's cost."""
    share = 1 - proposed.dollars_per_million / present.dollars_per_million
    noise = max(present.tolerance, proposed.tolerance)
    same = tied(present.dollars_per_million, proposed.dollars_per_million, noise)
    return Saving(present, proposed, share, certain=not same)


def agreement(one: Choice | None, other: Choice | None) -> Agreement:
    """Tell whether two sweeps of the same cells recommend the same."""
    if one is None or other is None:
        return Agreement("agree", "neither recommends a cell") if one is other else Agreement(
            "differ", "only one of them recommends a cell")  # fmt: skip
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
    """All that follows from a sweep."""

    cheapest: Choice | None
    """What is recommended: the cheapest that meets the time asked for."""
    fastest: Choice | None
    """The fastest."""
    knee: Cell | None
    """After which more speed costs over-proportionally."""
    pareto: tuple[Cell, ...]
    """Than which none is both cheaper and faster, cheapest first."""
    enough: tuple[Setting, ...]
    """The fewest handlers at once that are as fast as any, for each memory."""
    frontier: tuple[Frontier, ...]
    """Where memory ends."""
    saving: Saving | None
    """What the cheapest saves of the present setting; None if it was not measured."""


def findings(cells: Sequence[Cell], *, within_seconds: float | None = None, present: Setting | None = None) -> Findings:
    """Return all that follows from a sweep.

    Args:
        cells: What was measured.
        within_seconds: What a batch may take; None for as long as it likes.
        present: How the function is set now; None if that is not known.
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
