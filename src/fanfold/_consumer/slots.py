"""The workers of the batches that run concurrently in one process, within one limit and shared fairly."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Protocol


class Limit(Protocol):
    """The most workers of all batches of a process."""

    workers: int
    """The number, at least 1; it may change whenever a record ends."""


class FixedLimit:
    """A limit that never changes.

    Args:
        workers: The most workers; without a limit by default.
    """

    def __init__(self, workers: int = sys.maxsize) -> None:
        self.workers: int = workers
        """The most workers."""


class SharesSlots(Protocol):
    """A batch, as the slots see it."""

    @property
    def wanted_workers(self) -> int:
        """Number of workers that it can use; 0 once it has no more records to start."""
        ...

    @property
    def records_in_flight(self) -> int:
        """Number of its records that are being processed."""
        ...

    def start_workers(self, count: int) -> None:
        """Start workers, at least one. Each holds a slot until ``Slots.release``; call ``Slots.has_started`` for each.

        It may start fewer, and call ``Slots.give_back`` for the others.
        """
        ...


class Slots:
    """The workers of all batches that run concurrently in one process: at most ``limit`` in total, shared fairly.

    A batch that finds no free slot waits. While one waits, a batch with more than its fair share, ``limit`` divided by
    the number of batches, ends a worker after each record. If there are fewer slots than batches, they take turns.

    Its methods may be called from any thread. They start workers only after the lock is released.

    Args:
        limit: The most workers. If it falls, workers end after their record; if it rises, call ``fill``.
    """

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self.lock = threading.Lock()
        """Held for a moment by every method but those that only look."""
        self._taken: dict[SharesSlots, int] = {}
        """The batches that run, and their workers."""
        self._used = 0
        """Workers of all batches."""
        self.are_shared: bool = False
        """True if several batches run."""
        self._waiting: deque[SharesSlots] = deque()
        self._starting: dict[SharesSlots, int] = {}
        """Batches with workers that are about to start, and their number."""

    @property
    def crowded(self) -> bool:
        """True if batches compete for slots, or there are more workers than the limit allows."""
        return (bool(self._waiting) and len(self._taken) > 1) or self._used > self._limit.workers

    @property
    def have_room(self) -> bool:
        """True if a batch waits although a slot is free."""
        return bool(self._waiting) and self._used < self._limit.workers

    @property
    def records_in_flight(self) -> int:
        """Number of records of all batches that are being processed."""
        return sum(batch.records_in_flight for batch in list(self._taken))

    def workers_of_others(self, batch: SharesSlots) -> int:
        """Return the number of workers of other batches."""
        return self._used - self._taken.get(batch, 0)

    def is_waiting(self, batch: SharesSlots) -> bool:
        """Return whether a batch waits for a slot, or for the start of a worker in one; call this with ``lock``."""
        return batch in self._starting or batch in self._waiting

    def has_started(self, batch: SharesSlots, count: int = 1) -> None:
        """Note that a batch counts workers that it was asked to start itself, or that there are none to start."""
        with self.lock:
            self._note_started(batch, count)

    def enter(self, batch: SharesSlots) -> None:
        """Start the workers of a batch, as many as there are free slots; it waits for the others."""
        self._taken[batch] = 0
        self.are_shared = len(self._taken) > 1
        self.want(batch)

    def leave(self, batch: SharesSlots) -> None:
        """Free the slots of a batch, those of abandoned workers included."""
        with self.lock:
            self._used -= self._taken.pop(batch, 0)
            self.are_shared = len(self._taken) > 1
            self._stop_waiting(batch)
        self.fill()

    def release(self, batch: SharesSlots, count: int = 1) -> None:
        """Free the slots of workers that have ended, for a batch that waits; this batch waits too, as the last one."""
        with self.lock:
            self._free(batch, count)
        self._pass_on(batch)

    def give_back(self, batch: SharesSlots, count: int = 1) -> None:
        """Free the slots of workers that were not started."""
        with self.lock:
            self._note_started(batch, count)
            self._free(batch, count)
        self._pass_on(batch)

    def want(self, batch: SharesSlots) -> None:
        """Start the workers that a batch wants, or let it wait for free slots."""
        with self.lock:
            more = batch.wanted_workers - self._taken[batch] if batch in self._taken else 0
            if more <= 0:
                self._stop_waiting(batch)
                return
            granted = 0 if self._waiting else max(0, min(more, self._limit.workers - self._used))
            if granted < more and batch not in self._waiting:
                self._waiting.append(batch)
            self._give(batch, granted)
        if granted:
            batch.start_workers(granted)

    def should_yield(self, batch: SharesSlots) -> bool:
        """Return whether a worker of a batch should end: for another batch, or because the limit has fallen."""
        if self._used > self._limit.workers:
            return True
        if not self._waiting:
            return False
        with self.lock:
            others_wait = any(other is not batch for other in self._waiting)
            return others_wait and self._taken.get(batch, 0) > self._limit.workers // len(self._taken)

    def fill(self) -> None:
        """Give free slots to the batches that wait."""
        while self._waiting and (batch := self._take()) is not None:
            batch.start_workers(1)

    # --- With the lock.

    def _give(self, batch: SharesSlots, count: int) -> None:
        if count:
            self._used += count
            self._taken[batch] += count
            self._starting[batch] = self._starting.get(batch, 0) + count

    def _free(self, batch: SharesSlots, count: int) -> None:
        if batch in self._taken:
            self._used -= count
            self._taken[batch] -= count

    def _note_started(self, batch: SharesSlots, count: int) -> None:
        left = self._starting.pop(batch, 0) - count
        if left > 0:
            self._starting[batch] = left

    def _stop_waiting(self, batch: SharesSlots) -> None:
        if batch in self._waiting:
            self._waiting.remove(batch)

    # --- Without the lock.

    def _pass_on(self, batch: SharesSlots) -> None:
        """Give free slots to the batches that wait; a batch that could use them itself waits as the last one."""
        if self._waiting or batch.wanted_workers:
            self.fill()
            self.want(batch)

    def _take(self) -> SharesSlots | None:
        """Take a free slot for the batch that has waited longest, and return that batch; None if none can use it."""
        with self.lock:
            while self.have_room:
                batch = self._waiting.popleft()
                wanted = batch.wanted_workers
                if self._taken[batch] < wanted:
                    self._give(batch, 1)
                    if self._taken[batch] < wanted:
                        self._waiting.append(batch)
                    return batch
            return None
