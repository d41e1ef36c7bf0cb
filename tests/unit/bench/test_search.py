"""The search for the cheapest cell."""

from bench_cells import cell, dead
from fanfold.bench.cells import Setting
from fanfold.bench.sweep import next_settings

AXES = (1, 10, 50, 100, 200), (128, 256, 512, 1024, 1769)


def test_the_search_begins_with_four_cells_between_the_middle_and_the_corners():
    """A quarter and three quarters along each axis."""
    assert next_settings(*AXES, []) == [Setting(10, 256), Setting(10, 1024), Setting(100, 256), Setting(100, 1024)]
    assert next_settings((7,), (128,), []) == [Setting(7, 128)]
    assert next_settings((1, 2, 3, 4), (128,), []) == [Setting(2, 128), Setting(3, 128)]


def test_then_all_neighbours_of_the_best_are_measured():
    """Those that are known already are not."""
    wanted = next_settings(*AXES, [cell(100, 256, cost=1.0), cell(10, 256, cost=2.0)])
    assert len(wanted) == 8
    assert Setting(200, 128) in wanted
    assert Setting(100, 256) not in wanted


def test_the_search_ends_where_nothing_near_is_better_than_the_noise():
    """One of several that cost the same has no neighbour left: the others need none measured either."""
    flat = [cell(at_once, memory, cost=1.0 + at_once / 1e5) for at_once in (1, 10, 50) for memory in AXES[1]]
    assert next_settings(*AXES, flat) == []
    assert next_settings(*AXES, flat[:6]) != []


def test_cells_that_cannot_fit_are_left_out():
    """Less memory and more handlers than what ran out of memory needs no try."""
    wanted = next_settings(*AXES, [cell(100, 512, cost=1.0), dead(100, 256)])
    assert Setting(200, 256) not in wanted
    assert Setting(50, 256) in wanted


def test_a_cell_in_time_is_better_than_any_that_is_not():
    """Among those that are late the quickest leads on."""
    late, later = cell(10, 256, cost=0.1, batch_p95=5.0), cell(10, 1024, cost=0.1, batch_p95=9.0)
    assert Setting(10, 1024) not in next_settings(*AXES, [late, later], within_seconds=1.0)
    assert Setting(1, 128) in next_settings(*AXES, [late, later], within_seconds=1.0)
    in_time = cell(100, 1024, cost=9.0, batch_p95=0.5)
    assert Setting(200, 1769) in next_settings(*AXES, [late, later, in_time], within_seconds=1.0)


def test_when_everything_is_killed_it_goes_to_more_memory():
    """From the largest memory and the fewest handlers that were killed."""
    assert Setting(1, 1769) in next_settings(*AXES, [dead(10, 256), dead(10, 1024), dead(100, 1024)])
