"""A sweep as one picture: heat maps of throughput, cost and memory, with a number in each cell."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fanfold.bench.maps import HeatMap, Tile, heat_maps
from fanfold.bench.result import Result
from fanfold.bench.summary import sentences
from fanfold.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LETTERS_PER_INCH: Final = 11
_LEGEND: Final = "(solid frame: cheapest; dotted: fastest)"
_MAX_ROW_INCHES: Final = 15.0
"""Width up to which the maps are drawn in one row; wider ones are drawn below each other."""
_FEW_COLUMNS: Final = 3
_AXIS_INCHES: Final = 1.2, 1.4
"""Space for the labels of the axes and the title of a map: width and height."""


def draw(result: Result, file: Path) -> None:
    """Draw the heat maps into a PNG file.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        ConfigurationError: If the file cannot be written.
    """
    figure = figure_of(result)
    try:
        figure.savefig(file, format="png", dpi=110)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error


def figure_of(result: Result) -> Figure:
    """Return the heat maps: in one row, or below each other if they are wide.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("bench", "--png") from error
    maps = heat_maps(result)
    width, height = _map_inches(len(maps[0].memories), len(maps[0].concurrencies))
    columns = len(maps) if len(maps) * width <= _MAX_ROW_INCHES else 1
    rows = len(maps) // columns
    letters = int(columns * width * _LETTERS_PER_INCH)
    title = [*textwrap.wrap(result.workload.handler, letters), *textwrap.wrap(sentences(result)[0], letters)]
    figure = Figure(figsize=(columns * width, rows * height + 0.3 * len(title)), layout="constrained")
    for axes, heat_map in zip(figure.subplots(rows, columns, squeeze=False).flat, maps, strict=True):
        _map(axes, heat_map)
    figure.suptitle("\n".join(title), fontsize=11)
    return figure


def _map_inches(columns: int, rows: int) -> tuple[float, float]:
    """Return the width and height of a map; the cells of a small sweep are larger."""
    wide, high = max(0.95, min(1.9, 3.6 / columns)), max(0.5, min(0.9, 2.4 / rows))
    return max(4.6, columns * wide + _AXIS_INCHES[0]), max(2.6, rows * high + _AXIS_INCHES[1])


def _map(axes: Any, heat_map: HeatMap) -> None:
    size = 12 if len(heat_map.memories) <= _FEW_COLUMNS else 9
    for tile in heat_map.tiles:
        axes.add_patch(_square(tile, facecolor=tile.color or "white", edgecolor="white"))
        if tile.color is None:
            axes.add_patch(_square(tile, fill=False, edgecolor="0.6", hatch="////", linewidth=0))
        box = None if tile.color else {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ink = "white" if tile.ink == "dark" else "black"
        text = "\n".join(tile.label)
        axes.text(tile.column, tile.row, text, ha="center", va="center", fontsize=size, color=ink, bbox=box)
    for name, tile in heat_map.frames:
        inset, style = (0.04, "-") if name == "cheapest" else (0.1, ":")
        axes.add_patch(_square(tile, inset, fill=False, edgecolor="white", linewidth=4))
        axes.add_patch(_square(tile, inset, fill=False, edgecolor="red", linewidth=2, linestyle=style))
    for column, row in heat_map.adjusting:
        axes.plot(column + 0.38, row, marker="D", markersize=8, color="red", markeredgecolor="white")
    axes.set_xlim(-0.5, len(heat_map.memories) - 0.5)
    axes.set_ylim(len(heat_map.concurrencies) - 0.5, -0.5)
    memories = [f"{memory:,}" for memory in heat_map.memories]
    concurrencies = [f"{concurrency:,}" for concurrency in heat_map.concurrencies]
    axes.set_xticks(range(len(memories)), memories, fontsize=9)
    axes.set_yticks(range(len(concurrencies)), concurrencies, fontsize=9)
    legend = "(solid: cheapest; dotted: fastest; diamond: auto)" if heat_map.adjusting else _LEGEND
    axes.set_xlabel(f"memory, MB  {legend}", fontsize=9)
    axes.set_ylabel("concurrent handlers", fontsize=9)
    axes.set_title(heat_map.title, fontsize=11)


def _square(tile: Tile, inset: float = 0.0, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    side = 1 - 2 * inset
    return Rectangle((tile.column - 0.5 + inset, tile.row - 0.5 + inset), side, side, **style)
