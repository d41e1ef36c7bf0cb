"""An outage of the service that handlers call, in virtual time: with a backoff, Powertools' circuit breaker, and ours.

::

    python benchmarks/outages.py [show|grid] [--seeds 2] [--quick] [--json FILE]

Real consumers, and Powertools' real batch processor and circuit breaker, run in 20 simulated execution environments on
an in-memory queue. No time passes, so hours of outage take seconds; a seed always gives the same numbers, and a cell is
the worst of all seeds. ``tests/support/outage_world.py`` describes the simulation. ``show`` is one outage of 900 s with
5 receives; ``grid`` has outages of 10 s to 8 h. ``--quick`` uses a tenth of the messages, or fewer outages. The exit
code is 1 if a goal is missed.
"""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeAlias

import fanfold
from measure import Rows, installed, main, table
from fanfold.testing import make_event
from outage_breakers import run_with_breaker, with_backoff
from outage_powertools import powertools
from outage_report import Report, Scenario
from outage_services import Interval
from outage_world import run_world

Seeds: TypeAlias = Annotated[int, "number of seeds, from 1 on; the worst one counts"]
Quick: TypeAlias = Annotated[bool, "fewer messages and outages"]
Run: TypeAlias = Callable[[Scenario, int], Report]

SECONDS = 900.0
TITLE = "outage of 900 s, 5 receives"
MOST_MICROSECONDS = 0.5
"""Goal for the cost of a healthy record."""
OUTAGES = (10.0, 60.0, 300.0, 900.0, 3_600.0, 28_800.0)
RECEIVES = (3, 5, 10)
VISIBILITIES = (30.0, 3_600.0)


def ways() -> dict[str, Run]:
    """Return what runs in the execution environments, by column."""
    compared: dict[str, Run] = {"backoff": lambda scenario, seed: run_world(scenario, seed, with_backoff)}
    if installed("aws_lambda_powertools"):
        compared["Powertools"] = lambda scenario, seed: run_world(scenario, seed, powertools)
    return {**compared, "fanfold": run_with_breaker}


def outage(**changes: Any) -> Scenario:
    """Return the scenario of ``show`` with changes."""
    return replace(Scenario(down=(Interval(0.0, SECONDS),)), **changes)


def warm(messages: int) -> Scenario:
    """Return a scenario in which all messages are sent within 10 s, and the outage begins in the middle."""
    return outage(messages=messages, sent_over=10.0, down=(Interval(5.0, 5.0 + SECONDS),))


def worst(run: Run, scenario: Scenario, seeds: int, value: Callable[[Report], float]) -> float:
    """Return the highest value of all seeds."""
    return max(value(run(scenario, seed)) for seed in range(1, seeds + 1))


def healthy_dead(report: Report) -> float:
    """Return the number of healthy messages that are dead-lettered, or lost, or not done."""
    return len(report.healthy_dead) + len(report.lost) + len(report.unfinished_healthy)


def recovery(report: Report) -> float:
    """Return the seconds after the outage until all are done; infinity if some never are."""
    return math.inf if healthy_dead(report) else report.recovery


def calls(report: Report) -> float:
    """Return the calls of the service while it was down."""
    return report.calls_while_down


