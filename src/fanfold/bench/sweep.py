"""A sweep: samples of every setting, repeats interleaved in an order drawn by chance, so that drift hits all alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from fanfold.bench.cells import MEASURED, Sample, Setting, cells_of
from fanfold.bench.grid import Grid
from fanfold.bench.prices import Prices
from fanfold.bench.search import next_settings

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
