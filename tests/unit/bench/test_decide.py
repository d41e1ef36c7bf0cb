"""What follows from the cells of a sweep."""

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


def test_the_cheapest_cell_costs_the_least_and_is_clear_when_no_other_is_near():
    """A difference beyond the noise is a clear choice."""
    choice = cheapest([cell(1, 128, speed=10, cost=2.0), cell(10, 128, speed=100, cost=1.0)])
    assert choice is not None
    assert choice.best.setting.concurrency == 10
    assert choice.clear


def test_cells_within_the_noise_of_the_best_are_ties_best_first():
    """What cannot be told apart is not told apart."""
    cells = [cell(1, 128, cost=1.0), cell(2, 128, cost=1.015), cell(3, 128, cost=1.01), cell(4, 128, cost=1.5)]
    choice = cheapest(cells)
    assert choice is not None
    assert not choice.clear
    assert [tie.setting.concurrency for tie in choice.ties] == [3, 2]


def test_the_noise_of_either_cell_makes_a_tie():
    """A noisy cell may be as good as a quiet one that measured better."""
    choice = cheapest([cell(1, 128, cost=1.0, tolerance=0.02), cell(2, 128, cost=1.2, tolerance=0.2)])
    assert choice is not None
    assert not choice.clear


def test_a_cell_that_is_too_slow_is_not_recommended_however_cheap():
    """``--within`` is met in 95 of 100 batches, or not at all."""
    slow, fast = cell(1, 128, cost=1.0, batch_p95=9.0), cell(1, 512, cost=3.0, batch_p95=1.0)
    assert cheapest([slow, fast], within_seconds=2.0) == Choice(fast, ())
    assert cheapest([slow, fast], within_seconds=0.5) is None


def test_without_batches_no_time_is_met():
    """What has no duration is in time only if no time is asked for."""
    empty = replace(cell(1, 128), batch_seconds=None)
    assert meets(empty, None)
    assert not meets(empty, 10.0)


def test_the_fastest_cell_has_the_highest_throughput():
    """Cost plays no part in it."""
    choice = fastest([cell(1, 128, speed=10, cost=0.1), cell(10, 3008, speed=90, cost=9.0)])
    assert choice is not None
    assert choice.best.setting.memory_mb == 3008


def test_nothing_measured_is_nothing_recommended():
    """Cells that ran out of memory are no choice, and never slow ones."""
    assert fastest([dead(1, 128)]) is None
    assert cheapest([]) is None
    assert knee([]) is None


def test_a_cell_in_which_records_come_back_that_succeed_elsewhere_is_no_choice():
    """A cheap cell that loses time to failures is not cheap; failures that all cells share do not matter."""
    failing, sound = cell(200, 128, cost=1.0, failed=0.05), cell(10, 128, cost=2.0, failed=0.01)
    assert comparable([failing, sound, dead(1, 64, end=FAILED)]) == [sound]


def test_the_pareto_front_leaves_out_what_is_dearer_and_not_faster():
    """Cheapest first, each faster than the one before."""
    front = pareto([
        cell(1, 128, speed=10, cost=1), cell(2, 128, speed=20, cost=2), cell(3, 128, speed=15, cost=3),
        cell(4, 128, speed=30, cost=4),
    ])  # fmt: skip
    assert [each.setting.concurrency for each in front] == [1, 2, 4]


def test_the_knee_is_where_the_front_bends():
    """Ten times as fast for twice the cost, then twice the cost for next to nothing."""
    front = [cell(1, 128, speed=10, cost=1), cell(2, 128, speed=100, cost=2), cell(3, 128, speed=110, cost=4)]
    found = knee(front)
    assert found is not None
    assert found.setting.concurrency == 2


@pytest.mark.parametrize(
    "speeds_and_costs", [[(10, 1), (20, 2)], [(10, 1), (20, 2), (40, 4)], [(10, 1), (11, 2), (100, 4)]]
)
def test_a_straight_or_hollow_front_has_no_knee(speeds_and_costs: list[tuple[float, float]]):
    """Two cells make no curve, and where speed costs in proportion there is no bend."""
    assert knee([cell(n, 128, speed=speed, cost=cost) for n, (speed, cost) in enumerate(speeds_and_costs, 1)]) is None


