"""From samples to cells."""

import pytest

from bench_cells import PRICES, sample
from fanfold.bench.cells import FAILED, OUT_OF_MEMORY, TIMED_OUT, Setting, Spread, cells_of


def test_percentiles_are_by_nearest_rank():
    """They are measured durations, without interpolation."""
    assert Spread.of([float(n) for n in range(1, 101)]) == Spread(50.0, 95.0, 99.0, 100.0)
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0, 3.0)
    assert Spread.of([]) is None
    assert Spread.over([]) is None


def test_over_repeats_percentiles_are_medians_and_the_maximum_is_the_overall_maximum():
    """One bad repeat does not change the median, but its slowest record is shown."""
    spreads = [Spread(1, 2, 3, 4), Spread(1, 2, 3, 90), Spread(9, 9, 9, 9)]
    assert Spread.over(spreads) == Spread(1, 2, 3, 90)


def test_a_cell_is_the_median_of_its_repeats():
    """Throughput and cost for each repeat; batch durations over all repeats."""
    (cell,) = cells_of(
        [sample(10, 512, repeat=n, seconds=seconds) for n, seconds in enumerate((2.0, 4.0, 2.5))], PRICES
    )
    assert cell.records_per_second == 80.0
    assert cell.repeats == 3
    assert cell.batch_seconds is not None
    assert cell.batch_seconds.most == 2.0
    assert cell.throttled_share == pytest.approx(0.1)
    assert cell.peak_memory_mb == 42.0
    assert cell.record_seconds is not None
    assert cell.record_seconds.most == pytest.approx(0.032)


def test_the_cost_is_that_of_its_batches_divided_by_the_acknowledged_records():
    """Two invocations of one second at 1 GB, for 100 records that succeeded."""
    (cell,) = cells_of([sample(10, 1024, records=200, failed=100)], PRICES)
    assert cell.dollars_per_million == pytest.approx((2 * 0.0000166667 + 2 * 0.20 / 1e6) / 100 * 1e6)
    assert cell.failed_share == 0.5
    assert cell.records_per_second == 50.0


def test_a_cell_in_which_every_record_failed_is_not_measured():
    """Without acknowledged records, it has no throughput and no cost."""
    (cell,) = cells_of([sample(10, 1024, failed=200)], PRICES)
    assert (cell.end, cell.reason) == (FAILED, "every record failed")
    assert not cell.measured


def test_the_tolerance_is_at_least_two_percent_for_waiting_and_ten_for_computing():
    """Depending on the share of its CPU that it used."""
    waits, computes = sample(1, 1769, cpu_seconds=0.9), sample(1, 3008, cpu_seconds=1.0)
    assert cells_of([waits], PRICES)[0].tolerance == 0.02
    assert cells_of([computes], PRICES)[0].tolerance == 0.10
    assert cells_of([sample(1, 128, cpu_seconds=0.08)], PRICES)[0].tolerance == 0.10


def test_a_large_spread_of_the_repeats_makes_the_tolerance_larger():
    """Twice their median distance from the median. A single outlier does not."""

    def tolerance(*seconds: float) -> float:
        return cells_of([sample(1, 128, repeat=n, seconds=time) for n, time in enumerate(seconds)], PRICES)[0].tolerance

    assert tolerance(1.0, 2.0, 4.0) == pytest.approx(2 * 50 / 100)
    assert tolerance(2.0, 2.0, 2.0, 2.0, 9.0) == 0.02


def test_a_cell_is_out_of_memory_if_one_of_its_repeats_was():
    """A setting that is sometimes killed cannot be recommended."""
    samples = [sample(1, 128), sample(1, 128, repeat=1, end=OUT_OF_MEMORY), sample(2, 128, end=TIMED_OUT)]
    cells = cells_of(samples, PRICES)
    assert [(cell.setting, cell.end, cell.kills) for cell in cells] == [
        (Setting(1, 128), OUT_OF_MEMORY, 1),
        (Setting(2, 128), TIMED_OUT, 0),
    ]
    assert cells[1].repeats == 0
