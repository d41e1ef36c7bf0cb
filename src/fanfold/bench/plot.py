"""A sweep as one picture: heat maps of throughput, cost and memory, with a number in each cell."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Final

from fanfold.bench.maps import HeatMap, Tile, heat_maps
from fanfold.bench.result import Result
from fanfold.bench.summary import sentences
from fanfold.errors import ConfigurationError, MissingExtraError

_LETTERS_PER_INCH: Final = 9
_LEGEND: Final = "(solid frame: cheapest; dotted: fastest)"


def draw(result: Result, file: Path) -> None:
    """Draw the heat maps into a PNG file.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        ConfigurationError: If the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("bench", "--png") from error
    maps = heat_maps(result)
    size = max(4.2, 2.2 + 0.85 * len(maps[0].memories)) * len(maps), 2.4 + 0.5 * len(maps[0].concurrencies)
    figure = Figure(figsize=size, layout="constrained")
    for axes, heat_map in zip(figure.subplots(1, len(maps)), maps, strict=True):
        _map(axes, heat_map)
    recommendation = textwrap.fill(sentences(result)[0], int(size[0] * _LETTERS_PER_INCH))
    figure.suptitle(f"{result.workload.handler}\n{recommendation}", fontsize=11)
    try:
        figure.savefig(file, format="png", dpi=110)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error


def _map(axes: Any, heat_map: HeatMap) -> None:
    for tile in heat_map.tiles:
        axes.add_patch(_square(tile, facecolor=tile.colour or "white", edgecolor="white"))
        if tile.colour is None:
            axes.add_patch(_square(tile, fill=False, edgecolor="0.6", hatch="////", linewidth=0))
        box = None if tile.colour else {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ink = "white" if tile.ink == "dark" else "black"
        text = "\n".join(tile.label)
        axes.text(tile.column, tile.row, text, ha="center", va="center", fontsize=8, color=ink, bbox=box)
    for name, tile in heat_map.frames:
        inset, style = (0.04, "-") if name == "cheapest" else (0.1, ":")
        axes.add_patch(_square(tile, inset, fill=False, edgecolor="white", linewidth=4))
        axes.add_patch(_square(tile, inset, fill=False, edgecolor="red", linewidth=2, linestyle=style))
    for column, row in heat_map.adjusting:
        axes.plot(column + 0.38, row, marker="D", markersize=8, color="red", markeredgecolor="white")
    axes.set_xlim(-0.5, len(heat_map.memories) - 0.5)
    axes.set_ylim(len(heat_map.concurrencies) - 0.5, -0.5)
    axes.set_xticks(range(len(heat_map.memories)), [f"{memory:,}" for memory in heat_map.memories], fontsize=9)
    axes.set_yticks(range(len(heat_map.concurrencies)), list(map(str, heat_map.concurrencies)), fontsize=9)
    legend = "(solid: cheapest; dotted: fastest; diamond: auto)" if heat_map.adjusting else _LEGEND
    axes.set_xlabel(f"memory, MB  {legend}", fontsize=8)
    axes.set_ylabel("concurrent handlers", fontsize=9)
    axes.set_title(heat_map.title, fontsize=11)


def _square(tile: Tile, inset: float = 0.0, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    side = 1 - 2 * inset
    return Rectangle((tile.column - 0.5 + inset, tile.row - 0.5 + inset), side, side, **style)
