"""The number of batches that an event source mapping and its function process concurrently, over time.

The rules are from the Lambda developer guide, "Configuring scaling behavior for SQS event source mappings" and "Scaling
Lambda Managed Instances", as of November 2026. Lambda adds invocations while messages are available, and removes them
when traffic is low. AWS does not publish the steps; here, both happen continuously and without delay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

from fanfold._base.aws_limits import (
    MANAGED_INSTANCES_DOUBLING_SECONDS,
    MANAGED_INSTANCES_ENVIRONMENTS,
    MANAGED_INSTANCES_MAX_ENVIRONMENTS,
    MANAGED_INSTANCES_MAX_PROCESSES,
    MANAGED_INSTANCES_PROCESSES_PER_VCPU,
    MAPPING_MAX_MINIMUM_POLLERS,
    MAPPING_MAX_POLLERS,
    MAPPING_MIN_POLLERS,
    MAPPING_POLLER_BATCHES,
    MAPPING_POLLER_BYTES_PER_SECOND,
    MAPPING_POLLER_RECEIVES_PER_SECOND,
    MAPPING_PROVISIONED_MAX,
    MAPPING_PROVISIONED_PER_SECOND,
    MAPPING_SCALING_INITIAL,
    MAPPING_SCALING_MAX,
    MAPPING_SCALING_PER_SECOND,
    SQS_RECEIVE_MESSAGES,
)
from fanfold.errors import ConfigurationError

_ROUNDING: Final = 1e-6
"""Concurrent batches by which a time may be rounded down."""


@dataclass(frozen=True, slots=True)
class Pollers:
    """The pollers of a mapping in provisioned mode. One poller processes ten batches concurrently.

    Raises:
        ConfigurationError: If AWS would reject the numbers.
    """

    minimum: int = MAPPING_MIN_POLLERS
    """``MinimumPollers``, 2 to 200."""
    maximum: int = MAPPING_MAX_MINIMUM_POLLERS
    """``MaximumPollers``, 2 to 10,000, and at least ``minimum``."""

    def __post_init__(self) -> None:
        ranges = (
            ("MinimumPollers", self.minimum, MAPPING_MAX_MINIMUM_POLLERS),
            ("MaximumPollers", self.maximum, MAPPING_MAX_POLLERS),
        )
        for name, value, most in ranges:
            if type(value) is not int or not MAPPING_MIN_POLLERS <= value <= most:
                raise ConfigurationError(
                    f"{name} must be an integer from {MAPPING_MIN_POLLERS} to {most:,}, not {value!r}"
                )
        if self.minimum > self.maximum:
            raise ConfigurationError(
                f"MinimumPollers must be at most MaximumPollers, {self.maximum:,}, not {self.minimum:,}"
            )


class Growth(Protocol):
    """A number of concurrent batches that grows while messages are available."""

    def concurrency(self, seconds: float) -> int:
        """Return the number of concurrent batches after this many seconds with available messages."""
        ...

    def seconds_until(self, concurrency: int) -> float:
        """Return the seconds after which this many batches are processed concurrently; infinity for never."""
        ...


@dataclass(frozen=True, slots=True)
class Scaling:
    """The number of batches that a mapping processes concurrently, while messages are available."""

    initial: int
    """Concurrent batches at first."""
    most: int
    """Maximum number of concurrent batches."""
    per_second: float = 0.0
    """Concurrent batches that are added per second; above 0 if ``most`` is above ``initial``."""
    provisioned: bool = False
    """True if provisioned pollers, which have a limited throughput, read the queue."""

    def concurrency(self, seconds: float) -> int:
        """Return the number of concurrent batches after this many seconds with available messages."""
        return min(self.most, math.floor(self.initial + self.per_second * seconds + _ROUNDING))

    def seconds_until(self, concurrency: int) -> float:
        """Return the seconds after which this many batches are processed concurrently; infinity for never."""
        if concurrency <= self.initial:
            return 0.0
        if concurrency > self.most:
            return math.inf
        return (concurrency - self.initial) / self.per_second

    def seconds_to_read(self, records: int, size_bytes: int, seconds: float) -> float:
        """Return how long the pollers need to read a batch, after this many seconds with available messages.

        A provisioned poller reads about 1 MB per second, in at most ten calls per second of at most ten messages. In
        standard mode, AWS publishes no limit: 0.
        """
        if not self.provisioned:
            return 0.0
        receives = math.ceil(records / SQS_RECEIVE_MESSAGES) / MAPPING_POLLER_RECEIVES_PER_SECOND
        pollers = max(1, math.ceil(self.concurrency(seconds) / MAPPING_POLLER_BATCHES))
        return max(receives, size_bytes / MAPPING_POLLER_BYTES_PER_SECOND) / pollers


def fixed_scaling(concurrency: int) -> Scaling:
    """Return the scaling of a mapping that has reached its limit: this many concurrent batches from the start."""
    return Scaling(concurrency, concurrency)


def standard_scaling(maximum_concurrency: int | None = None) -> Scaling:
    """Return the scaling in standard mode: 5 concurrent batches, 300 more per minute, up to 1,250.

    Args:
        maximum_concurrency: ``MaximumConcurrency`` of the mapping; None if it is not set.
    """
    most = min(MAPPING_SCALING_MAX, maximum_concurrency or MAPPING_SCALING_MAX)
    return Scaling(min(MAPPING_SCALING_INITIAL, most), most, MAPPING_SCALING_PER_SECOND)


def provisioned_scaling(pollers: Pollers) -> Scaling:
    """Return the scaling in provisioned mode: 10 batches per poller, 1,000 more per minute, up to 20,000."""
    most = min(MAPPING_PROVISIONED_MAX, pollers.maximum * MAPPING_POLLER_BATCHES)
    return Scaling(pollers.minimum * MAPPING_POLLER_BATCHES, most, MAPPING_PROVISIONED_PER_SECOND, provisioned=True)


@dataclass(frozen=True, slots=True)
class ManagedInstances:
    """The capacity of a function on Lambda Managed Instances.

    AWS states that invocations may be throttled if traffic more than doubles within five minutes, and publishes no
    rate. Here, the number of execution environments doubles every five minutes while messages are available.

    Raises:
        ConfigurationError: If AWS would reject the numbers.
    """

    processes: int = MANAGED_INSTANCES_PROCESSES_PER_VCPU
    """Concurrent invocations in one execution environment, 1 to 1,600."""
    environments: int = MANAGED_INSTANCES_ENVIRONMENTS
    """Execution environments at first, at least 1."""
    maximum_environments: int = MANAGED_INSTANCES_MAX_ENVIRONMENTS
    """``MaxExecutionEnvironments``, up to 15,000, and at least ``environments``."""

    def __post_init__(self) -> None:
        ranges = (
            ("processes", self.processes, 1, MANAGED_INSTANCES_MAX_PROCESSES),
            ("environments", self.environments, 1, MANAGED_INSTANCES_MAX_ENVIRONMENTS),
            ("maximum_environments", self.maximum_environments, self.environments, MANAGED_INSTANCES_MAX_ENVIRONMENTS),
        )
        for name, value, least, most in ranges:
            if type(value) is not int or not least <= value <= most:
                raise ConfigurationError(f"{name} must be an integer from {least:,} to {most:,}, not {value!r}")

    def concurrency(self, seconds: float) -> int:
        """Return the number of concurrent invocations after this many seconds with available messages."""
        doublings = min(seconds / MANAGED_INSTANCES_DOUBLING_SECONDS, math.log2(self.maximum_environments) + 1)
        environments = math.floor(self.environments * 2**doublings + _ROUNDING)
        return min(self.maximum_environments, environments) * self.processes

    def seconds_until(self, concurrency: int) -> float:
        """Return the seconds after which this many invocations run concurrently; infinity for never."""
        environments = math.ceil(concurrency / self.processes)
        if environments > self.maximum_environments:
            return math.inf
        return MANAGED_INSTANCES_DOUBLING_SECONDS * math.log2(max(1.0, environments / self.environments))
