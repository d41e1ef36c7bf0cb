"""Whether memory allows one more record: by what is resident now, not by the peak."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable
from typing import Final

from fanfold._base.operating_system import NO_MEMORY_FIGURES, resident_bytes

logger = logging.getLogger("fanfold")

RELEASE_SECONDS: Final = 0.02
"""Least time between two requests to give memory back."""


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim, which gives free memory back to the system; None for another C library."""
    import ctypes  # here: a cold start need not pay for it

    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # pragma: no cover - another C library; Windows, which names none
        return None
    return trim


def release_free_memory() -> None:
    """Have the allocator give memory that was freed back to the system, where it can be asked to.

    Without it what handlers have freed stays resident, and a guard would let one record through at a time.
    """
    if trim := _malloc_trim():  # pragma: no branch - where the C library is another one
        trim(0)


class MemoryGuard:
    """Says when no further record should start.

    Lambda kills an execution environment that overruns its memory, and with it the whole batch: a part is always
    better.

    Args:
        limit_bytes: What may be resident before nothing further starts.
        resident: Tells what is resident now; None where that is not known.
        release_free_memory: Has freed memory given back.
        clock: What tells the time; monotonic, in seconds.
    """

    def __init__(
        self,
        limit_bytes: float,
        *,
        resident: Callable[[], int | None] = resident_bytes,
        release_free_memory: Callable[[], None] = release_free_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_bytes = limit_bytes
        """What may be resident before nothing further starts."""
        self._resident = resident
        self._give_back = release_free_memory
        self._clock = clock
        self._next_give_back = -math.inf

    def full(self) -> bool:
        """Tell whether more is resident than the limit, also once what was freed is given back to the system.

        Never where the system does not tell.
        """
        if not self._over():
            return False
        if (now := self._clock()) < self._next_give_back:
            return True
        self._give_back()
        # It takes a while, on the event loop: a twentieth of the time at most.
        self._next_give_back = now + max(RELEASE_SECONDS, 20 * (self._clock() - now))
        return self._over()

    def _over(self) -> bool:
        resident = self._resident()
        if resident is None:
            _say_that_nothing_is_guarded()
            return False
        return resident > self.limit_bytes


@functools.cache
def _say_that_nothing_is_guarded() -> None:
    """Log it once in a process."""
    logger.warning("the memory guard holds no record back here: %s", NO_MEMORY_FIGURES)
