"""Decide when the next record may start, by a start rate and a memory limit. The batch does the waiting."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.memory_guard import MemoryGuard
    from fanfold._consumer.memory_share import MemoryShare

CHECK_SECONDS: Final = 0.005
"""Interval between memory checks, in seconds."""
WAIT_SECONDS: Final = 0.02
"""Time until the next memory check after memory was full, in seconds."""


class Admission:
    """The limits that the batches of a process share: concurrency, start rate, and memory.

    Args:
        starts_per_second: The start rate; None for no limit.
        guard: The memory limit; None for no limit.
        now: Current time.
        concurrency: The most workers of all batches; None if each batch has a separate limit.
        share: Decides how many records fit into this process's share of the memory; None if the process shares its
            memory with no other.
    """

    def __init__(
        self,
        *,
        starts_per_second: float | None,
        guard: MemoryGuard | None,
        now: float,
        concurrency: int | None = None,
        share: MemoryShare | None = None,
    ) -> None:
        self.slots: Slots = Slots(concurrency)
        """The workers of the batches."""
        self._interval = None if starts_per_second is None else 1 / starts_per_second
        self._guard = guard
        self._share = share
        self._next_start = now
        self._next_check = now
        self._limited = starts_per_second is not None or guard is not None or share is not None
        self.free_until: float = -math.inf if self._limited else math.inf
        """Time until which records may start without calling ``wait``."""
        self.held_for_memory: int = 0
        """Number of times a start waited for memory."""

    def enter(self, batch: SharesSlots) -> None:
        """Start the workers of a batch; see ``Slots.enter``."""
        if self._share is not None:
            self._share.batch_starts()
        self.slots.enter(batch)
        if self.slots.crowded:
            self.free_until = -math.inf  # the batches share the slots from now on

    def wait(self, now: float, running: int) -> float:
        """Return the seconds until the next record may start; 0 counts as a start, so call it once per record.

        Args:
            now: Current time.
            running: Records in flight. With none, the memory limit does not apply: waiting would not free any memory.
        """
        if not self._limited:
            self.free_until = -math.inf if self.slots.crowded else math.inf
            return 0.0
        if self._guard is not None and now >= self._next_check:
            if not self._guard.full():
                self._next_check = now + CHECK_SECONDS
            elif running:
                self.held_for_memory += 1
                return WAIT_SECONDS
        if self._share is not None and not self._share.has_room(now, running):
            self.held_for_memory += self._share.learned  # what waits for the first record does not wait for memory
            return CHECK_SECONDS
        if self._interval is not None:
            if now < self._next_start:
                return self._next_start - now
            # Evenly spread: after a late start, the next ones do not start in a burst.
            self._next_start = now + self._interval
        elif self._share is None:
            # In the past while memory is full, or a batch waits for a slot: every start calls this method.
            self.free_until = -math.inf if self.slots.crowded else self._next_check
        if self._share is not None:
            self._share.started(now, running)
        return 0.0


class SharesSlots(Protocol):
    """A batch, as the slots see it."""

    @property
    def worker_count(self) -> int:
        """Number of its workers."""
        ...

    @property
    def wanted_workers(self) -> int:
        """Number of workers that it can use; 0 once it has no more records to start."""
        ...

    @property
    def records_in_flight(self) -> int:
        """Number of its records that are being processed."""
        ...

    def start_worker(self) -> None:
        """Start a worker."""
        ...


class Slots:
    """The workers of all batches that run concurrently in one process: at most ``limit`` in total, shared fairly.

    A batch that finds no free slot waits. While one waits, a batch with more than its fair share, ``limit`` divided by
    the number of batches, ends a worker after each record. If there are fewer slots than batches, they take turns.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._batches: list[SharesSlots] = []
        self._waiting: deque[SharesSlots] = deque()

    @property
    def crowded(self) -> bool:
        """True if a batch waits for a slot."""
        return bool(self._waiting)

    @property
    def records_in_flight(self) -> int:
        """Number of records of all batches that are being processed."""
        return sum(batch.records_in_flight for batch in self._batches)

    def is_waiting(self, batch: SharesSlots) -> bool:
        """Return whether a batch waits for a slot."""
        return batch in self._waiting

    def enter(self, batch: SharesSlots) -> None:
        """Start the workers of a batch, as many as there are free slots; it waits for the others."""
        self._batches.append(batch)
        self.worker_ended(batch)

    def leave(self, batch: SharesSlots) -> None:
        """Free the slots of a batch, those of abandoned workers included."""
        self._batches.remove(batch)
        self._stop_waiting(batch)
        self._grant()

    def worker_ended(self, batch: SharesSlots) -> None:
        """Give a free slot to a batch that waits; this batch waits too, as the last one, while it wants workers."""
        if batch.worker_count >= batch.wanted_workers:
            self._stop_waiting(batch)
        elif batch in self._batches and batch not in self._waiting:
            self._waiting.append(batch)
        self._grant()

    def should_yield(self, batch: SharesSlots) -> bool:
        """Return whether a worker of a batch should end, so that another batch gets its slot."""
        if self._limit is None or not any(other is not batch for other in self._waiting):
            return False
        return batch.worker_count > self._limit // len(self._batches)

    def _stop_waiting(self, batch: SharesSlots) -> None:
        if batch in self._waiting:
            self._waiting.remove(batch)

    def _grant(self) -> None:
        while self._waiting and (self._limit is None or sum(b.worker_count for b in self._batches) < self._limit):
            batch = self._waiting.popleft()
            if batch.worker_count < batch.wanted_workers:
                batch.start_worker()
            if batch.worker_count < batch.wanted_workers:
                self._waiting.append(batch)
