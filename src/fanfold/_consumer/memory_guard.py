"""Limit the memory of a batch by what is resident now, not by the peak."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
RELEASE_SECONDS: Final = 0.02
"""Minimum interval between requests to release free memory, in seconds."""


def resident_bytes() -> int | None:
    """Return the resident memory of this process in bytes; None if the system does not report it.

    Source: the second field of ``/proc/self/statm``, in pages (proc(5)).
    """
    try:
        with open("/proc/self/statm", "rb", buffering=0) as statm:  # noqa: PTH123 - many times a second
            return int(statm.read(128).split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):  # pragma: no cover - where there is no /proc
        return None


def peak_resident_bytes() -> int | None:
    """Return the peak resident memory of this process in bytes; None if the system does not report it.

    Source: ``VmHWM`` in ``/proc/self/status``, in KiB (proc(5)).
    """
    try:
        with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - as above
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(b"VmHWM:"))
    except (OSError, StopIteration):  # pragma: no cover - where there is no /proc
        return None


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim, which returns free memory to the system; None with another C library."""
    import ctypes  # not imported at cold start

    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # pragma: no cover - another C library
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
        release_free_memory: Returns freed memory to the system.
        clock: Returns the time in seconds; monotonic.
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
        """Resident memory above which no record starts."""
        self._resident = resident
        self._release = release_free_memory
        self._clock = clock
        self._next_release = -math.inf

    def full(self) -> bool:
        """Return whether resident memory exceeds the limit, even after freed memory is returned to the system.

        Returns False if the system does not report resident memory.
        """
        if not self._exceeded():
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
