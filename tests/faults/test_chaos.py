"""Whole jobs in a simulated cloud where much goes wrong at once: each commits one exact answer.

500 of them, and the counter that is written by hand beside them: ``python benchmarks/chaos.py``.
"""

from collections import Counter

import pytest

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


@pytest.mark.parametrize(
    ("troubles", "trials"), [(NOTHING, 3), (SOME, 10), (MANY, 25)], ids=["nothing", "some", "many"]
)
def test_whatever_goes_wrong_each_run_commits_one_exact_answer(troubles: Troubles, trials: int):
    """One end in each generation, one output in the last, an exact account, and empty queues."""
    ended = {seed: run(seed, troubles) for seed in range(trials)}
    assert {seed: each.problems for seed, each in ended.items() if each.problems} == {}
    if troubles is MANY:
        assert set(sum((each.injected for each in ended.values()), Counter())) == KINDS


def test_the_same_seed_gives_the_same_trial():
    """So that one that fails can be looked at."""
    first, second = run(6, MANY), run(6, MANY)
    assert (first.injected, first.generations, first.duplicates) == (
        second.injected,
        second.generations,
        second.duplicates,
    )


def test_a_counter_written_by_hand_is_right_when_nothing_goes_wrong():
    """What it is compared with is fair: it fails for the faults, not for itself."""

    async def trial(cloud: Cloud) -> str:
        return await naive_trial(cloud, 1)

    assert simulated(trial, 1, NOTHING) == "right"
