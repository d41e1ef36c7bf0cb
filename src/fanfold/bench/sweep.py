"""A sweep: samples of every setting, repeats interleaved in an order drawn by chance, so that drift hits all alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

from fanfold.bench.cells import MEASURED, OUT_OF_MEMORY, Cell, Grid, Sample, Setting, cells_of
from fanfold.bench.decide import cheapest, comparable, meets
from fanfold.bench.prices import Prices

Measure = Callable[[Setting, int], Sample]
"""Makes a sample of a setting, given which repeat it is."""
Progress = Callable[[int, int, Setting], None]
"""Told before each sample: samples made, samples planned so far, what comes next."""


def sweep(grid: Grid, measure: Measure, prices: Prices, samples: list[Sample], progress: Progress) -> None:
    """Measure what is not measured yet. An exception, Ctrl-C included, leaves what was measured in ``samples``.

    Args:
        grid: What to measure.
        measure: Makes a sample.
        prices: By which a search judges cells.
        samples: What was measured; grows.
        progress: Told before each sample.
    """
    for wave in _waves(grid, prices, samples):
        for setting, repeat in _order(wave, grid):
            if _wanted(setting, repeat, samples):
                planned = len(samples) + sum(_wanted(*each, samples) for each in _order(wave, grid))
                progress(len(samples), planned, setting)
                samples.append(measure(setting, repeat))


def _waves(grid: Grid, prices: Prices, samples: Sequence[Sample]) -> Iterator[list[Setting]]:
    if not grid.search:
        yield grid.settings
        return
    known = {sample.setting for sample in samples}
    yield sorted({*next_settings(grid.concurrencies, grid.memories, [], grid.within_seconds), *known, *grid.also})
    while wave := next_settings(grid.concurrencies, grid.memories, cells_of(samples, prices), grid.within_seconds):
        yield wave


def _order(settings: Sequence[Setting], grid: Grid) -> Iterator[tuple[Setting, int]]:
    for repeat in range(grid.repeats):
        shuffled = list(settings)
        random.Random(f"{grid.seed}-{repeat}").shuffle(shuffled)  # noqa: S311 - to be the same every time
        for setting in shuffled:
            yield setting, repeat


def _wanted(setting: Setting, repeat: int, samples: Iterable[Sample]) -> bool:
    """Tell whether a sample is missing; what ran out of memory or time once is not tried again."""
    of_it = [sample for sample in samples if sample.setting == setting]
    return all(sample.repeat != repeat and sample.end == MEASURED for sample in of_it)


_Rank = tuple[int, float, int]


def next_settings(
    concurrencies: Sequence[int], memories: Sequence[int], cells: Iterable[Cell], within_seconds: float | None = None
) -> list[Setting]:
    """Return the settings to measure next; none when the search is over.

    It begins with the concurrencies and memories a quarter and three quarters along their axes. Then it measures all
    neighbours of the best cell, until none is better, or one that costs the same within the noise has none left to
    measure. A surface with one valley per axis is searched right; one with several may have a better cell elsewhere.
    Settings that have at most the memory and at least the concurrency of one that ran out of memory are left out.

    Args:
        concurrencies: The axis, ascending.
        memories: The axis, ascending, MB.
        cells: What was measured.
        within_seconds: What a batch may take; None for as long as it likes.
    """
    known = {cell.setting: cell for cell in cells}
    if not known:
        return sorted({Setting(c, m) for c, m in product(_start(concurrencies), _start(memories))})
    killed = [cell.setting for cell in known.values() if cell.end == OUT_OF_MEMORY]
    works = {cell.setting for cell in comparable(known.values())}
    best = min(known.values(), key=lambda cell: _rank(cell, cell.setting in works, within_seconds))
    choice = cheapest(known.values(), within_seconds)
    unmeasured = {
        setting: [
            each
            for each in _neighbours(setting, concurrencies, memories)
            if each not in known and not any(_hopeless(each, one) for one in killed)
        ]
        for setting in {best.setting, *(() if choice is None else choice.settings)}
    }
    return unmeasured[best.setting] if all(unmeasured.values()) else []


def _start(axis: Sequence[int]) -> list[int]:
    last = len(axis) - 1
    quarter = (last + 2) // 4
    return sorted({axis[quarter], axis[last - quarter]})


def _neighbours(setting: Setting, concurrencies: Sequence[int], memories: Sequence[int]) -> list[Setting]:
    def around(value: int, axis: Sequence[int]) -> Sequence[int]:
        place = min(range(len(axis)), key=lambda position: abs(axis[position] - value))
        return axis[max(0, place - 1) : place + 2]

    near = product(around(setting.concurrency, concurrencies), around(setting.memory_mb, memories))
    return [Setting(concurrency, memory) for concurrency, memory in near]


def _rank(cell: Cell, works: bool, within_seconds: float | None) -> _Rank:
    """Return what makes a cell better, lowest first: in time and cheap, then fast, then whatever has more memory."""
    if works and meets(cell, within_seconds):
        return 0, cell.dollars_per_million, cell.setting.memory_mb
    if works:
        return 1, cell.batch_seconds.p95 if cell.batch_seconds else 0.0, cell.setting.memory_mb
    return 2, -cell.setting.memory_mb, cell.setting.concurrency


def _hopeless(setting: Setting, killed: Setting) -> bool:
    return setting.memory_mb <= killed.memory_mb and setting.concurrency >= killed.concurrency
