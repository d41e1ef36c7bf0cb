"""How many handlers this process can bear at once: its descriptors and its threads have limits of their own."""

from __future__ import annotations

import logging
import threading
from typing import Final

from fanfold._base.operating_system import limit_of, open_descriptors

logger = logging.getLogger("fanfold")

RESERVED: Final = 64
"""Descriptors, or threads, left to the rest of the process."""
_UNLIMITED: Final = 2**31


def clamp_concurrency(concurrency: int, *, threads: bool) -> int:
    """Return the concurrency, or as much of it as the limits of this process allow.

    Each handler is taken to need one descriptor; plain handlers need a thread each as well. (Lambda: 1,024 descriptors,
    1,024 processes and threads, in one execution environment.)

    Args:
        concurrency: What is asked for, from 1.
        threads: Whether the handlers run on threads.
    """
    most = _free_descriptors()
    if threads:
        most = min(most, _free_threads())
    if concurrency <= most:
        return concurrency
    fitting = max(1, most)
    logger.warning(
        "concurrency %d does not fit this process, which has %d %s left: %d is used",
        concurrency,
        max(0, most),
        "threads and descriptors" if threads else "descriptors",
        fitting,
    )
    return fitting


def _free_descriptors() -> int:
    most = limit_of("RLIMIT_NOFILE")
    return _UNLIMITED if most is None else most - open_descriptors() - RESERVED


def _free_threads() -> int:
    most = limit_of("RLIMIT_NPROC")
    return _UNLIMITED if most is None else most - threading.active_count() - RESERVED
