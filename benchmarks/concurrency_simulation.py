"""The self-adjusting concurrency limit on simulated services, in virtual time: its goals and its results.

::

    python benchmarks/concurrency_simulation.py [services|sharing] [--seeds 16] [--json FILE]

It takes about a minute per 16 seeds, and no time passes in it. A cell is the throughput in percent of the ideal and the
refused records in percent, each of the worst seed. The exit code is 1 if a goal is missed. If the package
adaptive-concurrency is installed, its ``Controller`` runs in the same simulation, one record per batch, with the same
first and highest limit; it waits for a Retry-After, as its rate limiter does. Services marked with * were not used to
choose the constants of the algorithm. ``tests/support/virtual_trials.py`` defines the services.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from measure import Rows, installed, main, table
from virtual_consumers import FixedLimit, TooManyRequestsError, auto_limit
from virtual_trials import (
    TRIALS,
    Goal,
    MakeLimit,
    Result,
    limit_of_computing_handlers,
    records_until_1_000_run,
    refused_of_a_fleet,
    run,
    seconds_of_small_batches,
    share_of_the_second,
    share_with_other_errors,
)

MOST_RECORDS = 1_000
"""Goal for the records until the limit is 1,000."""
Seeds: TypeAlias = Annotated[int, "seeds of each trial; the worst one counts"]


class AdaptiveConcurrency:
    """The ``Controller`` of the package adaptive-concurrency as a limit of a simulated consumer."""

    def __init__(self) -> None:
        from adaptive_concurrency.adaptive import (  # type: ignore[import-not-found] # not installed with fanfold
            AdaptiveConfig,
            Controller,
            Observation,
        )

        self._observation = Observation
        self._controller = Controller(AdaptiveConfig(batch_size=1, workers=10, max_workers=1_000, max_batch_size=1))
        self._settings: dict[float, Any] = {}
        self._not_before = -math.inf
        self.workers: int = 10

    def batch_starts(self) -> None:
        """Do nothing."""

    def wait(self, now: float, running: int) -> float:  # noqa: ARG002 - see Limit
        """Return the seconds until the time that the service stated."""
        return max(0.0, self._not_before - now)

    def started(self, now: float, running: int) -> float:  # noqa: ARG002 - see Limit
        """Note the setting under which a record starts, and let each start ask."""
        self._settings[now] = self._controller.setting
        return -math.inf

    def ended(self, started_at: float, now: float, value: object, running: int) -> bool:  # noqa: ARG002 - see Limit
        """Let the controller observe a record."""
        is_refused = isinstance(value, TooManyRequestsError)
        self._controller.observe(
            self._observation(self._settings[started_at], 1, now - started_at, ok=not is_refused, size_fault=is_refused)
        )
        if isinstance(value, TooManyRequestsError) and (seconds := value.headers.get("Retry-After")):
            self._not_before = max(self._not_before, now + float(seconds))
        self.workers = self._controller.setting.workers
        return True


def limits() -> dict[str, MakeLimit]:
    """Return the limits to compare with, by the titles of their columns."""
    compared: dict[str, MakeLimit] = {"fixed 10": lambda _: FixedLimit(10)}
    if installed("adaptive_concurrency"):
        compared["adaptive-concurrency"] = lambda _: AdaptiveConcurrency()
    return compared


def cell(results: Sequence[Result]) -> str:
    """Return the lowest throughput and the most refused records."""
    return f"{min(r.share for r in results):.0f} / {max(r.refused for r in results):.2f}"


def goal_cell(goal: Goal | None) -> str:
    """Return a goal in the same form."""
    return "-" if goal is None else f"{goal.share:g} / {goal.refused:g}"


def each_reached(rows: Rows) -> bool:
    """Return whether every goal is reached."""
    return all(row["reached"] == "yes" for row in rows)


@table(holds=each_reached)
def services(*, seeds: Seeds = 16) -> Rows:
    """Throughput and refused records, from a cold start and warm."""
    rows = []
    for trial in TRIALS:
        results = [run(trial, seed) for seed in range(seeds)]
        cold = [first for first, _ in results]
        warm = [second for _, second in results if second is not None]
        reached = all(r.reaches(trial.cold) for r in cold) and all(r.reaches(trial.warm) for r in warm)
        rows.append(
            {
                "service": trial.name + ("*" if trial.held_out else ""),
                "goal": goal_cell(trial.cold),
                "cold": cell(cold),
                "goal warm": goal_cell(trial.warm),
                "warm": cell(warm) if warm else "-",
                "reached": "yes" if reached else "no",
                **{
                    name: cell([run(trial, seed, make)[0] for seed in range(min(seeds, 4))])
                    for name, make in limits().items()
                },
            }
        )
    return rows


@table(holds=each_reached)
def sharing(*, seeds: Seeds = 8) -> Rows:
    """Handlers that compute, processes and functions that share a service, small batches, and other errors."""
    numbers = range(seeds)

    def row(name: str, goal: str, values: Sequence[float], reached: bool) -> dict[str, Any]:
        return {
            "trial": name,
            "goal": goal,
            "lowest": round(min(values), 2),
            "highest": round(max(values), 2),
            "reached": "yes" if reached else "no",
        }

    rows = []
    for cores in (1, 2):
        measured = [limit_of_computing_handlers(cores, seed) for seed in numbers]
        rows.append(row(f"limit of handlers that compute, {cores} cores", f"<= {2 * cores + 1}", measured,
                        max(measured) <= 2 * cores + 1))  # fmt: skip
    measured = [records_until_1_000_run(seed) for seed in numbers]
    rows.append(row("records until the limit is 1,000", "<= 1,000", measured, max(measured) <= MOST_RECORDS))
    shares = [refused_of_a_fleet(seed) for seed in numbers]
    rows.append(row("% refused of 20 processes that start together", "<= 1", shares, max(shares) <= 1))
    for sigma, lowest in ((0.0, 40), (0.5, 20)):
        for late in (0, 1, 5):
            shares = [share_of_the_second(seed, late=late, sigma=sigma) for seed in numbers]
            within = lowest <= min(shares) and max(shares) <= 100 - lowest
            name = f"% of the second function, {late} s late, sigma {sigma:g}"
            rows.append(row(name, f"{lowest} to {100 - lowest}", shares, within))
    fixed = [seconds_of_small_batches(seed, lambda _: FixedLimit(10)) for seed in numbers]
    ratios = [100 * seconds_of_small_batches(seed, auto_limit) / fixed[seed] for seed in numbers]
    rows.append(row("% of the time of a fixed 10, 500 batches of 10", "<= 105", ratios, max(ratios) <= 105))  # noqa: PLR2004 - the goal beside it
    shares = [share_with_other_errors(seed) for seed in numbers]
    rows.append(row("% of the ideal, 30 % other errors", ">= 90", shares, min(shares) >= 90))  # noqa: PLR2004 - the goal beside it
    return rows


if __name__ == "__main__":
    main(services, sharing)
