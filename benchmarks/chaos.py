"""Complete runs under many simultaneous faults: how many commit one exact output, compared with a hand-made counter.

::

    python benchmarks/chaos.py [--trials 500] [--json FILE]
    python benchmarks/chaos.py --stack --trials 50 [--json FILE]

By default, each trial is a simulated job of 5 to 40 segments, up to three of them broken, in a separate simulated cloud
(``tests/support/trials``): scatter, process, handle dead letters, fold, fix, redrive. It is compared with the same work
with an atomic counter (``trials/naive.py``), with the same fault rates. With ``--stack``, runs use the local AWS: their
workers are killed with SIGKILL, and half of the segments are sent twice.

The exit code is 1 if a run of fanfold did not end with one exact output.
"""

import asyncio
import logging
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Annotated, Any

from measure import Rows, installed, main, table
from trials.cloud import simulated
from trials.faults import MANY, NOTHING, SOME, Troubles
from trials.job import Ended, fanfold_trial
from trials.naive import EARLY, NEVER, RIGHT, TWICE, WRONG, naive_trial

AMOUNTS = {"nothing": NOTHING, "one in a hundred": SOME, "a lot": MANY}
SIMULATED, ON_THE_STACK = 500, 50
FANFOLD = "fanfold"


def ours(troubles: Troubles, seed: int) -> Ended:
    """Run a trial with fanfold."""
    logging.disable()
    return simulated(partial(fanfold_trial, seed=seed), seed, troubles)


def by_hand(troubles: Troubles, seed: int) -> str:
    """Run the same trial with a counter; return its result."""
    return simulated(partial(naive_trial, seed=seed), seed, troubles)


def simulate(trials: int) -> tuple[Rows, Rows, list[str]]:
    """Return the results of the trials, the faults injected into fanfold's, and the broken promises."""
    results: Rows = []
    faults: dict[str, Counter[str]] = {}
    problems: list[str] = []
    for name, troubles in AMOUNTS.items():
        with ProcessPoolExecutor() as processes:
            ended = list(processes.map(partial(ours, troubles), range(trials), chunksize=10))
            came = Counter(processes.map(partial(by_hand, troubles), range(trials), chunksize=10))
        failed = [f"{name}, seed {seed}: {trial.problems}" for seed, trial in enumerate(ended) if trial.problems]
        problems += failed
        # Problems of fanfold's runs are listed below the tables.
        how = {RIGHT: trials - len(failed), EARLY: None, TWICE: None, NEVER: None, WRONG: None}
        by_peer: dict[str, dict[str, int | None]] = {
            FANFOLD: how,
            "a counter by hand": {kind: came[kind] for kind in how},
        }
        results += [
            {"what goes wrong": name, "peer": peer, "trials": trials, **counts} for peer, counts in by_peer.items()
        ]
        faults[name] = sum((trial.injected for trial in ended), Counter[str]())
        faults[name]["(generations, in all)"] = sum(trial.generations for trial in ended)
        faults[name]["(segments that ended twice)"] = sum(trial.duplicates for trial in ended)
        faults[name]["(runs that waited for quarantined checks)"] = sum(trial.rescues > 0 for trial in ended)
    kinds = sorted(set().union(*faults.values()))
    return results, [{"fault": kind, **{name: faults[name][kind] for name in AMOUNTS}} for kind in kinds], problems


def kill(trials: int) -> tuple[Rows, Rows, list[str]]:
    """Return the results of the runs on the local AWS, and the broken promises."""
    from trials.kills import CONCURRENT_RUNS, deployed, kill_trials

    with deployed() as job:
        hits = asyncio.run(kill_trials(job, trials, seed=2013))
    problems = [f"{hit.run}: {hit.problems}" for hit in hits if hit.problems]
    row = {
        "peer": FANFOLD,
        "what goes wrong": "SIGKILL, segments sent twice",
        "trials": trials,
        RIGHT: trials - len(problems),
        "workers killed": sum(hit.killed for hit in hits[::CONCURRENT_RUNS]),
        "segments sent twice": sum(hit.duplicates for hit in hits),
    }
    return [row], [], problems


@table(
    *installed("ministack"),
    holds=lambda rows: all(row["trials"] == row[RIGHT] for row in rows if row["peer"] == FANFOLD),
)
def chaos(
    *,
    stack: Annotated[bool, "on the local AWS, with workers that are killed"] = False,
    trials: Annotated[int | None, f"runs ({SIMULATED}; with --stack {ON_THE_STACK})"] = None,
) -> dict[str, Any]:
    """Count exact outputs under many simultaneous faults."""
    logging.disable()
    results, faults, problems = kill(trials or ON_THE_STACK) if stack else simulate(trials or SIMULATED)
    for problem in problems:
        print(problem, file=sys.stderr)
    return {"results": results, "faults": faults, "problems": problems}


if __name__ == "__main__":
    main(chaos)
