"""From samples to cells."""

import pytest

from bench_cells import PRICES, sample
from fanfold.bench.cells import FAILED, OUT_OF_MEMORY, TIMED_OUT, Setting, Spread, cells_of


def test_percentiles_are_by_nearest_rank():
    """They are durations that were measured, none in between."""
    assert Spread.of([float(n) for n in range(1, 101)]) == Spread(50.0, 95.0, 99.0, 100.0)
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0, 3.0)
    assert Spread.of([]) is None
    assert Spread.over([]) is None


def test_over_repeats_percentiles_are_medians_and_the_longest_is_the_longest():
    """One bad repeat does not move the median, but its longest record shows."""
    spreads = [Spread(1, 2, 3, 4), Spread(1, 2, 3, 90), Spread(9, 9, 9, 9)]
    assert Spread.over(spreads) == Spread(1, 2, 3, 90)


def test_a_cell_is_the_median_of_its_repeats():
    """Throughput and cost by repeat; batches of all repeats together."""
    (found,) = cells_of(
        [sample(10, 512, repeat=n, seconds=seconds) for n, seconds in enumerate((2.0, 4.0, 2.5))], PRICES
    )
    assert found.records_per_second == 80.0
    assert found.repeats == 3
    assert found.batch_seconds is not None
    assert found.batch_seconds.most == 2.0
    assert found.throttled_share == pytest.approx(0.1)
    assert found.peak_memory_mb == 42.0
    assert found.record_seconds is not None
    assert found.record_seconds.most == pytest.approx(0.032)


def test_the_cost_is_the_bill_of_its_batches_shared_by_what_was_acknowledged():
    """Two invocations of one second at 1 GB, for 100 records that succeeded."""
    (found,) = cells_of([sample(10, 1024, records=200, failed=100)], PRICES)
    assert found.dollars_per_million == pytest.approx((2 * 0.0000166667 + 2 * 0.20 / 1e6) / 100 * 1e6)
    assert found.failed_share == 0.5
    assert found.records_per_second == 50.0


def test_a_cell_of_which_everything_came_back_is_not_measured():
    """Nothing acknowledged is no throughput, and no cost."""
    (found,) = cells_of([sample(10, 1024, failed=200)], PRICES)
    assert (found.end, found.reason) == (FAILED, "every record came back")
    assert not found.measured


def test_the_tolerance_is_at_least_two_percent_where_it_waits_and_ten_where_it_computes():
    """By the CPU it used of what it had."""
    waits, computes = sample(1, 1769, cpu_seconds=0.9), sample(1, 3008, cpu_seconds=1.0)
    assert cells_of([waits], PRICES)[0].tolerance == 0.02
    assert cells_of([computes], PRICES)[0].tolerance == 0.10
    assert cells_of([sample(1, 128, cpu_seconds=0.08)], PRICES)[0].tolerance == 0.10


def test_repeats_far_apart_make_the_tolerance_larger():
    """Twice their median distance from the median; one that is far off alone does not."""

    def tolerance(*seconds: float) -> float:
        return cells_of([sample(1, 128, repeat=n, seconds=each) for n, each in enumerate(seconds)], PRICES)[0].tolerance

    assert tolerance(1.0, 2.0, 4.0) == pytest.approx(2 * 50 / 100)
    assert tolerance(2.0, 2.0, 2.0, 2.0, 9.0) == 0.02


def test_one_repeat_that_ran_out_of_memory_makes_the_cell_so():
    """A cell that is sometimes killed is no cell to use."""
    samples = [sample(1, 128), sample(1, 128, repeat=1, end=OUT_OF_MEMORY), sample(2, 128, end=TIMED_OUT)]
    found = cells_of(samples, PRICES)
    assert [(each.setting, each.end, each.kills) for each in found] == [
        (Setting(1, 128), OUT_OF_MEMORY, 1),
        (Setting(2, 128), TIMED_OUT, 0),
    ]
    assert found[1].repeats == 0
