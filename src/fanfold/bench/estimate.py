"""From a measured cell to a whole backlog: how long, how dear, how many invocations at once, and what binds first.

Plain arithmetic on the mapping's scaling rules and the quotas in ``_base.aws_limits``. It takes for granted that the
backlog is there from the start, that batches are full, that nothing downstream slows down, and that a batch takes on
Lambda what it took where it was measured.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fanfold._base.aws_limits import (
    LAMBDA_ACCOUNT_CONCURRENCY,
    MAPPING_DEFAULT_BATCH_SIZE,
    MAPPING_SCALING_INITIAL,
    MAPPING_SCALING_MAX,
    MAPPING_SCALING_PER_SECOND,
    SQS_BATCH_ENTRIES,
    SQS_BILLED_BYTES,
    SQS_IN_FLIGHT_MESSAGES,
)
from fanfold._replay.mapping import Returned
from fanfold._replay.simulator import Simulator
from fanfold.bench.cells import MEASURED, Cell, Sample
from fanfold.bench.prices import Prices

RAMP: Final = "how fast the mapping scales up"


@dataclass(frozen=True, slots=True)
class Rates:
    """What one batch takes, as measured."""

    records: int
    """Records in it."""
    seconds: float
    """Mean duration, from 0 exclusive."""
    memory_mb: int
    """Memory of the function."""
    failed_share: float = 0.0
    """Share of records that come back, each time anew; below 1."""
    cold_start_seconds: float = 0.0
    """What an invocation takes more in a new execution environment."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is to be worked off."""

    records: int
    """Messages in the queue."""
    record_bytes: int = 1_024
    """Size of one."""
    maximum_concurrency: int | None = None
    """The mapping's own limit; None for none."""
    account_concurrency: int = LAMBDA_ACCOUNT_CONCURRENCY
    """What the account may run at once, and no other function uses."""
    scales: bool = True
    """Whether the mapping begins with few invocations and adds more; False for all from the start, as the simulator."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Something that limits how many batches are worked on at once."""

    name: str
    """What it is."""
    batches: int
    """Most batches at once by it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a backlog takes."""

    seconds: float
    """Until it is worked off."""
    batches: int
    """Invocations."""
    concurrency: int
    """Invocations at once, at most."""
    binds: str
    """What limits it: a quota's name, how fast the mapping scales up, or that there are no more batches."""
    lambda_dollars: float
    """Duration, requests, and the start of each execution environment."""
    sqs_dollars: float
    """Sending, receiving and deleting in tens."""


