"""Decide which record may start now, by concurrency, a start rate, and memory limits. The batch does the waiting."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.memory_guard import MemoryGuard

CHECK_SECONDS: Final = 0.005
"""Interval between memory checks, in seconds."""
WAIT_SECONDS: Final = 0.02
"""Time until the next memory check after memory was full, in seconds."""


class Policy(Protocol):
    """One limit on the starts of records. It decides from values and the time, and never waits itself."""

    held: int
    """Number of times a start waited for memory; 0 for a limit of something else."""

    def batch_starts(self) -> None:
        """Note that a batch starts."""
        ...

    def wait(self, now: float, running: int) -> float:
        """Return the seconds until the next record may start; 0 if it may start now.

        Args:
            now: Current time.
            running: Records in flight.
        """
        ...

    def started(self, now: float, running: int) -> float:
        """Note that a record starts in addition to those in flight; return until when others may start unasked."""
        ...


class StartRate:
    """At most a number of starts per second, evenly spread.

    Args:
        starts_per_second: The rate, greater than 0.
        now: Current time.
    """

    held: int = 0

    def __init__(self, starts_per_second: float, now: float) -> None:
        self._interval = 1 / starts_per_second
        self._next_start = now

    def batch_starts(self) -> None:
        """Keep the time of the next start: batches share the rate."""

    def wait(self, now: float, running: int) -> float:  # noqa: ARG002 - see Policy
        """Return the seconds until the next start."""
        return max(0.0, self._next_start - now)

    def started(self, now: float, running: int) -> float:  # noqa: ARG002 - see Policy
        """Schedule the next start: after a late one, the next ones do not start in a burst."""
        self._next_start = now + self._interval
        return -math.inf


class MemoryLimit:
    """No record starts while memory is full, unless none is in flight: waiting would not free any memory.

    Args:
        guard: Decides whether memory is full.
        now: Current time.
    """

    def __init__(self, guard: MemoryGuard, now: float) -> None:
        self.held: int = 0
        self._guard = guard
        self._next_check = now

    def batch_starts(self) -> None:
        """Keep the time of the next check."""

    def wait(self, now: float, running: int) -> float:
        """Return the seconds until memory should be checked again; 0 if it has room."""
        if now >= self._next_check:
            if not self._guard.full():
                self._next_check = now + CHECK_SECONDS
            elif running:
                self.held += 1
                return WAIT_SECONDS
        return 0.0

    def started(self, now: float, running: int) -> float:  # noqa: ARG002 - see Policy
        """Return when memory has to be checked again: in the past while it is full."""
        return self._next_check


class Admission:
    """The limits that the batches of a process share: slots for their workers, and policies that each start must pass.

    It is used from several threads: only with ``lock`` may ``wait`` be called.

    Args:
        policies: The limits besides the concurrency; the first that asks for a wait decides.
        concurrency: The most workers of all batches; None if each batch has a separate limit.
    """

    def __init__(self, policies: Sequence[Policy] = (), *, concurrency: int | None = None) -> None:
        self.slots: Slots = Slots(concurrency)
        """The workers of the batches."""
        self.lock = threading.Lock()
        """Held for a moment, by who calls ``wait``."""
        self._policies = tuple(policies)
        self.free_until: float = -math.inf if policies else math.inf
        """Time until which records may start without calling ``wait``."""

    @property
    def held_for_memory(self) -> int:
        """Number of times a start waited for memory."""
        return sum(policy.held for policy in self._policies)

    def enter(self, batch: SharesSlots) -> None:
        """Start the workers of a batch; see ``Slots.enter``."""
        for policy in self._policies:
            policy.batch_starts()
        self.slots.enter(batch)
        if self.slots.crowded:
            self.free_until = -math.inf  # the batches share the slots from now on

    def wait(self, now: float, running: int) -> float:
        """Return the seconds until the next record may start; 0 counts as a start, so call it once per record.

        Args:
            now: Current time.
            running: Records in flight.
        """
        for policy in self._policies:
            if seconds := policy.wait(now, running):
                return seconds
        # While a batch waits for a slot, every start asks.
        free_until = -math.inf if self.slots.crowded else math.inf
        for policy in self._policies:
            free_until = min(free_until, policy.started(now, running))
        self.free_until = free_until
        return 0.0

    def ask(self, now: float) -> tuple[float, int]:
        """Return what ``wait`` does, from any thread, and how many times this start waited for memory."""
        with self.lock:
            held = self.held_for_memory
            return self.wait(now, self.slots.records_in_flight), self.held_for_memory - held


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

    def start_worker(self) -> None:
        """Start a worker, which holds a slot until ``Slots.release``; then call ``Slots.has_started``."""
        ...


class Slots:
    """The workers of all batches that run concurrently in one process: at most ``limit`` in total, shared fairly.

    A batch that finds no free slot waits. While one waits, a batch with more than its fair share, ``limit`` divided by
    the number of batches, ends a worker after each record. If there are fewer slots than batches, they take turns.

    Its methods may be called from any thread. They start workers only after the lock is released.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.lock = threading.Lock()
        """Held for a moment by every method but those that only look."""
        self._taken: dict[SharesSlots, int] = {}
        """The batches that run, and their workers."""
        self._waiting: deque[SharesSlots] = deque()
        self._starting: list[SharesSlots] = []
        """Batches whose worker is about to start, once for each."""

    @property
    def crowded(self) -> bool:
        """True if a batch waits for a slot."""
        return bool(self._waiting)

    @property
    def records_in_flight(self) -> int:
        """Number of records of all batches that are being processed."""
        return sum(batch.records_in_flight for batch in list(self._taken))

    def is_waiting(self, batch: SharesSlots) -> bool:
        """Return whether a batch waits for a slot, or for the start of a worker in one; call this with ``lock``."""
        return batch in self._starting or batch in self._waiting

    def has_started(self, batch: SharesSlots) -> None:
        """Note that a batch counts a worker that it was asked to start itself, or that there is none to start."""
        with self.lock:
            if batch in self._starting:
                self._starting.remove(batch)

    def enter(self, batch: SharesSlots) -> None:
        """Start the workers of a batch, as many as there are free slots; it waits for the others."""
        self._taken[batch] = 0
        self.want(batch)

    def leave(self, batch: SharesSlots) -> None:
        """Free the slots of a batch, those of abandoned workers included."""
        with self.lock:
            self._taken.pop(batch, None)
            self._stop_waiting(batch)
        self._grant()

    def release(self, batch: SharesSlots) -> None:
        """Free the slot of a worker that has ended, for a batch that waits; this batch waits too, as the last one."""
        with self.lock:
            if batch in self._taken:
                self._taken[batch] -= 1
        if self._waiting or batch.wanted_workers:
            self._grant()
            self.want(batch)

    def give_back(self, batch: SharesSlots) -> None:
        """Free the slot of a worker that was not started."""
        self.has_started(batch)
        self.release(batch)

    def want(self, batch: SharesSlots) -> None:
        """Start the workers that a batch wants, or let it wait for free slots."""
        wants_more = True
        while wants_more:
            with self.lock:
                taken, wanted = self._taken.get(batch, 0), batch.wanted_workers if batch in self._taken else 0
                if taken >= wanted:
                    self._stop_waiting(batch)
                    return
                if self._waiting or not self._has_free():
                    if batch not in self._waiting:
                        self._waiting.append(batch)
                    return
                self._taken[batch] = taken + 1
                self._starting.append(batch)
                wants_more = taken + 1 < wanted
            batch.start_worker()

    def should_yield(self, batch: SharesSlots) -> bool:
        """Return whether a worker of a batch should end, so that another batch gets its slot."""
        if self._limit is None or not self._waiting:
            return False
        with self.lock:
            others_wait = any(other is not batch for other in self._waiting)
            return others_wait and self._taken.get(batch, 0) > self._limit // len(self._taken)

    def _has_free(self) -> bool:
        return self._limit is None or sum(self._taken.values()) < self._limit

    def _stop_waiting(self, batch: SharesSlots) -> None:
        if batch in self._waiting:
            self._waiting.remove(batch)

    def _grant(self) -> None:
        while self._waiting and (batch := self._take()) is not None:
            batch.start_worker()

    def _take(self) -> SharesSlots | None:
        """Take a free slot for the batch that has waited longest, and return that batch; None if none can use it."""
        with self.lock:
            while self._waiting and self._has_free():
                batch = self._waiting.popleft()
                wanted = batch.wanted_workers
                if self._taken[batch] < wanted:
                    self._taken[batch] += 1
                    self._starting.append(batch)
                    if self._taken[batch] < wanted:
                        self._waiting.append(batch)
                    return batch
            return None
