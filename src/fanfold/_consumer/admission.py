"""When the next record may start: a rate, and a memory limit. Decided here; the engine waits."""

from __future__ import annotations

import math
from typing import Final

from fanfold._consumer.memory_guard import MemoryGuard

LOOK_SECONDS: Final = 0.005
"""Seconds between two looks at the memory."""
WAIT_SECONDS: Final = 0.02
"""Seconds until memory that was full is looked at again."""


class Admission:
    """Answers how long the next start has to wait; one for each batch."""

    def __init__(self, *, starts_per_second: float | None, guard: MemoryGuard | None, now: float) -> None:
        self._interval = None if starts_per_second is None else 1 / starts_per_second
        self._guard = guard
        self._next_start = now
        self._next_look = now
        self.free_until: float = -math.inf if starts_per_second is not None or guard is not None else math.inf
        """Until then starts need not ask."""
        self.held_for_memory: int = 0
        """How often a start waited for memory."""

    def wait(self, now: float, running: int) -> float:
        """Return the seconds the next start has to wait; 0 books it, so that the one after it waits its turn.

        Args:
            now: The time.
            running: Records in flight. With none, memory holds nothing back: there is nothing that could free it.
        """
        if self._guard is not None and now >= self._next_look:
            if not self._guard.full():
                self._next_look = now + LOOK_SECONDS
            elif running:
                self.held_for_memory += 1
                return WAIT_SECONDS
        if self._interval is None:
            self.free_until = self._next_look  # not at all while memory is full: each start asks
            return 0.0
        if now < self._next_start:
            return self._next_start - now
        # Smooth: a start that comes late does not let the next ones come in a burst.
        self._next_start = now + self._interval
        return 0.0
