"""Trials of concurrency limits against services in virtual time, with the goals of each.

A share is the throughput in percent of the ideal: of the best fixed limit, for a service whose capacity is constant,
and otherwise of the rate that the service allows at each moment. Shares and refusals are those of a cold start, and of
as many records after it, when the limit has adjusted itself (warm).
"""

import functools
import math
import random
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from virtual_consumers import Consumer, FixedLimit, Limit, auto_limit
from virtual_services import Cores, Quota, Room, Service, World

RECORDS = 5_000
"""Records of a trial."""

MakeLimit: TypeAlias = Callable[[World], Limit]
Varying: TypeAlias = Callable[[float], float]
"""A value that depends on the time."""


class Goal(NamedTuple):
    """The result that a trial has to reach with each seed."""

    share: float
    """Lowest throughput, in percent of the ideal."""
    refused: float = 0.2
    """Most refused records, in percent."""


class Trial(NamedTuple):
    """A service, its ideal, and the goals."""

    name: str
    make: Callable[[World], Service]
    cold: Goal
    warm: Goal | None = None
    best: int | None = None
    """The best fixed limit; None for a service whose capacity changes, or that limits the rate."""
    rate: Varying | None = None
    """Records per second that the service allows, where there is no best fixed limit."""
    held_out: bool = False
    """True if it was not used to choose the constants of the algorithm."""


class Result(NamedTuple):
    """The measurements of a trial."""

    share: float
    """Throughput in percent of the ideal."""
    refused: float
    """Refused records in percent."""
    too_early: int
    """Starts before the time that a ``Retry-After`` had stated."""
    limit: int
    """The limit at the end."""

    def reaches(self, goal: Goal | None) -> bool:
        """Return whether the goal is reached."""
        return goal is None or (self.share >= goal.share and self.refused <= goal.refused and not self.too_early)


def lognormal(sigma: float) -> Callable[[random.Random], float]:
    """Return a draw with median 1."""
    return lambda chance: chance.lognormvariate(0.0, sigma)


def mixed(share: float, factor: float) -> Callable[[random.Random], float]:
    """Return a draw in which a share of the requests takes longer by a factor."""
    return lambda chance: (factor if chance.random() < share else 1.0) * (0.9 + 0.2 * chance.random())


def switching(high: float, low: float) -> Varying:
    """Return a value that changes every second."""
    return lambda now: high if int(now) % 2 == 0 else low


def slower(factor: float, at: float) -> Varying:
    """Return a latency that is longer by a factor from a moment on."""
    return lambda now: 0.02 * (factor if now > at else 1.0)


def warming(now: float) -> float:
    """Return a latency that starts five times as long, and is normal after two seconds."""
    return 0.02 * max(1.0, 5 - 2 * now)


def ever_slower(now: float) -> float:
    """Return a latency that grows all the time."""
    return 0.02 * (1 + 0.5 * now)


def room(name: str, room: int, cold: Goal, warm: Goal, *, held_out: bool = False, **options: object) -> Trial:
    """Return the trial of a room that stays the same."""
    return Trial(name, lambda world: Room(world, room, **options), cold, warm, best=room, held_out=held_out)  # type: ignore[arg-type] # of Room


def varying(
    name: str, cold: Goal, rooms: float | Varying, seconds: float | Varying, *, held_out: bool = False
) -> Trial:
    """Return the trial of a room or a latency that changes."""

    def rate(now: float) -> float:
        return (rooms(now) if callable(rooms) else rooms) / (seconds(now) if callable(seconds) else seconds)

    return Trial(name, lambda world: Room(world, rooms, seconds), cold, rate=rate, held_out=held_out)


def quota(
    name: str,
    rate: float,
    burst: float | None,
    retry_after: float | None,
    cold: Goal,
    warm: Goal,
    *,
    seconds: float = 0.02,
    held_out: bool = False,
) -> Trial:
    """Return the trial of a rate limit."""
    return Trial(
        name,
        lambda world: Quota(world, rate, burst, retry_after, seconds),
        cold,
        warm,
        rate=lambda _: rate,
        held_out=held_out,
    )


TRIALS = (
    room("room 5", 5, Goal(95), Goal(97)),
    room("room 50", 50, Goal(95), Goal(97)),
    room("room 500", 500, Goal(60), Goal(95)),
    varying("room 50 and 25 by turns", Goal(90, 0.5), switching(50, 25), 0.02),
    room("log-normal latency, sigma 0.5", 50, Goal(90), Goal(95), factor=lognormal(0.5)),
    room("5 % of records 20 x longer", 50, Goal(80), Goal(80), factor=mixed(0.05, 20)),
    quota("429, window of 500 per second", 500, None, math.inf, Goal(85, 2.5), Goal(90)),
    quota("429, token bucket of 500", 500, 50, 1.0, Goal(60, 1.5), Goal(85)),
    quota("throttles without Retry-After", 500, 50, None, Goal(90, 2), Goal(95, 2)),
    varying("slow start of the service", Goal(80, 0.5), 50, warming),
    varying("2.5 x slower after 1 s", Goal(80, 0.5), 50, slower(2.5, 1.0)),
    room("room 20, 100 ms", 20, Goal(95), Goal(95), seconds=0.1, held_out=True),
    room("room 200, 5 ms", 200, Goal(80), Goal(90), seconds=0.005, held_out=True),
    varying("room 50 and 10 by turns", Goal(80, 0.5), switching(50, 10), 0.02, held_out=True),
    room("log-normal latency, sigma 0.8", 20, Goal(80), Goal(80), factor=lognormal(0.8), held_out=True),
    room("20 % of records 5 x longer", 50, Goal(80), Goal(80), factor=mixed(0.2, 5), held_out=True),
    room("50 % of records 25 x longer", 50, Goal(20), Goal(80), factor=mixed(0.5, 25), held_out=True),
    quota("429, window of 200 per second", 200, None, math.inf, Goal(85, 3), Goal(90), seconds=0.05, held_out=True),
    quota("429, token bucket of 2,000", 2_000, 200, 1.0, Goal(40, 3), Goal(65), held_out=True),
    quota("throttles from 2,000 on", 2_000, 200, None, Goal(90, 5), Goal(95, 2), held_out=True),
    varying("4 x slower after 0.5 s", Goal(80, 0.5), 50, slower(4, 0.5), held_out=True),
    varying("ever slower", Goal(80, 0.5), 50, ever_slower, held_out=True),
    Trial(
        "20 ms of I/O and 2 ms of one core",
        lambda world: Cores(world, 1, 0.002, io_seconds=0.02),
        Goal(90),
        rate=lambda _: 500,
        held_out=True,
    ),
)


