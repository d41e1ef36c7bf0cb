"""Which execution environment processed what when: a bar for each segment, or shades if there are too many."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from fanfold._base.readable import duration_text
from fanfold._report.charts import TimeAxis
from fanfold._report.columns import ATTEMPT, DONE, FAILED, KINDS, PART, STYLES, UNKNOWN, Columns, short

MAX_BARS: Final = 400
"""Bars of a timeline; beyond that, it shows shades."""
MAX_LANES: Final = 60
"""Lanes of a timeline with bars."""
MAX_ROWS: Final = 24
"""Rows of a timeline. Of more execution environments, several share a row."""
BINS: Final = 96
"""Cells of a row of shades."""
SHADES: Final = 5
_LEAST_WIDTHS: Final = {DONE: 0.2, FAILED: 0.6, ATTEMPT: 0.6, PART: 0.2}


@dataclass(frozen=True, slots=True)
class Bar:
    """A segment or a failed delivery."""

    left: float
    """Percent of the width."""
    width: float
    """Percent of the width."""
    lane: int
    """Bars that overlap in time have different lanes."""
    style: str
    """CSS class."""
    tooltip: str
    """All its numbers."""


@dataclass(frozen=True, slots=True)
class Row:
    """One or more execution environments."""

    label: str
    """A short name."""
    name: str
    """The whole name."""
    figures: Sequence[str]
    """Segments, failed attempts, begin, end, and mean number in flight, as in the table behind the timeline."""
    bars: Sequence[Bar] = ()
    """Bars, if there are few."""
    lanes: int = 0
    """Number of lanes."""
    shades: Mapping[str, str] = field(default_factory=dict)
    """Path of the cells by CSS class, if there are many segments."""

    @property
    def summary(self) -> str:
        """The row in a sentence."""
        segments, failed, begin, end, mean = self.figures
        return f"{self.name}: {segments} ended, {failed} failed attempts, {begin} to {end}, {mean} in flight on average"


@dataclass(frozen=True, slots=True)
class Timeline:
    """The timeline of a generation."""

    rows: Sequence[Row]
    """In order of the first segment."""
    note: str
    """How to read it."""

    @property
    def table(self) -> Sequence[Sequence[str]]:
        """The rows of the table behind it."""
        return [[row.name, *row.figures] for row in self.rows]


def timeline(columns: Columns, rows: Sequence[int], axis: TimeAxis) -> Timeline:
    """Return the timeline of some rows, which are in order of their begin."""
    if not rows:
        return Timeline((), "The times of the segments are not known.")
    by_environment: dict[int, list[int]] = {}
    for row in rows:
        by_environment.setdefault(columns.environment[row], []).append(row)
    if len(rows) <= MAX_BARS and len(by_environment) <= MAX_ROWS:
        lanes = {environment: lanes_of(columns, members) for environment, members in by_environment.items()}
        if sum(map(max, lanes.values())) + len(lanes) <= MAX_LANES:
            return _bars(columns, by_environment, lanes, axis)
    return _shades(columns, by_environment, axis)


def lanes_of(columns: Columns, rows: Sequence[int]) -> Sequence[int]:
    """Return a lane for each row, the first that is free: rows that overlap in time have different lanes."""
    ends: list[float] = []
    lanes = []
    for row in rows:
        began = columns.began[row]
        lane = next((number for number, end in enumerate(ends) if end <= began), len(ends))
        if lane == len(ends):
            ends.append(0.0)
        ends[lane] = columns.ended[row]
        lanes.append(lane)
    return lanes


def _bars(
    columns: Columns, by_environment: Mapping[int, Sequence[int]], lanes: Mapping[int, Sequence[int]], axis: TimeAxis
) -> Timeline:
    rows = []
    for environment, members in by_environment.items():
        bars = [
            Bar(
                left=(left := axis.percent(columns.began[row])),
                width=max(_LEAST_WIDTHS[columns.kind[row]], axis.percent(columns.ended[row]) - left),
                lane=lane,
                style=STYLES[columns.kind[row]],
                tooltip=describe(columns, row, axis),
            )
            for row, lane in zip(members, lanes[environment], strict=True)
        ]
        name = _name(columns, environment)
        figures = _figures(columns, members, axis, 1)
        rows.append(Row(short(name), name, figures, bars, max(lanes[environment]) + 1))
    return Timeline(rows, "Each bar is a segment, a part of one, or a failed attempt; hover over it for its numbers.")


def describe(columns: Columns, row: int, axis: TimeAxis) -> str:
    """Return a row in a sentence."""
    tries, parts, items = columns.tries[row], columns.parts[row], columns.items[row]
    after, took = columns.began[row] - axis.begin, columns.ended[row] - columns.began[row]
    texts = [
        f"segment {columns.segment[row]}: {KINDS[columns.kind[row]]}",
        f"from {duration_text(max(0.0, after))} for {duration_text(took)}",
    ]
    if columns.kind[row] == ATTEMPT:
        texts.append(f"attempt {tries}")
    elif tries > 1:
        texts.append(f"{tries} attempts")
    if parts > 1 or columns.kind[row] == PART:
        texts.append(f"{parts} parts" if columns.kind[row] in {DONE, FAILED} else f"part {parts}")
    if items != UNKNOWN:
        texts.append(f"{items:,} items")
    return ", ".join(texts)


def _shades(columns: Columns, by_environment: Mapping[int, Sequence[int]], axis: TimeAxis) -> Timeline:
    groups = _groups(list(by_environment))
    busy = [_busy(columns, [by_environment[environment] for environment in group], axis) for group in groups]
    highest = max((max(cells) for cells, _ in busy), default=0.0) or 1.0
    rows = []
    for number, (group, (cells, failed)) in enumerate(zip(groups, busy, strict=True)):
        members = [row for environment in group for row in by_environment[environment]]
        name = _name(columns, group[0]) if len(group) == 1 else f"{len(group)} execution environments"
        label = short(name) if len(group) == 1 else f"{number + 1}: {len(group)} env."
        shades = _paths(cells, failed, highest)
        rows.append(Row(label, name, _figures(columns, members, axis, len(group)), shades=shades))
    largest = max(map(len, groups))
    shared = f" Each row stands for up to {largest} execution environments." if largest > 1 else ""
    return Timeline(
        rows,
        f"A stronger color means more segments in flight per execution environment, at most {highest:.1f}. A mark at "
        f"the bottom of a cell is a failure.{shared}",
    )


def _groups(environments: Sequence[int]) -> Sequence[Sequence[int]]:
    """Return at most ``MAX_ROWS`` groups of about the same size, in the same order."""
    count = min(MAX_ROWS, len(environments))
    edges = [len(environments) * number // count for number in range(count + 1)]
    return [environments[first:last] for first, last in pairwise(edges)]


def _busy(columns: Columns, groups: Sequence[Sequence[int]], axis: TimeAxis) -> tuple[Sequence[float], Sequence[bool]]:
    """Return for each cell the mean number of rows in flight per environment, and whether one failed in it."""
    seconds, failed = array("d", bytes(8 * BINS)), [False] * BINS
    per_cell, begin = axis.seconds / BINS, axis.begin
    for rows in groups:
        for row in rows:
            start, end = columns.began[row] - begin, columns.ended[row] - begin
            first, last = axis.index(start + begin, BINS), axis.index(end + begin, BINS)
            if first == last:
                seconds[first] += end - start
            else:
                seconds[first] += (first + 1) * per_cell - start
                seconds[last] += end - last * per_cell
                for cell in range(first + 1, last):
                    seconds[cell] += per_cell
            if columns.kind[row] in {FAILED, ATTEMPT}:
                failed[last] = True
    return [value / per_cell / len(groups) for value in seconds], failed


def _paths(cells: Sequence[float], failed: Sequence[bool], highest: float) -> Mapping[str, str]:
    """Return a path for each shade: the cells in a grid of ``BINS`` x 10, neighbors of one shade joined."""
    levels = [0 if value <= 0 else max(1, min(SHADES, round(SHADES * value / highest))) for value in cells]
    paths: dict[str, str] = {}
    for style, keys, top in (("shade", levels, 0), ("failed", [int(value) for value in failed], 7)):
        begin = 0
        for cell in range(1, BINS + 1):
            if cell == BINS or keys[cell] != keys[begin]:
                if keys[begin]:
                    name = f"shade{keys[begin]}" if style == "shade" else style
                    width = cell - begin
                    paths[name] = paths.get(name, "") + f"M{begin} {top}h{width}V10h-{width}z"
                begin = cell
    return paths


def _figures(columns: Columns, rows: Sequence[int], axis: TimeAxis, environments: int) -> Sequence[str]:
    kinds = [columns.kind[row] for row in rows]
    failed, ended = kinds.count(ATTEMPT), kinds.count(DONE) + kinds.count(FAILED)
    begin = min(columns.began[row] for row in rows) - axis.begin
    end = max(columns.ended[row] for row in rows) - axis.begin
    mean = sum(columns.ended[row] - columns.began[row] for row in rows) / (end - begin or 1.0) / environments
    return (
        f"{ended:,}", f"{failed:,}", duration_text(max(0.0, begin)), duration_text(end), f"{mean:.1f}",
    )  # fmt: skip


def _name(columns: Columns, environment: int) -> str:
    return columns.environments[environment] or "unknown execution environment"
