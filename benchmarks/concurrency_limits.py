"""The self-adjusting concurrency limit and the fair order in real time, on asyncio.

::

    python benchmarks/concurrency_limits.py [services|cost|fairness|small_batches] [--repeats 3] [--json FILE]

The services are simulated in the process: they queue, and refuse, as real ones do, and take the time of timers. A
consumer with ``concurrency="auto"`` processes 5,000 records from a cold start, and as many again (warm), and the same
consumer with the best fixed limit, which is known here. The table shows medians; compare values within a row.
"""

import asyncio
import math
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from measure import Records, Repeats, Rows, in_turn, isolated, main, table

QUICK, SLOW = 50, 950
"""Records of quiet tenants, and of one busy tenant."""
LATENCY = 0.02
BATCH_OF_TEN = 10


class TooManyRequestsError(Exception):
    """A service refuses a call."""

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__("too many requests")
        self.status = 429
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


class Room:
    """Serves a number of calls concurrently, queues others, and refuses above five times that number."""

    def __init__(self, room: int, factor: Callable[[random.Random], float]) -> None:
        self._places = asyncio.Semaphore(room)
        self._room, self._factor = room, factor
        self._random = random.Random(1)  # noqa: S311 - chance with a seed
        self._calls = 0
        self.refused = 0

    async def call(self) -> None:
        """Serve a call."""
        if self._calls >= 5 * self._room:
            self.refused += 1
            raise TooManyRequestsError
        self._calls += 1
        try:
            async with self._places:
                await asyncio.sleep(LATENCY * self._factor(self._random))
        finally:
            self._calls -= 1


class Bucket:
    """Serves as many calls per second as a token bucket allows; a refusal states a Retry-After of a second."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._tokens = rate, burst, burst
        self._filled = time.monotonic()
        self.refused = 0

    async def call(self) -> None:
        """Serve a call."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1:
            self.refused += 1
            raise TooManyRequestsError(1.0)
        self._tokens -= 1
        await asyncio.sleep(LATENCY * jitter(random.Random(int(now * 1e6))))  # noqa: S311 - as above


def jitter(chance: random.Random) -> float:
    """Return a factor from 0.9 to 1.1."""
    return 0.9 + 0.2 * chance.random()


class Service(NamedTuple):
    """A service, its best fixed limit, and the goals in percent of the throughput with it."""

    make: Callable[[], Room | Bucket]
    best: int
    cold: float
    warm: float


SERVICES = {
    "room 5": Service(lambda: Room(5, jitter), 5, 85, 85),
    "room 50": Service(lambda: Room(50, jitter), 50, 85, 85),
    "room 500": Service(lambda: Room(500, jitter), 500, 45, 75),
    "log-normal, sigma 0.5": Service(lambda: Room(50, lambda r: r.lognormvariate(0, 0.5)), 50, 85, 85),
    "5 % 20 x longer": Service(lambda: Room(50, lambda r: jitter(r) * r.choice((*[1] * 19, 20))), 50, 75, 75),
    "token bucket of 500": Service(lambda: Bucket(500, 50), 10, 60, 75),
}


@isolated
def seconds_of(name: str, concurrency: int | None, records: int) -> list[float]:
    """Return the seconds of two batches, one after the other, and the refused records of each."""
    return asyncio.run(_seconds_of(name, concurrency, records))


async def _seconds_of(name: str, concurrency: int | None, records: int) -> list[float]:
    import fanfold
    from fanfold.testing import make_event

    service = SERVICES[name].make()

    @fanfold.consumer(concurrency=concurrency or "auto")
    async def handler(_body: str) -> None:
        await service.call()

    values: list[float] = []
    async with handler.session() as process:
        for _ in range(2):
            event, before = make_event(*["{}"] * records), service.refused
            start = time.perf_counter()
            await process(event)
            values += [time.perf_counter() - start, service.refused - before]
    return values


@table(holds=lambda rows: all(row["reached"] == "yes" for row in rows))
def services(*, records: Records = 5_000, repeats: Repeats = 3) -> Rows:
    """The throughput in percent of that with the best fixed limit, cold and warm."""
    cases = [(name, limit) for name, service in SERVICES.items() for limit in (service.best, None)]
    samples = in_turn(lambda case: seconds_of(*case, records), cases, repeats)
    rows = []
    for name, service in SERVICES.items():
        best = statistics.median(values[0] for values in samples[name, service.best])
        cold, cold_refused, warm, warm_refused = map(statistics.median, zip(*samples[name, None], strict=True))
        shares = 100 * best / cold, 100 * best / warm
        rows.append(
            {
                "service": name,
                "best fixed limit, s": best,
                "cold, %": shares[0],
                "goal": service.cold,
                "refused": int(cold_refused),
                "warm, %": shares[1],
                "goal warm": service.warm,
                "refused warm": int(warm_refused),
                "reached": "yes" if shares[0] >= service.cold and shares[1] >= service.warm else "no",
            }
        )
    return rows


