"""How long batches take while a mapping, its pollers, and its function add capacity.

Every batch takes the first free slot. A slot exists from the time at which both the mapping and the function have
scaled that far. Provisioned pollers start a batch when they have read it. The rules are those of ``_replay.scaling``.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fanfold._replay.scaling import ManagedInstances, Scaling

_MAX_SCHEDULED: Final = 50_000
"""Batches up to which each one is scheduled; of more, the work as a whole is."""
_MAX_DRAWN: Final = 20_000
"""Batches in all runs whose mean is returned."""
_MAX_RUNS: Final = 400


@dataclass(frozen=True, slots=True)
class Capacity:
    """The limits of the batches that are processed concurrently."""

    scaling: Scaling
    """The scaling of the mapping."""
    most: int
    """Maximum number of concurrent batches, at least 1, by all quotas."""
    instances: ManagedInstances | None = None
    """The capacity of a function on Managed Instances; None for an ordinary function."""

    def slot_times(self) -> Iterator[float]:
        """Yield the time at which each slot exists, in ascending order."""
        for number in range(1, min(self.most, self.scaling.most) + 1):
            time = self.scaling.seconds_until(number)
            if self.instances is not None:
                time = max(time, self.instances.seconds_until(number))
            yield time


@dataclass(frozen=True, slots=True)
class Timeline:
    """When batches are done."""

    seconds: float
    """Time until the last batch is done."""
    concurrency: int
    """Maximum number of concurrent batches."""
    reads_bind: bool = False
    """True if the pollers' throughput, not the number of slots, determines the time."""


def timeline(
    batches: int, batch_seconds: Sequence[float], capacity: Capacity, records: int, size_bytes: int, *, seed: int = 0
) -> Timeline:
    """Return when batches are done that are all available at the start.

    Args:
        batches: Number of batches.
        batch_seconds: Durations, from which those of the batches are drawn; at least one, all above 0.
        capacity: What limits the concurrent batches.
        records: Records in a batch.
        size_bytes: Size of a batch.
        seed: Seed of the draws. Of a few batches, up to 400 runs are drawn, and their mean is returned.
    """
    if not batches:
        return Timeline(0.0, 0)
    read = capacity.scaling.seconds_to_read
    if batches > _MAX_SCHEDULED:
        return _flow(batches, batch_seconds, capacity, read(records, size_bytes, 0.0))
    runs = 1 if len(set(batch_seconds)) == 1 else max(1, min(_MAX_RUNS, _MAX_DRAWN // batches))
    rng = random.Random(seed)  # noqa: S311 - reproducible
    drawn = [
        _schedule(rng.choices(batch_seconds, k=batches), capacity, lambda time: read(records, size_bytes, time))
        for _ in range(runs)
    ]
    return Timeline(
        sum(run.seconds for run in drawn) / runs,
        max(run.concurrency for run in drawn),
        sum(run.reads_bind for run in drawn) > runs / 2,
    )


def _schedule(durations: Sequence[float], capacity: Capacity, seconds_to_read: Callable[[float], float]) -> Timeline:
    """Assign each batch to the first free slot."""
    slots = capacity.slot_times()
    next_slot = next(slots, math.inf)
    free_at: list[float] = []
    readable_at = end = 0.0
    waited_for_reads = 0
    for duration in durations:
        if free_at and free_at[0] <= next_slot:
            slot_at = heapq.heappop(free_at)
        else:
            slot_at, next_slot = next_slot, next(slots, math.inf)
        start = max(slot_at, readable_at)
        waited_for_reads += readable_at > slot_at
        readable_at = start + seconds_to_read(start)
        heapq.heappush(free_at, start + duration)
        end = max(end, start + duration)
    return Timeline(end, len(free_at), waited_for_reads > len(durations) / 2)


def _flow(batches: int, batch_seconds: Sequence[float], capacity: Capacity, seconds_to_read: float) -> Timeline:
    """Return when many batches are done, from their whole work: slots are always in use, and differ in their ends.

    With the first ``n`` slots, ``n`` times the end, minus the times at which they exist, is the work. At the end, the
    last batches have on average half of their time left.
    """
    mean = sum(batch_seconds) / len(batch_seconds)
    seconds, concurrency = _work_done(batches * mean, capacity.slot_times())
    reads = 0.0
    if seconds_to_read:
        first = capacity.scaling.concurrency(0.0)
        growing = Capacity(capacity.scaling, capacity.scaling.most)
        reads, _ = _work_done(batches * seconds_to_read * first, growing.slot_times())
    return Timeline(max(seconds, reads) + mean / 2, concurrency, reads > seconds)


def _work_done(work_seconds: float, slot_times: Iterator[float]) -> tuple[float, int]:
    """Return when the slots have done this work, and how many of them exist by then."""
    begun, count = 0.0, 0
    end = math.inf
    for time in slot_times:
        if time >= end:
            break
        begun, count = begun + time, count + 1
        end = (work_seconds + begun) / count
    return end, count
