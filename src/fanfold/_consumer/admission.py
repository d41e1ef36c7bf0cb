"""Decide which record may start now, by concurrency, a start rate, and memory limits. The batch does the waiting."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from fanfold._consumer.slots import FixedLimit, Limit, SharesSlots, Slots

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

    @property
    def reason(self) -> str:
        """Why records were not started, if they would have had to wait until the invocation is about to time out."""
        ...

    @property
    def delays_messages(self) -> bool:
        """True if the messages of these records must not be redelivered before the wait would have ended."""
        ...

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
    reason: str = "the start rate left no time for more records"
    delays_messages: bool = False

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

    reason: str = "memory was full"
    delays_messages: bool = False

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


class AdaptiveLimit(Policy, Limit, Protocol):
    """A limit that adjusts to how long handlers take and how they end, and that may hold back all starts."""

    is_quiet: bool
    """True if a record whose handler returned None changes nothing: then ``ended`` need not be called."""

    def ended(self, started_at: float, now: float, value: object, running: int) -> bool:
        """Note that a record has ended; return whether the limit or its policy has changed.

        Args:
            started_at: When its handler started.
            now: Current time.
            value: What the handler returned or raised.
            running: Records in flight, this one included.
        """
        ...

    def delay_after(self, error: BaseException) -> float | None:
        """Return the seconds after which a service that is overloaded asks to be called again; None if it does not."""
        ...


class Admission:
    """The limits that the batches of a process share: slots for their workers, and policies that each start must pass.

    It is used from several threads: only with ``lock`` may ``wait`` be called.

    Args:
        policies: The limits besides the concurrency; the first that asks for a wait decides.
        concurrency: The most workers of all batches; None if each batch has a separate limit.
        adaptive: A limit of the workers that adjusts itself, in place of ``concurrency``; also the first policy.
    """

    def __init__(
        self,
        policies: Sequence[Policy] = (),
        *,
        concurrency: int | None = None,
        adaptive: AdaptiveLimit | None = None,
    ) -> None:
        limit = adaptive or (FixedLimit() if concurrency is None else FixedLimit(concurrency))
        self.slots: Slots = Slots(limit)
        """The workers of the batches."""
        self.lock = threading.Lock()
        """Held for a moment, by who calls ``wait``."""
        self.adaptive: AdaptiveLimit | None = adaptive
        """The limit that adjusts itself, which must be notified of every record that ends; None for a fixed one."""
        self._policies: tuple[Policy, ...] = (*(() if adaptive is None else (adaptive,)), *policies)
        self.free_until: float = -math.inf if self._policies else math.inf
        """Time until which records may start without calling ``wait``."""
        self.holding: Policy | None = None
        """The policy that asked for the last wait."""

    @property
    def held_for_memory(self) -> int:
        """Number of times a start waited for memory."""
        return sum(policy.held for policy in self._policies)

    @property
    def limit(self) -> int | None:
        """The limit of the workers, if it adjusts itself; None for a fixed one."""
        return None if self.adaptive is None else self.adaptive.workers

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
                self.holding = policy
                return seconds
        # While batches compete for slots, or there are too many workers, every start asks.
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

    def limit_changed(self) -> bool:
        """Let the next start ask; return whether more workers may start, for which ``Slots.fill`` must be called."""
        self.free_until = -math.inf  # the next start asks: workers may have to leave, or to wait
        return self.slots.have_room
