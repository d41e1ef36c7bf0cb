"""Trials of concurrency limits against services in virtual time, with the goals of each."""

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from virtual_consumers import Consumer, FixedLimit, Limit, auto_limit
from virtual_services import Cores, Quota, Room, World

RECORDS = 5_000

MakeLimit: TypeAlias = Callable[[World], Limit]


def lognormal(sigma: float) -> Callable[[random.Random], float]:
    """Return a draw with median 1."""
    return lambda r: r.lognormvariate(0.0, sigma)


def mixed(share: float, factor: float) -> Callable[[random.Random], float]:
    """Return a draw in which a share of the requests takes longer by a factor."""
    return lambda r: (factor if r.random() < share else 1.0) * (0.9 + 0.2 * r.random())


@dataclass(frozen=True)
class Trial:
    """A service, and what is ideal for it."""

    name: str
    make: Callable[[World], Any]
    rate: Callable[[float], float]
    """Records per second that the service can serve at a moment."""
    cold: tuple[float, float] = (0.0, math.inf)
    """Goal: share of the ideal in percent, and failed in percent."""
    warm: tuple[float, float] = (0.0, math.inf)
    best: int | None = None
    """The best fixed limit of a service whose capacity is constant."""
    held_out: bool = False
    """True if it was not used to choose the constants of the algorithm."""


def steady(rate: float) -> Callable[[float], float]:
    return lambda _: rate


def ideal_seconds(trial: Trial, start: float, records: int, seed: int) -> float:
    """Return the time that the records take with the best fixed limit, if there is one, or else at the full rate."""
    if trial.best is not None:
        return _fixed_seconds(trial, seed) * records / RECORDS
    now, left = start, float(records)
    while left > 0:
        left -= trial.rate(now) * 0.002
        now += 0.002
    return now - start


@functools.cache
def _fixed_seconds(trial: Trial, seed: int) -> float:
    world = World(seed)
    consumer = Consumer(world, trial.make(world), FixedLimit(trial.best or 0), RECORDS)
    world.run(lambda: consumer.ended >= RECORDS)
    return consumer.done_at


@dataclass
class Result:
    """What a trial measured."""

    share: float
    """Throughput in percent of the ideal."""
    failed: float
    """Refused records in percent."""
    limit: int
    too_early: int
    failed_late: float
    """Refused in percent, after the first 1,000."""
    consumer: Consumer


def run(trial: Trial, make_limit: MakeLimit, seed: int, *, warm: bool = True) -> list[Result]:
    """Return the results of a cold start, and of the same number of records after it."""
    world = World(seed)
    service, limit = trial.make(world), make_limit(world)
    results = []
    for _ in range(2 if warm else 1):
        start = world.now
        consumer = Consumer(world, service, limit, RECORDS)
        world.run(lambda: consumer.ended >= RECORDS or world.now > start + 600)  # noqa: B023
        seconds = max(consumer.done_at - start, 1e-9)
        ideal = ideal_seconds(trial, start, max(1, consumer.done), seed)
        results.append(
            Result(
                100 * ideal / seconds if consumer.ended >= RECORDS else 0.0,
                100 * consumer.refused / RECORDS,
                limit.workers,
                consumer.too_early,
                100 * (consumer.refused - consumer.refused_early) / (RECORDS - 1_000),
                consumer,
            )
        )
    return results


def switching(high: float, low: float) -> Callable[[float], float]:
    return lambda now: high if int(now) % 2 == 0 else low


def warming(now: float) -> float:
    return 0.02 * max(1.0, 5 - 2 * now)


def slower(factor: float, at: float = 1.0) -> Callable[[float], float]:
    return lambda now: 0.02 * (factor if now > at else 1.0)


def gradual(now: float) -> float:
    return 0.02 * (1 + 0.5 * now)


