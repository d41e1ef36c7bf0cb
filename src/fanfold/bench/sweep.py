"""A sweep: samples of every setting, in random order with interleaved repeats, so that drift affects all equally."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

from fanfold.bench.cells import MEASURED, OUT_OF_MEMORY, Cell, Grid, Sample, Setting, cells_of
from fanfold.bench.decide import cheapest, comparable, meets
from fanfold.bench.prices import Prices

Measure = Callable[[Setting, int], Sample]
"""Returns a sample of a setting; the second argument is the number of the repeat."""
Progress = Callable[[int, int, Setting], None]
"""Called before each sample: number of samples taken, number planned so far, the next setting."""


def sweep(grid: Grid, measure: Measure, prices: Prices, samples: list[Sample], progress: Progress) -> None:
    """Take the missing samples. After an exception, including Ctrl-C, ``samples`` has all samples taken so far.

    Args:
        grid: The settings to measure.
        measure: Returns a sample.
        prices: The prices that a search compares cells by.
        samples: The samples taken so far; new ones are appended.
        progress: Called before each sample.
    """
    for wave in _waves(grid, prices, samples):
        for setting, repeat in _order(wave, grid):
            if _missing(setting, repeat, samples):
                planned = len(samples) + sum(_missing(*pair, samples) for pair in _order(wave, grid))
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
        random.Random(f"{grid.seed}-{repeat}").shuffle(shuffled)  # noqa: S311 - reproducible
        for setting in shuffled:
            yield setting, repeat


def _missing(setting: Setting, repeat: int, samples: Iterable[Sample]) -> bool:
    """Return whether a sample is missing. A setting that ran out of memory or time is not measured again."""
    return all(sample.repeat != repeat and sample.end == MEASURED for sample in samples if sample.setting == setting)


_Rank = tuple[int, float, int]


def next_settings(
    concurrencies: Sequence[int], memories: Sequence[int], cells: Iterable[Cell], within_seconds: float | None = None
) -> list[Setting]:
    """Return the settings to measure next; none when the search is over.

    The search starts with the concurrencies and memories a quarter and three quarters along their axes. Then it
    measures all neighbors of the best cell. It ends if no neighbor is better, or if a cell whose cost is a tie has no
    unmeasured neighbors. On a surface with one valley per axis, the search finds the cheapest cell; with several
    valleys, a better cell may exist elsewhere. Settings that have at most the memory and at least the concurrency of
    one that ran out of memory are skipped.

    Args:
        concurrencies: Values of the concurrency, ascending.
        memories: Memory sizes in MB, ascending.
        cells: The cells measured so far.
        within_seconds: Maximum duration of a batch; None for no limit.
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
            near
            for near in _neighbors(setting, concurrencies, memories)
            if near not in known and not any(_hopeless(near, one) for one in killed)
        ]
        for setting in {best.setting, *(() if choice is None else choice.settings)}
    }
    return unmeasured[best.setting] if all(unmeasured.values()) else []


def _start(axis: Sequence[int]) -> list[int]:
    last = len(axis) - 1
    quarter = (last + 2) // 4
    return sorted({axis[quarter], axis[last - quarter]})


def _neighbors(setting: Setting, concurrencies: Sequence[int], memories: Sequence[int]) -> list[Setting]:
    def around(value: int, axis: Sequence[int]) -> Sequence[int]:
        place = min(range(len(axis)), key=lambda position: abs(axis[position] - value))
        return axis[max(0, place - 1) : place + 2]

    near = product(around(setting.concurrency, concurrencies), around(setting.memory_mb, memories))
    return [Setting(concurrency, memory) for concurrency, memory in near]


def _rank(cell: Cell, works: bool, within_seconds: float | None) -> _Rank:
    """Return the sort key of a cell: in time by cost, then late by duration, then failed by memory."""
    if works and meets(cell, within_seconds):
        return 0, cell.dollars_per_million, cell.setting.memory_mb
    if works:
        return 1, cell.batch_seconds.p95 if cell.batch_seconds else 0.0, cell.setting.memory_mb
    return 2, -cell.setting.memory_mb, cell.setting.concurrency


def _hopeless(setting: Setting, killed: Setting) -> bool:
    return setting.memory_mb <= killed.memory_mb and setting.concurrency >= killed.concurrency
