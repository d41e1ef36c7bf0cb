"""An estimate for a whole backlog from a measured cell: time, cost, concurrent invocations, and the limiting factor.

The arithmetic uses the mapping's scaling rules and the quotas in ``_base.aws_limits``. It assumes that the backlog
exists from the start, that batches are full, that downstream services do not slow down, and that a batch takes as long
on Lambda as where it was measured.
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

RAMP: Final = "the scaling rate of the mapping"


@dataclass(frozen=True, slots=True)
class Rates:
    """Measurements of one batch."""

    records: int
    """Records in the batch."""
    seconds: float
    """Mean duration, above 0."""
    memory_mb: int
    """Memory of the function."""
    failed_share: float = 0.0
    """Share of records that fail in each delivery; below 1."""
    cold_start_seconds: float = 0.0
    """Additional duration of an invocation in a new execution environment."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The messages to process."""

    records: int
    """Messages in the queue."""
    record_bytes: int = 1_024
    """Size of one message."""
    maximum_concurrency: int | None = None
    """MaximumConcurrency of the mapping; None if it is not set."""
    account_concurrency: int = LAMBDA_ACCOUNT_CONCURRENCY
    """Concurrent invocations of the account that no other function uses."""
    scales: bool = True
    """True if the mapping starts with few invocations and adds more; False for all from the start, as the simulator."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit of concurrent invocations."""

    name: str
    """Its name, for readers."""
    batches: int
    """Maximum number of batches in progress."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time and cost of a backlog."""

    seconds: float
    """Time until the queue is empty."""
    batches: int
    """Invocations."""
    concurrency: int
    """Maximum number of concurrent invocations."""
    binds: str
    """The limiting factor: a quota's name, the scaling rate of the mapping, or the number of batches."""
    lambda_dollars: float
    """Price of duration, requests, and the start of each execution environment."""
    sqs_dollars: float
    """Price of sending, receiving and deleting in batches of ten."""


def quotas_of(backlog: Backlog, records_per_batch: int) -> list[Quota]:
    """Return the limits of concurrent invocations, tightest first."""
    quotas = [
        Quota("the mapping's limit", MAPPING_SCALING_MAX),
        Quota("the account's concurrency", backlog.account_concurrency),
        Quota("messages in flight", max(1, SQS_IN_FLIGHT_MESSAGES // records_per_batch)),
    ]
    if backlog.maximum_concurrency is not None:
        quotas.append(Quota("the mapping's maximum concurrency", backlog.maximum_concurrency))
    return sorted(quotas, key=lambda quota: quota.batches)


def estimate(rates: Rates, backlog: Backlog, prices: Prices) -> Estimate:
    """Return the time and cost of a backlog at the measured rates."""
    deliveries = backlog.records / (1 - rates.failed_share)
    batches = math.ceil(deliveries / rates.records)
    tightest = quotas_of(backlog, rates.records)[0]
    most = min(tightest.batches, batches)
    binds = tightest.name if tightest.batches < batches else "the number of batches"
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
        cell: A measured cell.
        samples: The samples of the sweep. Only those of the cell are used.
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
    """Return the relative error of predicting each repeat from the others, by repeat."""
    repeats = [sample for sample in samples if sample.setting == cell.setting and sample.end == MEASURED]
    errors = []
    for held_out in repeats:
        others = [sample for sample in repeats if sample is not held_out]
        records, seconds = sum(sample.records for sample in others), sum(sample.seconds for sample in others)
        if records and held_out.seconds:
            errors.append(held_out.records * seconds / records / held_out.seconds - 1)
    return errors


def _ramped(work_seconds: float, most: int) -> tuple[float, int]:
    """Return how long this work takes while the mapping adds invocations, and the number of invocations at the end."""
    first = min(MAPPING_SCALING_INITIAL, most)
    full_after = (most - first) / MAPPING_SCALING_PER_SECOND
    before_full = first * full_after + MAPPING_SCALING_PER_SECOND * full_after**2 / 2
    if work_seconds >= before_full:
        return full_after + (work_seconds - before_full) / most if most else 0.0, most
    # first·t + rate·t²/2 = work
    seconds = (math.sqrt(first**2 + 2 * MAPPING_SCALING_PER_SECOND * work_seconds) - first) / MAPPING_SCALING_PER_SECOND
    return seconds, min(most, math.floor(first + MAPPING_SCALING_PER_SECOND * seconds))


def _requests(records: int, deliveries: float, record_bytes: int) -> float:
    """Return the billed SQS requests: send, receive and delete in batches of ten, one for each 64 KB of payload."""
    tens = math.ceil(SQS_BATCH_ENTRIES * record_bytes / SQS_BILLED_BYTES)
    return (records * max(1, tens) + deliveries * max(1, tens) + records) / SQS_BATCH_ENTRIES


_TRIAL_CONCURRENCY = 10
_WAVES = 20


@dataclass(frozen=True, slots=True)
class Trial:
    """An estimate and a simulation of the same backlog."""

    batches: int
    """Number of batches."""
    concurrency: int
    """Concurrent invocations, from start to end."""
    simulated_seconds: float
    """The simulated duration."""
    estimated_seconds: float
    """The estimated duration."""

    @property
    def error(self) -> float:
        """Relative error of the estimate; positive if the estimate is too long."""
        return self.estimated_seconds / self.simulated_seconds - 1


def against_the_simulator(
    rates: Rates, batch_seconds: Sequence[float], backlog: Backlog, prices: Prices, *, seed: int = 0
) -> Trial:
    """Return a trial of an estimate with at most ten concurrent invocations and 20 batches for each.

    Simulated batches always have ten messages; their durations are drawn from the measured ones. The simulator does not
    scale up, so the estimate is made without scaling, too.

    Args:
        rates: The rates to estimate with.
        batch_seconds: Measured durations; at least one.
        backlog: The backlog. If it is large, only a part is simulated.
        prices: Required by ``estimate``; they do not affect the trial.
        seed: Seed of the drawn durations.
    """
    batches = max(1, min(-(-backlog.records // rates.records), _TRIAL_CONCURRENCY * _WAVES))
    concurrency = min(_TRIAL_CONCURRENCY, backlog.maximum_concurrency or _TRIAL_CONCURRENCY, batches)
    rng = random.Random(seed)  # noqa: S311 - reproducible
    with Simulator(
        invoke=lambda _: Returned("null"),
        batch_size=MAPPING_DEFAULT_BATCH_SIZE,
        maximum_concurrency=concurrency,
        visibility_timeout=43_200,
        function_timeout=900,
        invocation_seconds=lambda _: rng.choice(batch_seconds),
        seed=seed,
    ) as simulator:
        simulator.send(*range(batches * MAPPING_DEFAULT_BATCH_SIZE))
        deliveries = simulator.run()
    simulated = max(delivery.ended_at for delivery in deliveries)
    warm = Rates(rates.records, rates.seconds, rates.memory_mb)
    part = Backlog(batches * rates.records, maximum_concurrency=concurrency, scales=False)
    return Trial(batches, concurrency, simulated, estimate(warm, part, prices).seconds)