E05 = math.exp(0.125)
TRIALS = [
    Trial("room 5", lambda w: Room(w, 5), steady(250), (95, 0.2), (97, 0.2), best=5),
    Trial("room 50", lambda w: Room(w, 50), steady(2_500), (95, 0.2), (97, 0.2), best=50),
    Trial("room 500", lambda w: Room(w, 500), steady(25_000), (60, 0.2), (95, 0.2), best=500),
    Trial("room 50 to 25", lambda w: Room(w, switching(50, 25)), lambda t: switching(2_500, 1_250)(t), (90, 0.5)),
    Trial("sigma 0.5", lambda w: Room(w, 50, factor=lognormal(0.5)), steady(2_500 / E05), (90, 0.2), (95, 0.2), best=50),
    Trial("5 % x 20", lambda w: Room(w, 50, factor=mixed(0.05, 20)), steady(2_500 / 1.95), (80, 0.2), (80, 0.2), best=50),
    Trial("429 window", lambda w: Quota(w, 500, None, math.inf), steady(500), (85, 2.5), (90, 0.2)),
    Trial("429 bucket", lambda w: Quota(w, 500, 50, 1.0), steady(500), (60, 1.5), (85, 0.2)),
    Trial("throttle", lambda w: Quota(w, 500, 50, None), steady(500), (90, 2.0), (95, 2.0)),
    Trial("slow start", lambda w: Room(w, 50, warming), lambda t: 50 / warming(t), (80, 0.5)),
    Trial("2.5 x slower", lambda w: Room(w, 50, slower(2.5)), lambda t: 50 / slower(2.5)(t), (80, 0.5)),
    # Not used to tune:
    Trial("room 20, 100 ms", lambda w: Room(w, 20, 0.1), steady(200), (95, 0.2), (97, 0.2), best=20, held_out=True),
    Trial("room 200, 5 ms", lambda w: Room(w, 200, 0.005), steady(40_000), (60, 0.2), (95, 0.2), best=200, held_out=True),
    Trial("room 50 to 10", lambda w: Room(w, switching(50, 10)), lambda t: switching(2_500, 500)(t), (80, 0.5), held_out=True),
    Trial("sigma 0.8, room 20", lambda w: Room(w, 20, factor=lognormal(0.8)), steady(1_000 / math.exp(0.32)), (80, 0.2), (90, 0.2), best=20, held_out=True),
    Trial("20 % x 5", lambda w: Room(w, 50, factor=mixed(0.2, 5)), steady(2_500 / 1.8), (80, 0.2), (80, 0.2), best=50, held_out=True),
    Trial("50 % x 25", lambda w: Room(w, 50, factor=mixed(0.5, 25)), steady(2_500 / 13), (20, 0.2), (80, 0.2), best=50, held_out=True),
    Trial("429 window of 200", lambda w: Quota(w, 200, None, math.inf, 0.05), steady(200), (80, 2.5), (90, 0.2), held_out=True),
    Trial("bucket of 2,000", lambda w: Quota(w, 2_000, 200, 1.0), steady(2_000), (40, 3.0), (80, 0.5), held_out=True),
    Trial("throttle of 2,000", lambda w: Quota(w, 2_000, 200, None), steady(2_000), (85, 2.0), (95, 2.0), held_out=True),
    Trial("4 x slower", lambda w: Room(w, 50, slower(4.0, 0.5)), lambda t: 50 / slower(4.0, 0.5)(t), (75, 0.5), held_out=True),
    Trial("ever slower", lambda w: Room(w, 50, gradual), lambda t: 50 / gradual(t), (75, 0.5), held_out=True),
    Trial("20 ms I/O + 2 ms CPU", lambda w: Cores(w, 1, 0.002, 0.02), steady(500), (90, 0.2), held_out=True),
]


def cpu(cores: int, seed: int, make_limit: MakeLimit = auto_limit, records: int = RECORDS) -> tuple[int, float]:
    """Return the limit that a CPU-bound handler settles at: the highest in the second half."""
    world = World(seed)
    limit = make_limit(world)
    consumer = Consumer(world, Cores(world, cores), limit, records)
    world.run(lambda: consumer.ended >= records // 2)
    highest = 0
    while consumer.ended < records:
        target = consumer.ended + 50
        world.run(lambda: consumer.ended >= min(target, records))  # noqa: B023
        highest = max(highest, limit.workers)
    return highest, 100 * records * 0.005 / cores / consumer.done_at


def unlimited(seed: int, make_limit: MakeLimit = auto_limit) -> int:
    """Return the number of records after which the limit is 1,000, in a service without a limit, of 50 ms."""
    world = World(seed)
    limit = make_limit(world)
    consumer = Consumer(world, Room(world, seconds=0.05), limit, RECORDS)
    world.run(lambda: consumer.ended >= RECORDS)
    return min((ended for value, ended in consumer.reached.items() if value >= 1_000), default=RECORDS)


def fleet(seed: int, make_limit: MakeLimit = auto_limit, environments: int = 20, records: int = RECORDS) -> tuple[float, float]:
    """Return the share of the ideal and the failed, in percent, of processes that start within 1 s on one service."""
    world = World(seed)
    service = Room(world, 50)
    consumers = [
        Consumer(world, service, make_limit(world), records, start_at=world.random.random())
        for _ in range(environments)
    ]
    world.run(lambda: all(c.ended >= c.records for c in consumers))
    total = sum(c.records for c in consumers)
    failed = sum(c.refused for c in consumers)
    seconds = max(c.done_at for c in consumers)
    return 100 * (total - failed) / 2_500 / seconds, 100 * failed / total


def pair(seed: int, late: float, sigma: float, make_limit: MakeLimit = auto_limit, seconds: float = 20.0) -> float:
    """Return the share of the second of two functions on one service, in percent, while both run."""
    world = World(seed)
    service = Room(world, 50, factor=lognormal(sigma) if sigma else None)
    first = Consumer(world, service, make_limit(world), 10**9)
    second = Consumer(world, service, make_limit(world), 10**9, start_at=late)
    world.run(lambda: world.now >= late + seconds / 4)
    before = first.done, second.done
    world.run(lambda: world.now >= late + seconds)
    counts = first.done - before[0], second.done - before[1]
    return 100 * counts[1] / sum(counts)
