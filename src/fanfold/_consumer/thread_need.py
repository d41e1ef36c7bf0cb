"""Decide whether more threads are of use to a ``def`` handler.

The number of threads is found out. A batch starts with one; the event loop starts the others as soon as records take
longer than a thread takes to start, unless the handler computes: then threads would only compete for the interpreter
lock. The interpreter lock is free if the event loop gets it on time.
"""

from __future__ import annotations

from typing import Final

_LATE_SECONDS: Final = 0.002
"""Delay of a look from which the interpreter lock counts as taken; it is handed over after 5 ms at the latest."""
_QUICK_SECONDS: Final = 0.00002
"""Time of a record that ends before another thread would have started."""


class ThreadNeed:
    """Knowledge about the handlers of a consumer: whether they wait, so that a thread for each is of use."""

    def __init__(self) -> None:
        self.handlers_wait: bool = False
        """True if the last look at a batch found that its handlers leave the interpreter lock to others."""

    def look(self, seconds: float, records: int, late_seconds: float) -> None:
        """Learn from a look at a batch.

        Args:
            seconds: Time since the look before.
            records: Records that have ended in this time.
            late_seconds: Time that passed before the event loop could look.
        """
        self.handlers_wait = late_seconds < _LATE_SECONDS and seconds > _QUICK_SECONDS * (records + 1)
