"""Generated schedules of outages, and what is promised for each."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from outage_report import Report, Scenario
from outage_services import Interval

Changes: TypeAlias = dict[str, Any]
_STEPS: Final = [
    *("before change to OPEN", "after change to OPEN", "before add_page", "before hold", "after hold"),
    *("after change to HALF_OPEN", "before change to CLOSED", "after change to CLOSED"),
    *("before release", "after release", "before released", "after released"),
]
_LEAST_RECOVERY: Final = 60.0
"""Seconds below which no promise goes."""
_LONG_OUTAGE: Final = 7_200.0


def _flapping(_: Scenario, __: float, rng: random.Random) -> Changes:
    every, times = rng.choice([(10.0, 90), (60.0, 15), (300.0, 6)])
    down = tuple(Interval(2 * every * number, 2 * every * number + every) for number in range(times))
    return {"down": down, "poison": rng.choice([0, 5]), "last": "copy"}


def _two_dependencies(_: Scenario, seconds: float, rng: random.Random) -> Changes:
    start = rng.uniform(0, seconds)
    down = (Interval(start, start + rng.uniform(10, 3_600)),)
    return {"second_down": down, "blocks": True, "messages": 150}


def _table_down(_: Scenario, seconds: float, rng: random.Random) -> Changes:
    start = rng.choice([0.0, rng.uniform(0, seconds)])
    down = (Interval(start, start + rng.choice([30.0, 300.0, 2 * seconds])),)
    return {"table_down": down, "receives": rng.choice([5, 10])}  # each environment has to find the outage by itself


def _killed(_: Scenario, __: float, rng: random.Random) -> Changes:
    return {"kills": tuple((step, rng.randint(1, 3)) for step in rng.sample(_STEPS, 3))}


def _bad_environment(scenario: Scenario, _: float, rng: random.Random) -> Changes:
    down = scenario.down if rng.random() < 0.5 else ()
    return {"down": down, "bad_environment": rng.randrange(5), "recycled": 0.1, "messages": 150}


def _warm(_: Scenario, seconds: float, rng: random.Random) -> Changes:
    start = rng.uniform(30, 120)
    return {"messages": 150, "sent_over": 2 * start, "down": (Interval(start, start + seconds),)}


KINDS: Final[Mapping[str, Callable[[Scenario, float, random.Random], Changes]]] = {
    "plain": lambda *_: {},
    "tick": lambda _, __, rng: {"tick": True, "messages": rng.choice([1, 5, 20, 100])},
    "flapping": _flapping,
    "failing": lambda *_: {"down": (), "failing": (Interval(0.0, 3_600.0), 0.3), "last": "copy", "hangs": 0.0},
    "two dependencies": _two_dependencies,
    "fifo": lambda s, _, rng: {"groups": rng.choice([5, 20, s.messages]), "receives": rng.choice([5, 10])},
    "poison": lambda _, __, rng: {"poison": rng.choice([1, 5, 15])},
    "spent": lambda s, _, rng: {"spent": s.receives - rng.choice([1, 2]), "last": "copy"},
    "low traffic": lambda _, t, rng: {"messages": rng.choice([1, 3, 10]), "sent_over": t * rng.uniform(0.3, 1.2)},
    "table down": _table_down,
    "killed": _killed,
    "bad environment": _bad_environment,
    "duplicates": lambda _, __, rng: {"duplicates": rng.choice([0.1, 0.3]), "receives": 10},
    "crashes": lambda _, __, rng: {"crashed": 0.1, "receives": rng.choice([5, 10])},
    "warm": _warm,
    "blocks": lambda *_: {"blocks": True},
    "probe": lambda _, __, rng: {"probe": True, "tick": True, "messages": rng.choice([1, 5, 20, 100])},
}
"""Changes of each kind of schedule, given the scenario, the length of the outage, and random numbers; kinds take
turns."""


def schedule(seed: int) -> tuple[str, Scenario]:
    """Return the kind and the scenario of a seed."""
    rng = random.Random(seed)
    kind = list(KINDS)[seed % len(KINDS)]
    seconds = 10 ** rng.uniform(1, math.log10(8 * 3_600))
    scenario = Scenario(
        messages=rng.choice([20, 50, 100, 150]),
        down=(Interval(0.0, seconds),),
        receives=rng.choice([3, 5, 10]),
        visibility=rng.choice([30.0, 30.0, 3_600.0]),
        hangs=rng.choice([0.0, 0.0, 10.0]),
        batch_size=rng.choice([1, 10, 10]),
        concurrency=rng.choice([1, 10]),
        tick=rng.random() < 0.5,
    )
    return kind, replace(scenario, **KINDS[kind](scenario, seconds, rng))


def longest_recovery(kind: str, scenario: Scenario) -> float:
    """Return the seconds within which all must be done after the outage; infinity without a promise.

    Without a tick, it depends on how many messages are redelivered in the meantime; with one, on whether it can probe
    throughout: with the probe function, or with messages that have receives to spare.
    """
    seconds, more = scenario.outage_seconds, 3 * scenario.hangs
    if kind in {"fifo", "low traffic", "failing", "crashes", "duplicates", "spent", "bad environment", "table down"}:
        return math.inf
    if scenario.receives == 3 and scenario.hangs * scenario.batch_size / scenario.concurrency > scenario.timeout:
        return math.inf  # one receive is used up by records that the first invocation had no time for
    if scenario.kills or scenario.timeout <= 3 * scenario.hangs:
        more += scenario.visibility * max(1, len(scenario.kills))  # messages of a killed invocation wait for it
    if kind not in {"killed", "flapping"} and (scenario.probe or (scenario.tick and _may_probe_throughout(scenario))):
        return max(_LEAST_RECOVERY, min(seconds / 10, 305.0)) + more
    messages = scenario.messages / 2 if scenario.second_down else scenario.messages
    if messages < 20 or (scenario.tick and scenario.receives == 3 and seconds > _LONG_OUTAGE):
        return math.inf  # a tick has no receives left to probe with; that needs a probe function
    share = 0.25 if messages >= 100 and kind not in {"flapping", "killed"} else 1.0
    if scenario.receives == 3 and seconds > _LONG_OUTAGE:
        share *= 2
    few = 30.0 if messages < 100 else 0.0  # they are redelivered by chance
    return max(_LEAST_RECOVERY, seconds * share) + few + more


def _may_probe_throughout(scenario: Scenario) -> bool:
    """Return whether the messages of each dependency have receives for twice the probes of an outage."""
    seconds, every = scenario.outage_seconds, 30.0
    probes = min(seconds, 900.0) / every + 30 * math.log(min(max(seconds, 900.0), 9_000.0) / 900.0)
    probes += max(0.0, seconds - 9_000.0) / 300.0
    messages = scenario.messages / 2 if scenario.second_down else scenario.messages
    return messages >= 20 and messages * (scenario.receives - 3) >= 2 * probes


def violations(kind: str, report: Report) -> Sequence[str]:
    """Return the promises that a report breaks, one line each."""
    longest = longest_recovery(kind, report.scenario)
    checks = {
        "lost": report.lost,
        "healthy in the dead-letter queue": report.healthy_dead,
        "not done at the end": report.unfinished_healthy,
        "poison that is not in the dead-letter queue": report.poison_not_dead,
    }
    broken = [f"{title}: {len(bodies)} messages, such as {bodies[:3]}" for title, bodies in checks.items() if bodies]
    if report.recovery > longest and not report.unfinished_healthy:
        broken.append(f"done {report.recovery:.0f} s after the outage, not within {longest:.0f} s")
    return broken