def row(
    title: str, scenario: Scenario, value: Callable[[Report], float], goal: float, seeds: int, peers: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a row of ``show``: the value of each way, and whether fanfold's reaches the goal."""
    measured = {
        name: worst(run, scenario, seeds, value) if name == "fanfold" or name in peers else None
        for name, run in ways().items()
    }
    cells = {
        name: "-" if number is None or math.isinf(number) else round(number, 2) for name, number in measured.items()
    }
    ours = measured["fanfold"]
    reached = ours is not None and ours <= goal
    return {TITLE: title, **cells, "goal": round(goal, 2), "reached": "yes" if reached else "no"}


def each_reached(rows: Rows) -> bool:
    """Return whether every goal is reached."""
    return all(row["reached"] == "yes" for row in rows)


@table("aws-lambda-powertools", holds=each_reached)
def show(*, seeds: Seeds = 2, quick: Quick = False) -> Rows:
    """Healthy messages lost, calls of the service, and recovery, for each way."""
    most = 100 if quick else 1_000
    both = ("backoff", "Powertools")
    cold = outage(messages=most)
    failing = replace(cold, down=(), failing=(Interval(0.0, SECONDS), 0.3), last="copy")
    spent = replace(cold, spent=3, last="copy")
    cold_goal = 4.5 * cold.environments
    rows = [
        row(f"healthy dead letters of {most:,}", cold, healthy_dead, 0, seeds, both),
        row("… 3 receives spent before, last='copy'", spent, healthy_dead, 0, seeds, both),
        row("… 30 % of calls fail, last='copy'", failing, healthy_dead, 0, seeds, both),
        row("calls while down, cold", cold, calls, cold_goal, seeds, both),
        row("calls while down, cold, hanging for 10 s", replace(cold, hangs=10.0), calls, cold_goal, seeds, both),
        row("calls while down beyond those in flight and probes, warm", warm(most),
            lambda report: report.calls_while_down - report.in_flight_at_outage - report.probes, 0, seeds),
        row("late calls beyond probes, cold", cold, lambda report: report.late_calls - report.probes, 0, seeds),
    ]  # fmt: skip
    for messages, share in ((1_000, 1 / 20), (100, 1 / 4), (20, 1.0)):
        if messages <= most:
            goal = max(60.0, SECONDS * share)
            rows.append(
                row(f"s until all done, {messages:,} messages", outage(messages=messages), recovery, goal, seeds)
            )
    for messages in (most, 20):
        scenario = outage(messages=messages, tick=True)
        rows.append(row(f"s until all done, {messages:,} messages, tick", scenario, recovery, SECONDS / 10, seeds))
    healthy = outage(messages=most, down=())
    rows += [
        row("reads beyond cold starts, healthy", healthy,
            lambda report: report.counts["reads"] - report.counts["cold starts"], 0, seeds),
        row("writes, healthy", healthy, lambda report: report.counts["writes"], 0, seeds, ("Powertools",)),
        overhead_row(quick=quick),
    ]  # fmt: skip
    return rows


def overhead_row(*, quick: bool) -> dict[str, Any]:
    """Return the row of the cost of a healthy record: the difference to a consumer without a breaker."""
    logging.disable()
    cost = asyncio.run(_cost(records=5_000, repeats=10 if quick else 60))
    logging.disable(logging.NOTSET)
    peers = {name: round(cost, 2) if name == "fanfold" else "-" for name in ways()}
    reached = "yes" if cost <= MOST_MICROSECONDS else "no"
    return {TITLE: "µs per healthy record", **peers, "goal": MOST_MICROSECONDS, "reached": reached}


async def _cost(*, records: int, repeats: int) -> float:
    """Return the processor time that a breaker adds to a healthy record, in µs: difference of the fastest batches."""

    async def handler(_: fanfold.Record) -> None:
        """Do nothing."""

    plain = fanfold.consumer(handler)
    guarded = plain.with_settings(breaker=fanfold.Breaker("payments", on=ConnectionError))
    event, fastest = make_event(*range(records)), {"plain": math.inf, "guarded": math.inf}
    async with plain.session() as without, guarded.session() as with_breaker:
        for _ in range(repeats):
            for name, session in (("plain", without), ("guarded", with_breaker)):
                began = time.process_time()
                await session(event)
                fastest[name] = min(fastest[name], time.process_time() - began)
    return (fastest["guarded"] - fastest["plain"]) / records * 1e6


def each_survives(rows: Rows) -> bool:
    """Return whether no healthy message was lost."""
    return all(row["dead"] == 0 for row in rows)


@table(holds=each_survives)
def grid(*, seeds: Seeds = 1, quick: Quick = False, messages: Annotated[int, "messages in the queue"] = 100) -> Rows:
    """Seconds until all are done after outages of 10 s to 8 h, with 3, 5 and 10 receives; worst of the visibilities."""
    rows = []
    for tick, seconds in itertools.product((False, True), OUTAGES[:4] if quick else OUTAGES):
        cells, dead = [], 0.0
        for receives in RECEIVES:
            scenario = Scenario(messages=messages, down=(Interval(0.0, seconds),), receives=receives, tick=tick)
            reports = [
                run_with_breaker(replace(scenario, visibility=visibility), seed)
                for visibility in VISIBILITIES
                for seed in range(1, seeds + 1)
            ]
            cells.append(max(report.recovery for report in reports))
            dead += sum(healthy_dead(report) for report in reports)
        rows.append(
            {
                "tick": "yes" if tick else "no",
                "outage, s": f"{seconds:,.0f}",
                **{f"{receives} receives": round(cell) for receives, cell in zip(RECEIVES, cells, strict=True)},
                "dead": int(dead),
            }
        )
    return rows


if __name__ == "__main__":
    main(show, grid)
