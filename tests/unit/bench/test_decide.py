"""The findings from the cells of a sweep."""

import math
from dataclasses import replace

import pytest

from bench_cells import cell, dead
from fanfold.bench.cells import FAILED
from fanfold.bench.decide import (
    Choice,
    agreement,
    cheapest,
    comparable,
    enough,
    fastest,
    findings,
    frontier,
    knee,
    meets,
    pareto,
    saving,
    tied,
)


def test_the_cheapest_cell_is_a_clear_choice_if_no_other_is_within_the_noise():
    """The difference exceeds the noise."""
    choice = cheapest([cell(1, 128, speed=10, cost=2.0), cell(10, 128, speed=100, cost=1.0)])
    assert choice is not None
    assert choice.best.setting.concurrency == 10
    assert choice.clear


def test_cells_within_the_noise_of_the_best_are_ties_best_first():
    """A cell outside the noise is not a tie."""
    cells = [cell(1, 128, cost=1.0), cell(2, 128, cost=1.015), cell(3, 128, cost=1.01), cell(4, 128, cost=1.5)]
    choice = cheapest(cells)
    assert choice is not None
    assert not choice.clear
    assert [tie.setting.concurrency for tie in choice.ties] == [3, 2]


def test_the_noise_of_either_cell_makes_a_tie():
    """A noisy cell may be as good as a precise one with a better median."""
    choice = cheapest([cell(1, 128, cost=1.0, tolerance=0.02), cell(2, 128, cost=1.2, tolerance=0.2)])
    assert choice is not None
    assert not choice.clear


def test_a_cell_that_is_too_slow_is_never_recommended():
    """95 of 100 batches must meet ``--within``."""
    slow, fast = cell(1, 128, cost=1.0, batch_p95=9.0), cell(1, 512, cost=3.0, batch_p95=1.0)
    assert cheapest([slow, fast], within_seconds=2.0) == Choice(fast, ())
    assert cheapest([slow, fast], within_seconds=0.5) is None


def test_a_cell_without_batches_meets_no_time_limit():
    """It only meets the absence of a limit."""
    empty = replace(cell(1, 128), batch_seconds=None)
    assert meets(empty, None)
    assert not meets(empty, 10.0)


def test_the_fastest_cell_has_the_highest_throughput():
    """Its cost does not matter."""
    choice = fastest([cell(1, 128, speed=10, cost=0.1), cell(10, 3008, speed=90, cost=9.0)])
    assert choice is not None
    assert choice.best.setting.memory_mb == 3008


def test_without_measured_cells_nothing_is_recommended():
    """Cells that ran out of memory are not measured."""
    assert fastest([dead(1, 128)]) is None
    assert cheapest([]) is None
    assert knee([]) is None


def test_a_cell_in_which_records_fail_that_succeed_elsewhere_is_not_comparable():
    """Failures that all cells share do not matter."""
    failing, sound = cell(200, 128, cost=1.0, failed=0.05), cell(10, 128, cost=2.0, failed=0.01)
    assert comparable([failing, sound, dead(1, 64, end=FAILED)]) == [sound]


def test_the_pareto_front_leaves_out_cells_that_are_more_expensive_and_not_faster():
    """Cheapest first, each faster than the previous one."""
    front = pareto([
        cell(1, 128, speed=10, cost=1), cell(2, 128, speed=20, cost=2), cell(3, 128, speed=15, cost=3),
        cell(4, 128, speed=30, cost=4),
    ])  # fmt: skip
    assert [cell.setting.concurrency for cell in front] == [1, 2, 4]


def test_the_knee_is_where_the_front_bends():
    """First ten times as fast for twice the cost, then hardly faster for twice the cost."""
    front = [cell(1, 128, speed=10, cost=1), cell(2, 128, speed=100, cost=2), cell(3, 128, speed=110, cost=4)]
    bend = knee(front)
    assert bend is not None
    assert bend.setting.concurrency == 2


@pytest.mark.parametrize(
    "speeds_and_costs", [[(10, 1), (20, 2)], [(10, 1), (20, 2), (40, 4)], [(10, 1), (11, 2), (100, 4)]]
)
def test_a_straight_or_convex_front_has_no_knee(speeds_and_costs: list[tuple[float, float]]):
    """Two cells are not a curve. If speed costs proportionally, the front has no bend."""
    assert knee([cell(n, 128, speed=speed, cost=cost) for n, (speed, cost) in enumerate(speeds_and_costs, 1)]) is None


