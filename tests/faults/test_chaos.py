"""Whole jobs in a simulated cloud with many concurrent failures: each commits one exact output.

``python benchmarks/chaos.py`` runs 500 of them, and compares them with a hand-written counter.
"""

from collections import Counter

import pytest

from depth import by_depth
from trials.cloud import Cloud, simulated
from trials.faults import MANY, NOTHING, SOME, Troubles
from trials.job import Ended, fanfold_trial
from trials.naive import naive_trial

KINDS = {
    "calls that take long",
    "clocks that are wrong",
    "duplicate deliveries",
    "half-failed calls",
    "jumps of time",
    "execution environments that die",
    "sends accepted in part",
    "throttled calls",
}


def run(seed: int, troubles: Troubles) -> Ended:
    async def trial(cloud: Cloud) -> Ended:
        return await fanfold_trial(cloud, seed)

    return simulated(trial, seed, troubles)


# Slow: many simulated runs. Each kind of failure occurs in the first two.
@pytest.mark.parametrize(
    ("troubles", "trials"),
    [(NOTHING, 3), (SOME, by_depth(5, 10)), pytest.param(MANY, by_depth(10, 25), marks=pytest.mark.slow)],
    ids=["nothing", "some", "many"],
)
def test_under_any_failures_each_run_commits_one_exact_output(troubles: Troubles, trials: int):
    """One end in each generation, one output in the last one, an exact run report, and empty queues."""
    ended = {seed: run(seed, troubles) for seed in range(trials)}
    assert {seed: trial.problems for seed, trial in ended.items() if trial.problems} == {}
    if troubles is MANY:
        assert set(sum((trial.injected for trial in ended.values()), Counter())) == KINDS


def test_the_same_seed_gives_the_same_trial():
    """A trial that fails can be repeated and examined."""
    first, second = run(6, MANY), run(6, MANY)
    assert (first.injected, first.generations, first.duplicates) == (
        second.injected,
        second.generations,
        second.duplicates,
    )


def test_a_hand_written_counter_is_right_without_failures():
    """The comparison is fair: the counter fails because of injected failures, not because of bugs."""

    async def trial(cloud: Cloud) -> str:
        return await naive_trial(cloud, 1)

    assert simulated(trial, 1, NOTHING) == "right"
