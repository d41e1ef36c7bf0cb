"""The search for the cheapest cell."""

from bench_cells import cell, dead
from fanfold.bench.cells import Setting
from fanfold.bench.sweep import next_settings

AXES = (1, 10, 50, 100, 200), (128, 256, 512, 1024, 1769)


def test_the_search_starts_with_four_cells_between_the_middle_and_the_corners():
    """At a quarter and three quarters along each axis."""
    assert next_settings(*AXES, []) == [Setting(10, 256), Setting(10, 1024), Setting(100, 256), Setting(100, 1024)]
    assert next_settings((7,), (128,), []) == [Setting(7, 128)]
    assert next_settings((1, 2, 3, 4), (128,), []) == [Setting(2, 128), Setting(3, 128)]


def test_then_all_neighbours_of_the_best_are_measured():
    """Except those that were measured."""
    settings = next_settings(*AXES, [cell(100, 256, cost=1.0), cell(10, 256, cost=2.0)])
    assert len(settings) == 8
    assert Setting(200, 128) in settings
    assert Setting(100, 256) not in settings


def test_the_search_ends_if_no_neighbor_is_better_than_the_noise():
    """One of several ties has no unmeasured neighbors, so the neighbors of the others are not measured either."""
    flat = [
        cell(concurrency, memory, cost=1.0 + concurrency / 1e5) for concurrency in (1, 10, 50) for memory in AXES[1]
    ]
    assert next_settings(*AXES, flat) == []
    assert next_settings(*AXES, flat[:6]) != []


def test_cells_that_cannot_fit_are_skipped():
    """Those with at most the memory and at least the concurrency of a cell that ran out of memory."""
    settings = next_settings(*AXES, [cell(100, 512, cost=1.0), dead(100, 256)])
    assert Setting(200, 256) not in settings
    assert Setting(50, 256) in settings


def test_a_cell_in_time_is_better_than_any_late_one():
    """Among late cells, the search continues from the fastest."""
    late, later = cell(10, 256, cost=0.1, batch_p95=5.0), cell(10, 1024, cost=0.1, batch_p95=9.0)
    assert Setting(10, 1024) not in next_settings(*AXES, [late, later], within_seconds=1.0)
    assert Setting(1, 128) in next_settings(*AXES, [late, later], within_seconds=1.0)
    in_time = cell(100, 1024, cost=9.0, batch_p95=0.5)
    assert Setting(200, 1769) in next_settings(*AXES, [late, later, in_time], within_seconds=1.0)


def test_if_all_cells_run_out_of_memory_the_search_tries_more_memory():
    """From the cell with the largest memory and the lowest concurrency."""
    assert Setting(1, 1769) in next_settings(*AXES, [dead(10, 256), dead(10, 1024), dead(100, 1024)])
