"""The order of a sweep, and resuming one."""

import pytest

from bench_cells import PRICES, sample
from fanfold.bench.cells import OUT_OF_MEMORY, Grid, Sample, Setting
from fanfold.bench.sweep import sweep

SMALL = Grid((1, 10), (128, 512), repeats=3, seed=4)


class Measured:
    """Records the order of samples. Runs out of memory for some settings, or is interrupted, as configured."""

    def __init__(self, killed: set[Setting] | None = None, stop_after: int = 10**6) -> None:
        self.order: list[tuple[Setting, int]] = []
        self.progressed: list[tuple[int, int]] = []
        self._killed, self._stop_after = killed or set(), stop_after

    def __call__(self, setting: Setting, repeat: int) -> Sample:
        if len(self.order) == self._stop_after:
            raise KeyboardInterrupt
        self.order.append((setting, repeat))
        end = OUT_OF_MEMORY if setting in self._killed else "measured"
        return sample(setting.concurrency, setting.memory_mb, repeat=repeat, end=end)

    def progress(self, done: int, planned: int, setting: Setting) -> None:
        self.progressed.append((done, planned))


def test_every_setting_is_measured_once_in_each_round():
    """Repeats are interleaved, so that drift of the machine affects all settings equally."""
    measured = Measured()
    sweep(SMALL, measured, PRICES, [], measured.progress)
    rounds = [measured.order[first : first + 4] for first in (0, 4, 8)]
    for number, settings in enumerate(rounds):
        assert {setting for setting, _ in settings} == set(SMALL.settings)
        assert {repeat for _, repeat in settings} == {number}
    assert measured.progressed[0] == (0, 12)
    assert measured.progressed[-1] == (11, 12)


def test_the_seed_determines_the_order():
    """Equal seeds give equal orders, which differ from the order of the grid."""
    one, same, other = Measured(), Measured(), Measured()
    sweep(SMALL, one, PRICES, [], one.progress)
    sweep(SMALL, same, PRICES, [], same.progress)
    sweep(Grid((1, 10), (128, 512), repeats=3, seed=5), other, PRICES, [], other.progress)
    assert one.order == same.order
    assert one.order != other.order


def test_a_setting_that_ran_out_of_memory_is_not_measured_again():
    """One kill is sufficient."""
    measured = Measured(killed={Setting(10, 128)})
    sweep(SMALL, measured, PRICES, [], measured.progress)
    assert sum(setting == Setting(10, 128) for setting, _ in measured.order) == 1
    assert len(measured.order) == 10


def test_an_interrupted_sweep_keeps_its_samples_and_can_be_resumed():
    """Both parts together take every sample once."""
    first, second = Measured(stop_after=5), Measured()
    samples: list[Sample] = []
    with pytest.raises(KeyboardInterrupt):
        sweep(SMALL, first, PRICES, samples, first.progress)
    assert len(samples) == 5
    sweep(SMALL, second, PRICES, samples, second.progress)
    assert len({(taken.setting, taken.repeat) for taken in samples}) == len(samples) == 12
    assert set(first.order).isdisjoint(second.order)


def test_the_present_setting_is_measured_in_addition_to_the_grid():
    """The saving is computed from it."""
    measured = Measured()
    grid = Grid((1,), (128,), also=(Setting(7, 640),), repeats=1)
    sweep(grid, measured, PRICES, [], measured.progress)
    assert {setting for setting, _ in measured.order} == {Setting(1, 128), Setting(7, 640)}


def test_a_search_measures_a_part_of_the_grid():
    """All samples are equally fast, so the smallest memory is the cheapest, and the search ends there."""
    grid = Grid((1, 10, 50, 100, 200), (128, 256, 512, 1024, 1769, 3008), repeats=2, search=True)
    measured = Measured()
    samples: list[Sample] = []
    sweep(grid, measured, PRICES, samples, measured.progress)
    settings = {taken.setting for taken in samples}
    assert len(settings) < len(grid.settings) * 0.7
    assert {setting.memory_mb for setting in settings} >= {128, 256}
    resumed = Measured()
    sweep(grid, resumed, PRICES, samples, resumed.progress)
    assert resumed.order == []
