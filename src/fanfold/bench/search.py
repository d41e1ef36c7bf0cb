"""The search for the cheapest cell in a fraction of the cells: which ones to measure next, as decisions on values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from fanfold.bench.cells import OUT_OF_MEMORY, Cell, Setting
from fanfold.bench.decide import cheapest, comparable, meets

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
