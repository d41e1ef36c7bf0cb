"""An estimate for a whole backlog from a measured cell: time, cost, concurrent invocations, and the limiting factor.

It uses the scaling rules of ``_replay.scaling``, the rules of fair queues in ``inmemory.fairness``, and the quotas in
``_base.aws_limits``. It assumes that the backlog exists from the start, that batches are full, that downstream services
do not slow down, that a batch takes as long on Lambda as where it was measured, and that failed messages are
redelivered before the end.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fanfold._base.aws_limits import (
    LAMBDA_ACCOUNT_CONCURRENCY,
    SQS_BATCH_ENTRIES,
    SQS_BILLED_BYTES,
    SQS_IN_FLIGHT_MESSAGES,
    SQS_MAX_VISIBILITY_SECONDS,
    SQS_NOISY_IN_FLIGHT,
    SQS_NOISY_SHARE,
)
from fanfold._replay.delivery import Delivery
from fanfold._replay.mapping import Returned
from fanfold._replay.scaling import ManagedInstances, Pollers, Scaling, provisioned_scaling, standard_scaling
from fanfold._replay.simulator import Simulator
from fanfold.bench.cells import MEASURED, Cell, Sample
from fanfold.bench.prices import Prices
from fanfold.bench.timeline import Capacity, Timeline, timeline

RAMP: Final = "the scaling rate of the mapping"
GROWTH: Final = "the growth of Managed Instances"
READING: Final = "the throughput of the pollers"


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
    batch_seconds: tuple[float, ...] = ()
    """Durations of measured batches; empty if all take ``seconds``."""


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
    pollers: Pollers | None = None
    """The pollers of provisioned mode; None for standard mode."""
    instances: ManagedInstances | None = None
    """The capacity of a function on Managed Instances; None for an ordinary function."""
    hourly_price: float = 0.0
    """Price of the instances per hour, US dollars; the management fee is included. 0 if it is not known."""
    noisy_share: float | None = None
    """Share of the backlog, from 0 to 1, that one tenant of a fair queue has sent first; None without tenants."""

    @property
    def scaling(self) -> Scaling:
        """The scaling of the mapping."""
        if self.pollers is not None:
            return provisioned_scaling(self.pollers)
        return standard_scaling(self.maximum_concurrency)


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
    quiet_seconds: float | None = None
    """Time until the messages of all but the noisy tenant are processed; None without tenants."""


def quotas_of(backlog: Backlog, records_per_batch: int) -> list[Quota]:
    """Return the limits of concurrent invocations, tightest first."""
    quotas = [
        Quota("the mapping's limit" if backlog.pollers is None else "the mapping's pollers", backlog.scaling.most),
        Quota("messages in flight", max(1, SQS_IN_FLIGHT_MESSAGES // records_per_batch)),
    ]
    if backlog.instances is None:
        quotas.append(Quota("the account's concurrency", backlog.account_concurrency))
    else:
        most = backlog.instances.maximum_environments * backlog.instances.processes
        quotas.append(Quota("the function's execution environments", most))
    if backlog.pollers is None and backlog.maximum_concurrency is not None:
        quotas[0] = Quota("the mapping's maximum concurrency", backlog.maximum_concurrency)
    return sorted(quotas, key=lambda quota: quota.batches)


def estimate(rates: Rates, backlog: Backlog, prices: Prices) -> Estimate:
    """Return the time and cost of a backlog at the measured rates."""
    deliveries = backlog.records / (1 - rates.failed_share)
    batches = math.ceil(deliveries / rates.records)
    tightest = quotas_of(backlog, rates.records)[0]
    done = _timeline(batches, rates, backlog)
    cold_seconds = rates.cold_start_seconds if batches and backlog.instances is None else 0.0
    quiet = None if backlog.noisy_share is None else _quiet_seconds(rates, backlog, deliveries)
    return Estimate(
        seconds=done.seconds + cold_seconds,
        batches=batches,
        concurrency=done.concurrency,
        binds=_limiting_factor(done, batches, tightest, backlog),
        lambda_dollars=_lambda_dollars(done, batches, rates, backlog, prices),
        sqs_dollars=_requests(backlog.records, deliveries, backlog.record_bytes) * prices.sqs_million / 1_000_000,
        quiet_seconds=None if quiet is None else quiet + cold_seconds,
    )


def _timeline(batches: int, rates: Rates, backlog: Backlog) -> Timeline:
    most = quotas_of(backlog, rates.records)[0].batches
    capacity = Capacity(backlog.scaling, most, backlog.instances)
    size_bytes = rates.records * backlog.record_bytes
    return timeline(batches, rates.batch_seconds or (rates.seconds,), capacity, rates.records, size_bytes)


def _limiting_factor(done: Timeline, batches: int, tightest: Quota, backlog: Backlog) -> str:
    if done.reads_bind:
        return READING
    if done.concurrency >= batches:
        return "the number of batches"
    if done.concurrency >= tightest.batches:
        return tightest.name
    instances = backlog.instances
    if instances is not None and instances.concurrency(done.seconds) < backlog.scaling.concurrency(done.seconds):
        return GROWTH
    return RAMP


def _lambda_dollars(done: Timeline, batches: int, rates: Rates, backlog: Backlog, prices: Prices) -> float:
    """Return the price of duration, requests, and starts; on Managed Instances, of the instances and requests."""
    if backlog.instances is not None:
        return done.seconds / 3600 * backlog.hourly_price + batches * prices.requests_million / 1_000_000
    starts = done.concurrency * rates.cold_start_seconds * rates.memory_mb / 1024 * prices.gb_second
    return batches * prices.invocation(rates.seconds, rates.memory_mb) + starts


def _quiet_seconds(rates: Rates, backlog: Backlog, deliveries: float) -> float:
    """Return when the messages of the quiet tenants of a fair queue are processed.

    The first 30 messages are those of the noisy tenant: then it is noisy, and SQS delivers the others first. Once it
    has less than a tenth of the processing time, its messages are delivered again, so it keeps about a tenth. This
    holds while the noisy tenant sends messages, and if each of the others has less than a tenth.
    """
    quiet = deliveries * (1 - (backlog.noisy_share or 0.0))
    noisy = max(SQS_NOISY_IN_FLIGHT, quiet * SQS_NOISY_SHARE / (1 - SQS_NOISY_SHARE))
    batches = math.ceil((quiet + min(noisy, deliveries - quiet)) / rates.records)
    return _timeline(batches, rates, backlog).seconds if quiet else 0.0


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
        tuple(durations),
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


def _requests(records: int, deliveries: float, record_bytes: int) -> float:
    """Return the billed SQS requests: send, receive and delete in batches of ten, one for each 64 KB of payload."""
    tens = math.ceil(SQS_BATCH_ENTRIES * record_bytes / SQS_BILLED_BYTES)
    return (records * max(1, tens) + deliveries * max(1, tens) + records) / SQS_BATCH_ENTRIES


_TRIAL_BATCHES: Final = 400
"""Maximum number of simulated batches."""
_TRIAL_BYTES: Final = 20_000_000
"""Maximum size of all simulated batches."""
_ENVELOPE_BYTES: Final = 500
"""Size of a record in an event without its body, approximately."""


@dataclass(frozen=True, slots=True)
class Trial:
    """An estimate and a simulation of the same backlog, or of its first part."""

    batches: int
    """Number of batches."""
    concurrency: int
    """Maximum number of concurrent invocations in the simulation."""
    simulated_seconds: float
    """The simulated duration."""
    estimated_seconds: float
    """The estimated duration."""

    @property
    def error(self) -> float:
        """Relative error of the estimate; positive if the estimate is too long."""
        return self.estimated_seconds / self.simulated_seconds - 1


def against_the_simulator(rates: Rates, backlog: Backlog, *, seed: int = 0) -> Trial:
    """Return a trial of an estimate with the backlog's scaling, pollers, and quotas.

    A simulated batch is one message of the size of a batch; the durations are drawn from the measured ones. Of a few
    batches, several runs are simulated, and their mean is compared.

    Args:
        rates: The rates to estimate with.
        backlog: The backlog. If it is large, only its first batches are simulated.
        seed: Seed of the drawn durations.
    """
    size_bytes = rates.records * backlog.record_bytes if backlog.pollers is not None else 1
    most_batches = max(1, min(_TRIAL_BATCHES, _TRIAL_BYTES // size_bytes))
    batches = max(1, min(-(-backlog.records // rates.records), most_batches))
    durations = rates.batch_seconds or (rates.seconds,)
    most = quotas_of(backlog, rates.records)[0].batches
    rng = random.Random(seed)  # noqa: S311 - reproducible
    runs = 1 if len(set(durations)) == 1 else max(1, most_batches // batches)
    simulated = [_simulated(batches, rng.choices(durations, k=batches), size_bytes, backlog, most) for _ in range(runs)]
    estimated = timeline(batches, durations, Capacity(backlog.scaling, most, backlog.instances), 1, size_bytes)
    mean = sum(max(delivery.ended_at for delivery in deliveries) for deliveries in simulated) / runs
    return Trial(batches, max(map(_most_concurrent, simulated)), mean, estimated.seconds)


def _simulated(
    batches: int, durations: Sequence[float], size_bytes: int, backlog: Backlog, most: int
) -> Sequence[Delivery]:
    remaining = iter(durations)
    with Simulator(
        invoke=lambda _: Returned("null"),
        batch_size=1,
        maximum_concurrency=backlog.maximum_concurrency if backlog.pollers is None else None,
        scales=True,
        pollers=backlog.pollers,
        managed_instances=backlog.instances,
        reserved_concurrency=most if backlog.instances is None else None,
        visibility_timeout=SQS_MAX_VISIBILITY_SECONDS,
        max_receive_count=None,
        function_timeout=max(durations),
        invocation_seconds=lambda _: next(remaining),
    ) as simulator:
        simulator.send(*["x" * max(1, size_bytes - _ENVELOPE_BYTES)] * batches)
        return simulator.run()


def _most_concurrent(deliveries: Sequence[Delivery]) -> int:
    ends: list[float] = []
    most = 0
    for delivery in deliveries:
        while ends and ends[0] <= delivery.began_at:
            heapq.heappop(ends)
        heapq.heappush(ends, delivery.ended_at)
        most = max(most, len(ends))
    return most