def test_a_bend_within_the_noise_is_no_knee():
    """No faster than the cheapest, or no cheaper than the fastest, is nothing to stop at."""
    no_faster = [cell(1, 128, speed=100, cost=1), cell(2, 128, speed=101.5, cost=1.1), cell(3, 128, speed=102, cost=9)]
    no_cheaper = [cell(1, 128, speed=10, cost=1), cell(2, 128, speed=99, cost=1.99), cell(3, 128, speed=100, cost=2)]
    assert knee(no_faster) is None
    assert knee(no_cheaper) is None


def test_the_frontier_says_for_each_concurrency_what_was_too_little_and_what_enough():
    """The most that was too little, and the least above it that was enough."""
    rows = frontier([cell(10, 128), dead(100, 128), dead(100, 256), cell(100, 512), cell(100, 1024), dead(200, 512)])
    assert [(row.concurrency, row.killed_at_mb, row.fits_from_mb) for row in rows] == [
        (10, None, 128),
        (100, 256, 512),
        (200, 512, None),
    ]


def test_a_saving_is_a_share_of_the_present_cost():
    """Half the cost is a saving of a half."""
    found = saving(cell(1, 512, cost=4.0), cell(1, 128, cost=2.0))
    assert found.share == 0.5
    assert found.certain


def test_a_saving_within_the_noise_is_not_certain():
    """One percent is none."""
    assert not saving(cell(1, 512, cost=1.0), cell(1, 128, cost=0.99)).certain


def test_two_sweeps_agree_when_they_recommend_the_same():
    """Also when neither recommends anything."""
    one, other = cheapest([cell(1, 128, cost=1.0)]), cheapest([cell(1, 128, cost=5.0)])
    assert agreement(one, other).kind == "agree"
    assert agreement(None, None).kind == "agree"


def test_two_sweeps_cannot_tell_when_one_allows_for_what_the_other_recommends():
    """Noise on either side is enough."""
    both = cheapest([cell(1, 128, cost=1.0), cell(2, 128, cost=1.01)])
    turned = cheapest([cell(1, 128, cost=1.01), cell(2, 128, cost=1.0)])
    clear = cheapest([cell(2, 128, cost=1.0)])
    assert agreement(both, turned).kind == "cannot tell"
    assert agreement(both, clear).kind == "cannot tell"
    assert agreement(clear, both).kind == "cannot tell"


def test_two_sweeps_differ_when_neither_allows_for_the_other():
    """Two clear choices that are not the same, or one choice and none."""
    one, other = cheapest([cell(1, 128)]), cheapest([cell(2, 128)])
    assert agreement(one, other).kind == "differ"
    assert agreement(one, None).kind == "differ"


def test_findings_name_what_the_present_setting_would_save():
    """Only if the present setting was measured."""
    cells = [cell(1, 128, cost=1.0), cell(1, 512, cost=4.0)]
    found = findings(cells, present=cells[1].setting)
    assert found.saving is not None
    assert found.saving.share == 0.75
    assert findings(cells).saving is None
    assert findings([*cells, dead(9, 64)], present=dead(9, 64).setting).saving is None


def test_nothing_is_saved_where_nothing_is_recommended():
    """A present setting alone, and too slow, has nothing to be held against."""
    only = cell(1, 128, batch_p95=9.0)
    assert findings([only], within_seconds=1.0, present=only.setting).saving is None


def test_a_number_is_tied_to_itself_and_not_to_twice_it():
    """By a share of the larger one."""
    assert tied(2.0, 2.0, 0.0)
    assert not tied(1.0, 2.0, 0.49)
    assert tied(1.0, 2.0, 0.5)


def test_a_front_of_costs_that_are_next_to_the_same_has_no_knee():
    """Numbers so near that their logarithms are one do not divide by nothing."""
    costs = [1e9, math.nextafter(1e9, 2e9), math.nextafter(math.nextafter(1e9, 2e9), 2e9)]
    assert knee([cell(n, 128, speed=n, cost=cost) for n, cost in enumerate(costs, 1)]) is None


def test_as_many_handlers_as_help_are_enough():
    """For each memory the fewest that are as fast as any there; what was killed has no part in it."""
    cells = [
        cell(10, 128, speed=100), cell(50, 128, speed=101), dead(100, 128),
        cell(10, 512, speed=100), cell(50, 512, speed=300), cell(100, 512, speed=500), dead(1, 64),
    ]  # fmt: skip
    assert [str(setting) for setting in enough(cells)] == ["10 at 128 MB", "100 at 512 MB"]
    assert enough([]) == []