def test_a_bend_within_the_noise_is_not_a_knee():
    """A knee is faster than the cheapest cell and cheaper than the fastest one."""
    no_faster = [cell(1, 128, speed=100, cost=1), cell(2, 128, speed=101.5, cost=1.1), cell(3, 128, speed=102, cost=9)]
    no_cheaper = [cell(1, 128, speed=10, cost=1), cell(2, 128, speed=99, cost=1.99), cell(3, 128, speed=100, cost=2)]
    assert knee(no_faster) is None
    assert knee(no_cheaper) is None


def test_the_frontier_has_for_each_concurrency_the_insufficient_and_the_sufficient_memory():
    """The largest insufficient memory, and the smallest larger one that is sufficient."""
    rows = frontier([cell(10, 128), dead(100, 128), dead(100, 256), cell(100, 512), cell(100, 1024), dead(200, 512)])
    assert [(row.concurrency, row.killed_at_mb, row.fits_from_mb) for row in rows] == [
        (10, None, 128),
        (100, 256, 512),
        (200, 512, None),
    ]


def test_a_saving_is_a_share_of_the_present_cost():
    """Half the cost is a saving of 0.5."""
    reduction = saving(cell(1, 512, cost=4.0), cell(1, 128, cost=2.0))
    assert reduction.share == 0.5
    assert reduction.certain


def test_a_saving_within_the_noise_is_not_certain():
    """One percent is below the tolerance."""
    assert not saving(cell(1, 512, cost=1.0), cell(1, 128, cost=0.99)).certain


def test_two_sweeps_agree_if_they_recommend_the_same_setting():
    """Also if neither recommends a setting."""
    one, other = cheapest([cell(1, 128, cost=1.0)]), cheapest([cell(1, 128, cost=5.0)])
    assert agreement(one, other).kind == "agree"
    assert agreement(None, None).kind == "agree"


def test_two_sweeps_cannot_tell_if_the_choice_of_one_is_a_tie_in_the_other():
    """A tie in either sweep is sufficient."""
    both = cheapest([cell(1, 128, cost=1.0), cell(2, 128, cost=1.01)])
    turned = cheapest([cell(1, 128, cost=1.01), cell(2, 128, cost=1.0)])
    clear = cheapest([cell(2, 128, cost=1.0)])
    assert agreement(both, turned).kind == "cannot tell"
    assert agreement(both, clear).kind == "cannot tell"
    assert agreement(clear, both).kind == "cannot tell"


def test_two_sweeps_differ_if_neither_choice_is_a_tie_in_the_other():
    """Two different clear choices, or only one choice."""
    one, other = cheapest([cell(1, 128)]), cheapest([cell(2, 128)])
    assert agreement(one, other).kind == "differ"
    assert agreement(one, None).kind == "differ"


def test_findings_include_the_saving_over_the_present_setting():
    """Only if the present setting was measured."""
    cells = [cell(1, 128, cost=1.0), cell(1, 512, cost=4.0)]
    conclusions = findings(cells, present=cells[1].setting)
    assert conclusions.saving is not None
    assert conclusions.saving.share == 0.75
    assert findings(cells).saving is None
    assert findings([*cells, dead(9, 64)], present=dead(9, 64).setting).saving is None


def test_without_a_recommendation_no_saving_is_reported():
    """The only measured cell is the present setting, which is too slow."""
    only = cell(1, 128, batch_p95=9.0)
    assert findings([only], within_seconds=1.0, present=only.setting).saving is None


def test_a_number_is_tied_to_itself_and_not_to_twice_it():
    """The tolerance is a share of the larger number."""
    assert tied(2.0, 2.0, 0.0)
    assert not tied(1.0, 2.0, 0.49)
    assert tied(1.0, 2.0, 0.5)


def test_a_front_of_nearly_equal_costs_has_no_knee():
    """Costs with equal logarithms do not cause a division by zero."""
    costs = [1e9, math.nextafter(1e9, 2e9), math.nextafter(math.nextafter(1e9, 2e9), 2e9)]
    assert knee([cell(n, 128, speed=n, cost=cost) for n, cost in enumerate(costs, 1)]) is None


def test_the_sufficient_concurrency_is_the_lowest_that_is_as_fast_as_any():
    """For each memory. Killed cells are ignored."""
    cells = [
        cell(10, 128, speed=100), cell(50, 128, speed=101), dead(100, 128),
        cell(10, 512, speed=100), cell(50, 512, speed=300), cell(100, 512, speed=500), dead(1, 64),
    ]  # fmt: skip
    assert [str(setting) for setting in enough(cells)] == ["10 at 128 MB", "100 at 512 MB"]
    assert enough([]) == []
