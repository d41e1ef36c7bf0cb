"""Limit the memory of a batch by what is resident now, not by the peak."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Final

from fanfold._base.log import logger
from fanfold._base.operating_system import MEMORY_NOT_REPORTED, peak_within, resident_bytes

RELEASE_SECONDS: Final = 0.02
"""Minimum interval between requests to release free memory, in seconds."""


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim, which returns free memory to the system; None with another C library."""
    import ctypes  # not imported at cold start

    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # pragma: no cover - another C library, or Windows
        return None
    return trim


def release_free_memory() -> None:
    """Return freed memory to the system, if the C library supports it.

    Otherwise memory that handlers freed stays resident, and the guard would admit only one record at a time.
    """
    if trim := _malloc_trim():  # pragma: no branch - another C library
        trim(0)


class MemoryGuard:
    """Decides whether memory allows another record to start.

    Lambda kills an execution environment that exceeds its memory, and then the whole batch is redelivered: a partial
    batch is always better.

    Args:
        limit_bytes: Resident memory above which no record starts.
        resident: Returns the resident memory in bytes; None if it is unknown.
        peak_within: Returns whether the memory has never exceeded a limit in bytes.
        release_free_memory: Returns freed memory to the system.
        clock: Returns the time in seconds; monotonic.
    """

    def __init__(
        self,
        limit_bytes: float,
        *,
        resident: Callable[[], int | None] = resident_bytes,
        peak_within: Callable[[float], bool] = peak_within,
        release_free_memory: Callable[[], None] = release_free_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_bytes = limit_bytes
        """Resident memory above which no record starts."""
        self._resident = resident
        self._peak_within = peak_within
        self._release = release_free_memory
        self._clock = clock
        self._next_release = -math.inf
        if resident() is None:
            _warn_once_that_guard_is_off()

    def full(self) -> bool:
        """Return whether resident memory exceeds the limit, even after freed memory is returned to the system.

        Returns False if the system does not report resident memory.
        """
        if self._peak_within(self.limit_bytes) or not self._exceeded():
            return False
        if (now := self._clock()) < self._next_release:
            return True
        self._release()
        # A release takes time on the event loop: use at most a twentieth of the time for it.
        self._next_release = now + max(RELEASE_SECONDS, 20 * (self._clock() - now))
        return self._exceeded()

    def _exceeded(self) -> bool:
        resident = self._resident()
        return resident is not None and resident > self.limit_bytes


@functools.cache
def _warn_once_that_guard_is_off() -> None:
    """Log once per process that the guard has no effect."""
    logger.warning("the memory guard is off: %s", MEMORY_NOT_REPORTED)
