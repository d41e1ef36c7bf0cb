"""What is drawn of a sweep, in the picture and on the page: three maps, and where a value stands in its colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fanfold.bench.cells import Cell, Setting
from fanfold.bench.words import dollars

__all__ = ["MAPS", "Map", "shade"]


@dataclass(frozen=True, slots=True)
class Map:
    """One measure of all cells."""

    name: str
    """Names it, in ids."""
    title: str
    """Names it, to a reader."""
    value: Callable[[Cell], float | None]
    """The measure of a cell; None where it is not known."""
    words: Callable[[float], str]
    """How a value is written."""
    logarithmic: bool = True
    """Whether equal ratios are equal steps of colour."""


_LEAST_RATIO: Final = 1.5

MAPS: Final = (
    Map("speed", "Records per second", lambda cell: cell.records_per_second, lambda value: f"{value:,.0f}"),
    Map("cost", "Cost of a million records", lambda cell: cell.dollars_per_million, dollars),
    Map("memory", "Peak memory, MB", lambda cell: cell.peak_memory_mb, lambda value: f"{value:.0f}", logarithmic=False),
)
"""The maps."""


def shade(values: Mapping[Setting, float], *, logarithmic: bool) -> dict[Setting, float]:
    """Return where each value stands between the least, 0, and the most, 1.

    Values that are all nearly the same get nearly the same colour: the scale spans at least a ratio of one and a half,
    or, where it is not logarithmic, half of the most.
    """
    placed = {key: math.log(max(value, 1e-12)) if logarithmic else value for key, value in values.items()}
    least, most = min(placed.values(), default=0.0), max(placed.values(), default=0.0)
    span = max(most - least, math.log(_LEAST_RATIO) if logarithmic else most / 2) or 1.0
    return {key: (value - least) / span for key, value in placed.items()}
