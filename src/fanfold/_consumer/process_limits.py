"""How many handlers this process can bear at once: its descriptors and its threads have limits of their own."""

from __future__ import annotations

import logging
import os
import resource
import threading
from typing import Final

logger = logging.getLogger("fanfold")

RESERVED: Final = 64
"""Descriptors, or threads, left to the rest of the process."""


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
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 2**31
    try:
        used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all that is needed
    except OSError:
        used = 0
    return soft - used - RESERVED


def _free_threads() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return 2**31 if soft == resource.RLIM_INFINITY else soft - threading.active_count() - RESERVED
