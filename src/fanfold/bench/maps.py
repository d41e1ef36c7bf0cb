"""The three heat maps of a sweep, for the picture and the page: the place, label and color of every tile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fanfold.bench.cells import MEASURED, OUT_OF_MEMORY, Cell, Setting
from fanfold.bench.result import Result
from fanfold.bench.summary import dollars

_CIVIDIS: Final = ("00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "e1cc55", "fee838")
"""Ten steps of the color scale, from minimum to maximum. The scale is readable with color vision deficiency."""
_LIGHT: Final = 0.55
_MIN_RATIO: Final = 1.5


@dataclass(frozen=True, slots=True)
class Tile:
    """One cell of a heat map."""

    cell: Cell
    """The measurements."""
    column: int
    """Number of the column, by ascending memory."""
    row: int
    """Number of the row, by descending concurrency."""
    label: tuple[str, ...]
    """The lines of its text: the number, or the reason that there is none."""
    color: str | None
    """``#rrggbb``; None for a cell without a number, which is hatched."""
    ink: Literal["dark", "light", ""]
    """Brightness of the color behind the label."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """One measure of all cells."""

    name: str
    """Its name in ids."""
    title: str
    """Its title."""
    concurrencies: Sequence[int]
    """Concurrency of each row, descending."""
    memories: Sequence[int]
    """Memory of each column in MB, ascending."""
    tiles: Sequence[Tile]
    """The tiles."""
    frames: Sequence[tuple[str, Tile]]
    """Tiles with a frame: ``cheapest`` and ``fastest``, if they exist."""
    frontier: Sequence[tuple[Tile, str]]
    """Tiles that ran out of memory, and the side, ``right`` or ``below``, of a neighbor that did not."""
    adjusting: Sequence[tuple[int, float]]
    """Column and row of each limit that adjusted itself; between two rows if its concurrency is between theirs."""


@dataclass(frozen=True, slots=True)
class _Measure:
    name: str
    title: str
    value: Callable[[Cell], float | None]
    format: Callable[[float], str]
    logarithmic: bool = True


_MEASURES: Final = (
    _Measure("speed", "Records per second", lambda cell: cell.records_per_second, "{:,.0f}".format),
    _Measure("cost", "Cost of a million records", lambda cell: cell.dollars_per_million, dollars),
    _Measure(
        "memory", "Peak memory, MB", lambda cell: cell.peak_memory_mb, lambda value: f"{value:.0f}", logarithmic=False
    ),
)


def heat_maps(result: Result) -> list[HeatMap]:
    """Return the maps of a sweep: throughput, cost and memory."""
    cells = result.cells
    concurrencies = sorted({cell.setting.concurrency for cell in cells}, reverse=True)
    memories = sorted({cell.setting.memory_mb for cell in cells})
    return [_heat_map(measure, result, sorted(cells, key=_setting), concurrencies, memories) for measure in _MEASURES]


def _setting(cell: Cell) -> Setting:
    return cell.setting


def _heat_map(
    measure: _Measure, result: Result, cells: Sequence[Cell], concurrencies: Sequence[int], memories: Sequence[int]
) -> HeatMap:
    values = {cell.setting: value for cell in cells if cell.measured and (value := measure.value(cell)) is not None}
    shades = shade(values, logarithmic=measure.logarithmic)
    tiles = {
        cell.setting: Tile(
            cell,
            memories.index(cell.setting.memory_mb),
            concurrencies.index(cell.setting.concurrency),
            (measure.format(values[cell.setting]),) if cell.setting in values else _missing_label(cell),
            _color(shades[cell.setting]) if cell.setting in values else None,
            "" if cell.setting not in values else "dark" if shades[cell.setting] < _LIGHT else "light",
        )
        for cell in cells
    }
    chosen = ("cheapest", result.findings.cheapest), ("fastest", result.findings.fastest)
    return HeatMap(
        measure.name,
        measure.title,
        concurrencies,
        memories,
        list(tiles.values()),
        frames=[(name, tiles[choice.best.setting]) for name, choice in chosen if choice is not None],
        frontier=list(_frontier({(tile.column, tile.row): tile for tile in tiles.values()})),
        adjusting=[
            (memories.index(sample.setting.memory_mb), row_of(sample.setting.concurrency, concurrencies))
            for sample in result.adjusting
            if sample.end == MEASURED and sample.setting.memory_mb in memories
        ],
    )


def row_of(concurrency: int, descending: Sequence[int]) -> float:
    """Return the row of a concurrency, on a logarithmic scale between two rows; the first or last one beyond them."""
    for row, (higher, lower) in enumerate(itertools.pairwise(descending)):
        if concurrency >= lower:
            return row + min(1.0, max(0.0, math.log(higher / concurrency) / math.log(higher / lower)))
    return len(descending) - 1.0


def _missing_label(cell: Cell) -> tuple[str, ...]:
    return ("out of", "memory") if cell.end == OUT_OF_MEMORY else ("-",) if cell.measured else (cell.end,)


def _frontier(tiles: Mapping[tuple[int, int], Tile]) -> Iterator[tuple[Tile, str]]:
    for (column, row), tile in tiles.items():
        if tile.cell.end == OUT_OF_MEMORY:
            for side, place in (("right", (column + 1, row)), ("below", (column, row + 1))):
                if place in tiles and tiles[place].cell.end != OUT_OF_MEMORY:
                    yield tile, side


def shade(values: Mapping[Setting, float], *, logarithmic: bool) -> dict[Setting, float]:
    """Return the position of each value between the minimum, 0, and the maximum, 1.

    Nearly equal values get nearly the same color: a logarithmic scale, on which equal ratios are equal steps, spans at
    least a ratio of 1.5; a linear scale spans at least half of the maximum.
    """
    placed = {key: math.log(max(value, 1e-12)) if logarithmic else value for key, value in values.items()}
    least, most = min(placed.values(), default=0.0), max(placed.values(), default=0.0)
    span = max(most - least, math.log(_MIN_RATIO) if logarithmic else most / 2) or 1.0
    return {key: (value - least) / span for key, value in placed.items()}


def _color(share: float) -> str:
    """Return the color of a position from 0 to 1, interpolated between two steps of the scale."""
    place = share * (len(_CIVIDIS) - 1)
    first = min(int(place), len(_CIVIDIS) - 2)
    one, other = bytes.fromhex(_CIVIDIS[first]), bytes.fromhex(_CIVIDIS[first + 1])
    mixed = [round(a + (b - a) * (place - first)) for a, b in zip(one, other, strict=True)]
    return f"#{bytes(mixed).hex()}"
