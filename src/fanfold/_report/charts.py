"""Axes and column charts as values: positions in percent, texts for tooltips, and the table behind each chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fanfold._base.readable import duration_text

MOST_TICKS: Final = 6
LAST_TICK: Final = 0.9
"""Share of the axis up to which there are labels: one at the end would be cut."""
_STEPS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900,
                 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)  # fmt: skip
"""Distances of ticks, in seconds."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis."""

    position: float
    """Percent of the width."""
    label: str
    """Its text."""


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """A span of time on the width of a chart."""

    begin: float
    """Left end, in seconds since 1970."""
    end: float
    """Right end; later than ``begin``."""

    @property
    def seconds(self) -> float:
        """Length of the span."""
        return self.end - self.begin

    def percent(self, time: float) -> float:
        """Return the position of a time, from 0 to 100."""
        return min(100.0, max(0.0, 100 * (time - self.begin) / self.seconds))

    def index(self, time: float, bins: int) -> int:
        """Return the number of the bin that contains a time, from 0."""
        return min(bins - 1, max(0, int(bins * (time - self.begin) / self.seconds)))

    def edge(self, number: int, bins: int) -> float:
        """Return where a bin begins, in seconds after ``begin``."""
        return self.seconds * number / bins

    @property
    def ticks(self) -> Sequence[Tick]:
        """At most six labels, at round distances."""
        step = next((step for step in _STEPS if self.seconds / step < MOST_TICKS), _STEPS[-1])
        step *= max(1, math.ceil(self.seconds / step / MOST_TICKS))
        count = math.ceil(LAST_TICK * self.seconds / step)
        return [Tick(100 * step * n / self.seconds, duration_text(round(step * n, 3))) for n in range(count)]


@dataclass(frozen=True, slots=True)
class Part:
    """One colored part of a column."""

    style: str
    """CSS class."""
    top: float
    """Percent of the height."""
    height: float
    """Percent of the height."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a chart."""

    left: float
    """Percent of the width."""
    width: float
    """Percent of the width."""
    parts: Sequence[Part]
    """From the bottom to the top."""
    tooltip: str
    """All its numbers."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A column chart, and the table with its numbers."""

    title: str
    """Name of the chart."""
    summary: str
    """The chart in a sentence, for those who cannot see it."""
    columns: Sequence[Column]
    """Columns that are not empty."""
    ticks: Sequence[Tick]
    """Labels of the horizontal axis."""
    top: str
    """Label of the highest column."""
    header: Sequence[str]
    """Column titles of the table."""
    rows: Sequence[Sequence[str]]
    """Rows of the table."""


def columns_of(
    counts: Sequence[Sequence[int]], styles: Sequence[str], tooltip: Callable[[int], str]
) -> Sequence[Column]:
    """Return a column of equal width for each list of counts, one count for each style; empty columns are left out."""
    highest = max(map(sum, counts), default=0)
    width = 100 / max(1, len(counts))
    columns = []
    for number, stacked in enumerate(counts):
        parts, bottom = [], 100.0
        for style, count in zip(styles, stacked, strict=True):
            if count:
                height = max(1.5, 100 * count / highest)  # so that a single one is visible
                bottom = max(0.0, bottom - height)
                parts.append(Part(style, bottom, height))
        if parts:
            columns.append(Column(number * width, width, parts, tooltip(number)))
    return columns
