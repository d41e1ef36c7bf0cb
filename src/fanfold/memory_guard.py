"""Whether memory allows one more record: by what is resident now, not by the peak."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["MemoryGuard", "resident_bytes"]

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int | None:
    """Return the memory of this process that is resident now; None where the system does not tell.

    Source: the second field of ``/proc/self/statm``, in pages (proc(5)).
    """
    try:
        with open("/proc/self/statm", "rb", buffering=0) as statm:  # noqa: PTH123 - many times a second
            return int(statm.read(128).split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return None


class MemoryGuard:
    """Says when no further record should start.

    Lambda kills a sandbox that overruns its memory, and with it the whole batch: a part is always better.
    """

    def __init__(self, limit_bytes: float) -> None:
        self.limit_bytes = limit_bytes
        """What may be resident before nothing further starts."""

    def full(self) -> bool:
        """Tell whether more is resident than the limit; never where the system does not tell."""
        resident = resident_bytes()
        return resident is not None and resident > self.limit_bytes
