"""The distribution of a number over the segments of a run: a histogram and percentiles."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from fanfold._report.charts import Chart, Tick, columns_of

BINS: Final = 24
WIDE: Final = 50
"""Ratio of the largest to the smallest value above which bins grow by a factor."""
_PERCENTS: Final = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram, and the facts about it."""

    facts: Sequence[tuple[str, str]]
    """Name and value."""
    chart: Chart
    """The histogram."""


def distribution(title: str, values: Iterable[float], text: Callable[[float], str]) -> Distribution | None:
    """Return the distribution of values; None if there are none.

    Args:
        title: Title of the histogram.
        values: Values of at least 0, in any order.
        text: Returns a value as text.
    """
    ordered = sorted(values)
    if not ordered:
        return None
    edges = _edges(ordered)
    counts = _counts(ordered, edges)
    ranges = [_range(low, high, text) for low, high in pairwise(edges)]
    facts = [
        ("minimum", text(ordered[0])),
        *((f"p{percent}", text(percentile(ordered, percent))) for percent in _PERCENTS),
        ("maximum", text(ordered[-1])),
        ("mean", text(math.fsum(ordered) / len(ordered))),
    ]
    width = 100 / len(counts)
    every = max(1, math.ceil(len(counts) / 4))
    chart = Chart(
        title=title,
        summary=f"{len(ordered):,} segments: {', '.join(f'{name} {value}' for name, value in facts)}.",
        columns=columns_of([[count] for count in counts], ["done"], lambda n: f"{ranges[n]}: {counts[n]:,} segments"),
        ticks=[Tick(n * width, text(edges[n])) for n in range(0, len(counts), every)],
        top=f"{max(counts):,} segments",
        header=(title.lower(), "segments"),
        rows=[[ranges[n], f"{count:,}"] for n, count in enumerate(counts) if count],
    )
    return Distribution(facts, chart)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of ascending values."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _edges(ordered: Sequence[float]) -> Sequence[float]:
    """Return the edges of the bins; the last bin includes its right edge."""
    low, high = ordered[0], ordered[-1]
    if low == high:
        return [low, high]
    if low > 0 and high / low > WIDE:
        return [low * (high / low) ** (n / BINS) for n in range(BINS)] + [high]
    if isinstance(high, int) and high - low < BINS:
        return [*range(int(low), high + 2)]
    return [low + (high - low) * n / BINS for n in range(BINS)] + [high]


def _counts(ordered: Sequence[float], edges: Sequence[float]) -> Sequence[int]:
    places = [bisect_left(ordered, edge) for edge in edges[:-1]] + [bisect_right(ordered, edges[-1])]
    return [after - before for before, after in pairwise(places)]


def _range(low: float, high: float, text: Callable[[float], str]) -> str:
    is_single = low == high or (isinstance(low, int) and isinstance(high, int) and high - low == 1)
    return text(low) if is_single else f"{text(low)} to {text(high)}"
