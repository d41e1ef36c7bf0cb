"""A sweep as one picture: heat maps of throughput, cost and memory, each cell with its number written in it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Final

from fanfold.bench.cells import OUT_OF_MEMORY, Cell
from fanfold.bench.maps import MAPS, Map, shade
from fanfold.bench.result import Result
from fanfold.bench.words import sentences
from fanfold.errors import ConfigurationError, MissingExtraError

__all__ = ["draw"]

_COLOURS: Final = "cividis"
"""Made for readers who see colours differently; light and dark follow the value in grey, too."""
_LIGHT: Final = 0.55
_LETTERS_AN_INCH: Final = 9


def draw(result: Result, file: Path) -> None:
    """Draw the maps into a PNG.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        ConfigurationError: If the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("bench", "--png") from error
    concurrencies = sorted({cell.setting.concurrency for cell in result.cells})
    memories = sorted({cell.setting.memory_mb for cell in result.cells})
    width = 2.2 + 0.85 * len(memories)
    figure = Figure(figsize=(max(4.2, width) * len(MAPS), 2.4 + 0.5 * len(concurrencies)), layout="constrained")
    for axes, drawn in zip(figure.subplots(1, len(MAPS)), MAPS, strict=True):
        _map(axes, result, concurrencies, memories, drawn)
        axes.set_title(drawn.title, fontsize=11)
    told = textwrap.fill(sentences(result)[0], int(figure.get_size_inches()[0] * _LETTERS_AN_INCH))
    figure.suptitle(f"{result.workload.handler}\n{told}", fontsize=11)
    try:
        figure.savefig(file, format="png", dpi=110)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error


def _map(axes: Any, result: Result, concurrencies: list[int], memories: list[int], drawn: Map) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    known = {
        cell.setting: number for cell in result.cells if cell.measured and (number := drawn.value(cell)) is not None
    }
    shades, colours = shade(known, logarithmic=drawn.logarithmic), colormaps[_COLOURS]
    for cell in result.cells:
        x, y = memories.index(cell.setting.memory_mb), concurrencies.index(cell.setting.concurrency)
        share = shades.get(cell.setting)
        face = colours(share) if share is not None else "white"
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor="white"))
        if not cell.measured:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="0.6", hatch="////", linewidth=0))
        text = drawn.words(known[cell.setting]) if cell.setting in known else _why(cell)
        dark = share is not None and share < _LIGHT
        box = None if cell.measured else {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if dark else "black", bbox=box)
    _frames(axes, result, concurrencies, memories)
    axes.set_xlim(-0.5, len(memories) - 0.5)
    axes.set_ylim(-0.5, len(concurrencies) - 0.5)
    axes.set_xticks(range(len(memories)), [f"{each:,}" for each in memories], fontsize=9)
    axes.set_yticks(range(len(concurrencies)), [str(each) for each in concurrencies], fontsize=9)
    axes.set_xlabel("memory, MB  (solid frame: cheapest; dotted: fastest)", fontsize=8)
    axes.set_ylabel("handlers at once", fontsize=9)


def _frames(axes: Any, result: Result, concurrencies: list[int], memories: list[int]) -> None:
    from matplotlib.patches import Rectangle

    found = result.findings
    for choice, style, inset in ((found.cheapest, "-", 0.04), (found.fastest, ":", 0.1)):
        if choice is not None:
            best, side = choice.best.setting, 1 - 2 * inset
            corner = (
                memories.index(best.memory_mb) - 0.5 + inset,
                concurrencies.index(best.concurrency) - 0.5 + inset,
            )
            axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="white", linewidth=4))
            axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="red", linewidth=2, linestyle=style))


def _why(cell: Cell) -> str:
    return "out of\nmemory" if cell.end == OUT_OF_MEMORY else cell.end.replace(" ", "\n")
