"""The settings that a sweep is to measure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from fanfold.bench.cells import Setting


@dataclass(frozen=True, slots=True)
class Grid:
    """What is to be measured."""

    concurrencies: tuple[int, ...]
    """Ascending."""
    memories: tuple[int, ...]
    """Ascending, MB."""
    also: tuple[Setting, ...] = ()
    """Settings beside the grid: the present one."""
    repeats: int = 5
    """Samples of each setting."""
    seed: int = 0
    """Of the order."""
    search: bool = False
    """Whether to look for the cheapest cell in a fraction of the grid."""
    within_seconds: float | None = None
    """What a batch may take, for the search."""

    @property
    def settings(self) -> list[Setting]:
        """The whole grid."""
        pairs = (Setting(concurrency, memory) for concurrency, memory in product(self.concurrencies, self.memories))
        return sorted({*pairs, *self.also})