def run(trial: Trial, seed: int, make_limit: MakeLimit = auto_limit) -> tuple[Result, Result | None]:
    """Return the results of a cold start, and of the records after it if the trial has a goal for them."""
    world = World(seed)
    service, limit = trial.make(world), make_limit(world)
    cold = _run(trial, seed, Consumer(world, service, limit, RECORDS))
    if trial.warm is None:
        return cold, None
    return cold, _run(trial, seed, Consumer(world, service, limit, RECORDS))


def _run(trial: Trial, seed: int, consumer: Consumer) -> Result:
    world, start = consumer.world, consumer.world.now
    world.run(lambda: consumer.ended >= RECORDS)
    share = 100 * _ideal_seconds(trial, seed, start, consumer.done) / max(consumer.done_at - start, 1e-9)
    return Result(share, 100 * consumer.refused / RECORDS, consumer.too_early, consumer.limit.workers)


def _ideal_seconds(trial: Trial, seed: int, start: float, records: int) -> float:
    if trial.rate is None:
        return _seconds_of_the_best_limit(trial, seed) * records / RECORDS
    now, left = start, float(records)
    while left > 0:
        left -= trial.rate(now) * 0.002
        now += 0.002
    return now - start


@functools.cache
def _seconds_of_the_best_limit(trial: Trial, seed: int) -> float:
    world = World(seed)
    consumer = Consumer(world, trial.make(world), FixedLimit(trial.best or 1), RECORDS)
    world.run(lambda: consumer.ended >= RECORDS)
    return consumer.done_at


def limit_of_computing_handlers(cores: int, seed: int, make_limit: MakeLimit = auto_limit) -> int:
    """Return the highest limit in the second half of handlers that only compute, 5 ms each."""
    world = World(seed)
    limit = make_limit(world)
    consumer = Consumer(world, Cores(world, cores), limit, RECORDS)
    world.run(lambda: consumer.ended >= RECORDS // 2)
    consumer.reached.clear()
    world.run(lambda: consumer.ended >= RECORDS)
    return max(consumer.reached)


def records_until_1_000_run(seed: int, make_limit: MakeLimit = auto_limit) -> int:
    """Return the number of records until the limit is 1,000, on a service without a limit that takes 50 ms."""
    world = World(seed)
    consumer = Consumer(world, Room(world, seconds=0.05), make_limit(world), RECORDS)
    world.run(lambda: consumer.ended >= RECORDS)
    return min((ended for limit, ended in consumer.reached.items() if limit >= 1_000), default=RECORDS)


def refused_of_a_fleet(seed: int, make_limit: MakeLimit = auto_limit, *, records: int = RECORDS) -> float:
    """Return the refused records, in percent, of 20 processes that start within 1 s and share a service of room 50."""
    world = World(seed)
    service = Room(world, 50)
    fleet = [Consumer(world, service, make_limit(world), records, start_at=world.random.random()) for _ in range(20)]
    world.run(lambda: all(consumer.ended >= records for consumer in fleet))
    return 100 * sum(consumer.refused for consumer in fleet) / (20 * records)


def share_of_the_second(
    seed: int, make_limit: MakeLimit = auto_limit, *, late: float, sigma: float = 0.0, seconds: float = 20.0
) -> float:
    """Return the share of the second of two functions on a service of room 50, in percent of what both process.

    Args:
        seed: The seed.
        make_limit: Makes the limit of each.
        late: Seconds by which the second one starts later.
        sigma: Noise of the latency.
        seconds: Duration in which both run; the first quarter does not count.
    """
    world = World(seed)
    service = Room(world, 50, factor=lognormal(sigma) if sigma else None)
    first = Consumer(world, service, make_limit(world), 10**9)
    second = Consumer(world, service, make_limit(world), 10**9, start_at=late)
    world.run(lambda: world.now >= late + seconds / 4)
    before = first.done, second.done
    world.run(lambda: world.now >= late + seconds)
    counts = first.done - before[0], second.done - before[1]
    return 100 * counts[1] / sum(counts)


def seconds_of_small_batches(seed: int, make_limit: MakeLimit = auto_limit) -> float:
    """Return the duration of 500 batches of ten, one after the other, on a service of room 50."""
    world = World(seed)
    consumer = Consumer(world, Room(world, 50), make_limit(world), RECORDS, batch_size=10)
    world.run(lambda: consumer.ended >= RECORDS)
    return consumer.done_at


def share_with_other_errors(seed: int, make_limit: MakeLimit = auto_limit) -> float:
    """Return the throughput in percent of the ideal, on a service of room 50, if 30 % of the records fail quickly."""
    world = World(seed)
    consumer = Consumer(world, Room(world, 50), make_limit(world), RECORDS, other_errors=0.3)
    world.run(lambda: consumer.ended >= RECORDS)
    return 100 * consumer.done / 2_500 / consumer.done_at