SETTINGS: dict[str, dict[str, Any]] = {
    "off": {},
    "auto": {"concurrency": "auto"},
    "fair": {"fair": True},
    "fair, limit per tenant": {"tenant_concurrency": 5},
    "fair, tenant from the body": {"fair": True, "tenant": "tenant"},
}


@isolated
def microseconds(setting: str, tenants: int, records: int) -> float:
    """Return the processor time per record of a handler that does nothing, in microseconds."""
    import fanfold
    from fanfold.testing import make_event, make_record

    async def handler(_body: str) -> None:
        pass

    consumer = fanfold.consumer(**SETTINGS[setting])(handler)
    raws = [
        make_record(f'{{"tenant": "{number % tenants}"}}', attributes={"MessageGroupId": str(number % tenants)})
        for number in range(records)
    ]
    event = make_event(records=raws)

    async def measure() -> float:
        async with consumer.session() as process:
            await process(event)
            best = math.inf
            for _ in range(5):
                start = time.process_time()
                await process(event)
                best = min(best, time.process_time() - start)
            return best

    return 1e6 * asyncio.run(measure()) / records


@table()
def cost(*, records: Records = 10_000, repeats: Repeats = 5) -> Rows:
    """The processor time that each setting adds per record."""
    cases = [(setting, tenants) for setting in SETTINGS for tenants in (1, 20, 1_000, 9_000)]
    samples = in_turn(lambda case: microseconds(*case, records), cases, repeats)
    medians = {case: min(values) for case, values in samples.items()}
    return [
        {
            "setting": setting,
            **{
                f"{tenants:,} tenants, us": medians[setting, tenants] - medians["off", tenants]
                for tenants in (1, 20, 1_000, 9_000)
            },
        }
        for setting in SETTINGS
        if setting != "off"
    ]


@isolated
def waits(fair: bool, concurrency: int, tenant_concurrency: int | None) -> list[float]:
    """Return the median time until a record of a quiet tenant is done, and the time of the batch, in seconds."""
    import fanfold
    from fanfold.testing import make_event, make_record

    ended: list[float] = []

    @fanfold.consumer(concurrency=concurrency, fair=fair, tenant_concurrency=tenant_concurrency)
    async def handler(body: str) -> None:
        await asyncio.sleep(0.02 if body == "slow" else 0.001)
        if body == "quick":
            ended.append(time.perf_counter())

    busy = [make_record("slow", attributes={"MessageGroupId": "busy"}) for _ in range(SLOW)]
    quiet = [make_record("quick", attributes={"MessageGroupId": f"quiet {n % 25}"}) for n in range(QUICK)]

    async def run() -> list[float]:
        async with handler.session() as process:
            start = time.perf_counter()
            await process(make_event(records=[*busy, *quiet]))
            return [statistics.median(ended) - start, time.perf_counter() - start]

    return asyncio.run(run())


@table()
def fairness(*, repeats: Repeats = 3) -> Rows:
    """The wait of 50 quick records of 25 tenants behind 950 slow ones of another tenant."""
    cases: list[tuple[bool, int, int | None]] = [(False, 10, None), (True, 10, None), (True, 10, 5)]
    cases += [(False, 100, None), (True, 100, None)]
    samples = in_turn(lambda case: waits(*case), cases, repeats)
    return [
        {
            "order": "fair" if fair else "of the batch",
            "limit per tenant": limit,
            "concurrency": concurrency,
            "quick records, median s": statistics.median(values[0] for values in samples[fair, concurrency, limit]),
            "whole batch, s": statistics.median(values[1] for values in samples[fair, concurrency, limit]),
        }
        for fair, concurrency, limit in cases
    ]


@isolated
def seconds_of_batches(concurrency: int | None, batches: int) -> float:
    """Return the seconds of batches of ten records, one after the other."""
    import fanfold
    from fanfold.testing import make_event

    async def run() -> float:
        service = Room(50, jitter)

        @fanfold.consumer(concurrency=concurrency or "auto")
        async def handler(_body: str) -> None:
            await service.call()

        async with handler.session() as process:
            start = time.perf_counter()
            for _ in range(batches):
                await process(make_event(*["{}"] * BATCH_OF_TEN))
            return time.perf_counter() - start

    return asyncio.run(run())


@table()
def small_batches(*, batches: Records = 500, repeats: Repeats = 3) -> Rows:
    """Batches of ten: a limit that adjusts itself, and a fixed one of ten."""
    samples = in_turn(lambda limit: seconds_of_batches(limit, batches), [10, None], repeats)
    return [
        {"concurrency": "auto" if limit is None else str(limit), "seconds": statistics.median(values)}
        for limit, values in samples.items()
    ]


if __name__ == "__main__":
    main(services, cost, fairness, small_batches)
