"""The self-adjusting limit reaches its goals on simulated services.

Here, with few seeds; ``benchmarks/concurrency_simulation.py`` runs more of them, and other limits.
"""

import pytest

from virtual_trials import (
    TRIALS,
    Trial,
    limit_of_computing_handlers,
    records_until_1_000_run,
    refused_of_a_fleet,
    run,
    seconds_of_small_batches,
    share_of_the_second,
    share_with_other_errors,
)

pytestmark = pytest.mark.uncounted


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_a_service_is_used_well_from_a_cold_start_and_later(trial: Trial):
    """Cold and warm, throughput and refused records, and no start before a Retry-After."""
    cold, warm = run(trial, seed=1)
    assert cold.reaches(trial.cold), cold
    assert warm is None or warm.reaches(trial.warm), warm


@pytest.mark.parametrize("cores", [1, 2])
def test_handlers_that_compute_run_about_as_many_as_there_are_cores(cores: int):
    """Their latency grows with the limit, and a drain shows it."""
    assert limit_of_computing_handlers(cores, seed=1) <= 2 * cores + 1


def test_without_a_limit_of_the_service_the_limit_of_the_process_is_reached_quickly():
    """It doubles with each latency."""
    assert records_until_1_000_run(seed=1) <= 1_000


def test_processes_that_start_together_fail_few_records():
    """Twenty execution environments start with ten records each, on a service of room 50."""
    assert refused_of_a_fleet(seed=1, records=2_000) <= 2


@pytest.mark.parametrize(("late", "sigma", "lowest"), [(0, 0, 40), (1, 0, 40), (5, 0, 40), (1, 0.5, 20)])
def test_two_functions_share_a_service(late: float, sigma: float, lowest: float):
    """Neither of them takes it all, whichever starts first."""
    assert lowest <= share_of_the_second(seed=1, late=late, sigma=sigma, seconds=12) <= 100 - lowest


def test_batches_of_ten_take_about_as_long_as_with_a_fixed_limit_of_ten():
    """The ideal is 500 latencies of up to 22 ms."""
    assert seconds_of_small_batches(seed=1) <= 11.5


def test_other_errors_do_not_change_the_limit():
    """Their latencies are no samples, and they are not a sign of overload."""
    assert share_with_other_errors(seed=1) >= 90
