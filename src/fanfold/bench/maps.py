"""Three heat maps of a sweep, as the picture and the page draw them: every tile's place, label and colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fanfold.bench.cells import OUT_OF_MEMORY, Cell, Setting
from fanfold.bench.result import Result
from fanfold.bench.summary import dollars

_CIVIDIS: Final = ("00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "e1cc55", "fee838")
"""Ten steps of the scale, from the least to the most; made for readers who see colours differently."""
_LIGHT: Final = 0.55
_LEAST_RATIO: Final = 1.5


@dataclass(frozen=True, slots=True)
class Tile:
    """One cell of a heat map."""

    cell: Cell
    """What was measured."""
    column: int
    """From the least memory."""
    row: int
    """From the highest concurrency."""
    label: tuple[str, ...]
    """The lines that are written in it: its number, or why it has none."""
    colour: str | None
    """``#rrggbb``; None for a cell without a number, which is hatched."""
    ink: Literal["dark", "light", ""]
    """What the label is written on."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """One measure of all cells."""

    name: str
    """Names it, in ids."""
    title: str
    """Names it, to a reader."""
    concurrencies: Sequence[int]
    """Of the rows, descending."""
    memories: Sequence[int]
    """Of the columns, ascending, MB."""
    tiles: Sequence[Tile]
    """Its cells."""
    frames: Sequence[tuple[str, Tile]]
    """Tiles with a frame: ``cheapest`` and ``fastest``, as far as there are."""
    frontier: Sequence[tuple[Tile, str]]
    """Tiles that ran out of memory, and the side, ``right`` or ``below``, where they have a neighbour that did not."""


@dataclass(frozen=True, slots=True)
class _Measure:
    name: str
    title: str
    value: Callable[[Cell], float | None]
    words: Callable[[float], str]
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
            (measure.words(values[cell.setting]),) if cell.setting in values else _why_none(cell),
            _colour(shades[cell.setting]) if cell.setting in values else None,
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
    )


def _why_none(cell: Cell) -> tuple[str, ...]:
    return ("out of", "memory") if cell.end == OUT_OF_MEMORY else ("-",) if cell.measured else (cell.end,)


def _frontier(tiles: Mapping[tuple[int, int], Tile]) -> Iterator[tuple[Tile, str]]:
    for (column, row), tile in tiles.items():
        if tile.cell.end == OUT_OF_MEMORY:
            for side, place in (("right", (column + 1, row)), ("below", (column, row + 1))):
                if place in tiles and tiles[place].cell.end != OUT_OF_MEMORY:
                    yield tile, side


def shade(values: Mapping[Setting, float], *, logarithmic: bool) -> dict[Setting, float]:
    """Return where each value stands between the least, 0, and the most, 1.

    Values that are all nearly the same get nearly the same colour: the scale spans at least a ratio of one and a half,
    or, where it is not logarithmic, half of the most. Where it is, equal ratios are equal steps.
    """
    placed = {key: math.log(max(value, 1e-12)) if logarithmic else value for key, value in values.items()}
    least, most = min(placed.values(), default=0.0), max(placed.values(), default=0.0)
    span = max(most - least, math.log(_LEAST_RATIO) if logarithmic else most / 2) or 1.0
    return {key: (value - least) / span for key, value in placed.items()}


def _colour(share: float) -> str:
    """Return the colour of a share from 0 to 1, between two steps of the scale."""
    place = share * (len(_CIVIDIS) - 1)
    first = min(int(place), len(_CIVIDIS) - 2)
    one, other = bytes.fromhex(_CIVIDIS[first]), bytes.fromhex(_CIVIDIS[first + 1])
    mixed = [round(a + (b - a) * (place - first)) for a, b in zip(one, other, strict=True)]
    return f"#{bytes(mixed).hex()}"