def quotas_of(backlog: Backlog, records_per_batch: int) -> list[Quota]:
    """Return what limits the invocations at once, tightest first."""
    found = [
        Quota("the mapping's most", MAPPING_SCALING_MAX),
        Quota("the account's concurrency", backlog.account_concurrency),
        Quota("messages in flight", max(1, SQS_IN_FLIGHT_MESSAGES // records_per_batch)),
    ]
    if backlog.maximum_concurrency is not None:
        found.append(Quota("the mapping's maximum concurrency", backlog.maximum_concurrency))
    return sorted(found, key=lambda quota: quota.batches)


def estimate(rates: Rates, backlog: Backlog, prices: Prices) -> Estimate:
    """Return what a backlog takes at the rates that were measured."""
    deliveries = backlog.records / (1 - rates.failed_share)
    batches = math.ceil(deliveries / rates.records)
    tightest = quotas_of(backlog, rates.records)[0]
    most = min(tightest.batches, batches)
    binds = tightest.name if tightest.batches < batches else "no more batches"
    waves = math.ceil(batches / most) * rates.seconds if batches else 0.0
    seconds, reached = (waves, most) if not backlog.scales else _ramped(batches * rates.seconds, most)
    if reached < most:
        binds = RAMP
    started = min(reached, batches)
    cost = batches * prices.invocation(rates.seconds, rates.memory_mb)
    cost += started * rates.cold_start_seconds * rates.memory_mb / 1024 * prices.gb_second
    return Estimate(
        seconds=max(seconds, waves) + (rates.cold_start_seconds if batches else 0.0),
        batches=batches,
        concurrency=started,
        binds=binds,
        lambda_dollars=cost,
        sqs_dollars=_requests(backlog.records, deliveries, backlog.record_bytes) * prices.sqs_million / 1_000_000,
    )


def rates_of(cell: Cell, samples: Sequence[Sample], records: int) -> Rates:
    """Return a cell's rates.

    Args:
        cell: Measured.
        samples: Of the sweep; those of the cell count.
        records: Records in a batch.
    """
    durations = [
        seconds
        for sample in samples
        if sample.setting == cell.setting and sample.end == MEASURED
        for seconds in sample.batch_seconds
    ]
    return Rates(
        records,
        sum(durations) / len(durations),
        cell.setting.memory_mb,
        min(cell.failed_share, 0.99),
        cell.cold_start_seconds or 0.0,
    )


def held_out_errors(cell: Cell, samples: Sequence[Sample]) -> list[float]:
    """Return how wrong each repeat would have been predicted by the others: relative, 0 for right, by repeat."""
    own = [sample for sample in samples if sample.setting == cell.setting and sample.end == MEASURED]
    errors = []
    for held in own:
        others = [sample for sample in own if sample is not held]
        records, seconds = sum(each.records for each in others), sum(each.seconds for each in others)
        if records and held.seconds:
            errors.append(held.records * seconds / records / held.seconds - 1)
    return errors


def _ramped(work_seconds: float, most: int) -> tuple[float, int]:
    """Return how long so much work takes while invocations are added, and how many there are in the end."""
    first = min(MAPPING_SCALING_INITIAL, most)
    full_after = (most - first) / MAPPING_SCALING_PER_SECOND
    before_full = first * full_after + MAPPING_SCALING_PER_SECOND * full_after**2 / 2
    if work_seconds >= before_full:
        return full_after + (work_seconds - before_full) / most if most else 0.0, most
    # first·t + rate·t²/2 = work
    seconds = (math.sqrt(first**2 + 2 * MAPPING_SCALING_PER_SECOND * work_seconds) - first) / MAPPING_SCALING_PER_SECOND
    return seconds, min(most, math.floor(first + MAPPING_SCALING_PER_SECOND * seconds))


def _requests(records: int, deliveries: float, record_bytes: int) -> float:
    """Return the requests that SQS bills: sent, received and deleted in tens, each 64 KB of payload one more."""
    tens = math.ceil(SQS_BATCH_ENTRIES * record_bytes / SQS_BILLED_BYTES)
    return (records * max(1, tens) + deliveries * max(1, tens) + records) / SQS_BATCH_ENTRIES


_AT_ONCE = 10
_WAVES = 20


@dataclass(frozen=True, slots=True)
class Trial:
    """An estimate and a simulation of the same backlog."""

    batches: int
    """Batches of it."""
    concurrency: int
    """Invocations at once, from the start to the end."""
    simulated_seconds: float
    """How long the simulator took, in simulated time."""
    estimated_seconds: float
    """How long it was estimated to take."""

    @property
    def error(self) -> float:
        """Relative error of the estimate; above 0 it is too long."""
        return self.estimated_seconds / self.simulated_seconds - 1


def against_the_simulator(
    rates: Rates, batch_seconds: Sequence[float], backlog: Backlog, prices: Prices, *, seed: int = 0
) -> Trial:
    """Return a trial of an estimate, at most 20 batches for each of at most ten invocations at once.

    Batches are of ten messages there, whatever they hold in truth: how long each takes is drawn from what was measured.
    The simulator does not scale up, so neither does the estimate that is held against it.

    Args:
        rates: What is estimated from.
        batch_seconds: Durations that were measured; at least one.
        backlog: What is estimated; a part of it is simulated if it is large.
        prices: Needed, and of no consequence.
        seed: Of the durations drawn.
    """
    batches = max(1, min(-(-backlog.records // rates.records), _AT_ONCE * _WAVES))
    concurrency = min(_AT_ONCE, backlog.maximum_concurrency or _AT_ONCE, batches)
    chance = random.Random(seed)  # noqa: S311 - to be the same every time
    with Simulator(
        invoke=lambda _: Returned("null"),
        batch_size=MAPPING_DEFAULT_BATCH_SIZE,
        maximum_concurrency=concurrency,
        visibility_timeout=43_200,
        function_timeout=900,
        invocation_seconds=lambda _: chance.choice(batch_seconds),
        seed=seed,
    ) as simulator:
        simulator.send(*range(batches * MAPPING_DEFAULT_BATCH_SIZE))
        deliveries = simulator.run()
    simulated = max(delivery.ended_at for delivery in deliveries)
    warm = Rates(rates.records, rates.seconds, rates.memory_mb)
    part = Backlog(batches * rates.records, maximum_concurrency=concurrency, scales=False)
    return Trial(batches, concurrency, simulated, estimate(warm, part, prices).seconds)
