"""Decide when the next record may start, by a start rate and a memory limit. The batch does the waiting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from fanfold._consumer.memory_guard import MemoryGuard

if TYPE_CHECKING:  # only for execution environments with several processes
    from fanfold._consumer.memory_share import MemoryShare

CHECK_SECONDS: Final = 0.005
"""Interval between memory checks, in seconds."""
WAIT_SECONDS: Final = 0.02
"""Time until the next memory check after memory was full, in seconds."""


class Admission:
    """The start rate and the memory limit of one batch.

    Args:
        starts_per_second: Maximum number of records that start per second; None for no limit.
        guard: Decides whether memory is full; None for no limit.
        now: Current time.
        share: Decides how many records fit into this process's share of the memory; None if the process shares its
            memory with no other.
    """

    def __init__(
        self,
        *,
        starts_per_second: float | None,
        guard: MemoryGuard | None,
        now: float,
        share: MemoryShare | None = None,
    ) -> None:
        self._interval = None if starts_per_second is None else 1 / starts_per_second
        self._guard = guard
        self._share = share
        if share is not None:
            share.batch_starts()
        self._next_start = now
        self._next_check = now
        checked = starts_per_second is not None or guard is not None or share is not None
        self.free_until: float = -math.inf if checked else math.inf
        """Time until which records may start without calling ``wait``."""
        self.held_for_memory: int = 0
        """Number of times a start waited for memory."""

    def wait(self, now: float, running: int) -> float:
        """Return the seconds until the next record may start; 0 counts as a start, so call it once per record.

        Args:
            now: Current time.
            running: Records in flight. With none, the memory limit does not apply: waiting would not free any memory.
        """
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
            self.free_until = self._next_check  # in the past while memory is full: every start calls this method
        if self._share is not None:
            self._share.started(now, running)
        return 0.0
