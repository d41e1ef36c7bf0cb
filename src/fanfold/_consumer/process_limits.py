"""Limit the concurrency to what this process allows: its file descriptors and its threads are limited.

On Lambda Managed Instances, several processes run in one execution environment. What they share:

- Threads: yes. ``RLIMIT_NPROC`` counts the threads of all processes of a user (getrlimit(2)), and the ``pids``
  controller counts those of all processes of a container (cgroups(7)). So each process has its share of the limit.
- File descriptors: no. ``RLIMIT_NOFILE`` counts those of one process (getrlimit(2)), and no controller counts those of
  a container. So each process has the whole limit.

This follows from the kernel's documentation and is not measured on AWS. AWS states 1,024 of each for an execution
environment of ordinary Lambda (Lambda quotas), and neither in the quotas of Lambda Managed Instances (November 2026).
"""

from __future__ import annotations

import os
import threading
from typing import Final

from fanfold._base.log import logger
from fanfold._base.operating_system import limit_of, open_descriptors

RESERVED: Final = 64
"""Descriptors and threads that are reserved for the rest of the process."""
_UNLIMITED: Final = 2**31


def concurrent_processes() -> int:
    """Return how many processes of this execution environment process invocations concurrently; 1 on ordinary Lambda.

    Source: Lambda Managed Instances set ``AWS_LAMBDA_MAX_CONCURRENCY``, and the runtime client forks as many processes
    (awslambdaric 4.2, ``lambda_multi_concurrent_utils.py``). Anything but a positive integer counts as 1.
    """
    text = os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "")
    return max(1, int(text)) if text.isdecimal() else 1


def clamp_concurrency(concurrency: int, *, threads: bool, warns: bool = True) -> int:
    """Return the concurrency, reduced to what the limits of this process allow.

    Assumes that each handler needs one file descriptor, and each ``def`` handler also a thread.

    Args:
        concurrency: Requested concurrency, at least 1.
        threads: Whether the handlers run on threads.
        warns: Whether to log that it is reduced; not for the bound of a concurrency that adjusts itself.
    """
    free = _free_descriptors()
    if threads:
        free = min(free, _free_threads())
    if concurrency <= free:
        return concurrency
    reduced = max(1, free)
    if not warns:
        return reduced
    logger.warning(
        "concurrency %d is reduced to %d: this process has %d %s left",
        concurrency,
        reduced,
        max(0, free),
        "threads and file descriptors" if threads else "file descriptors",
    )
    return reduced


def _free_descriptors() -> int:
    limit = limit_of("RLIMIT_NOFILE")
    return _UNLIMITED if limit is None else limit - open_descriptors() - RESERVED


def _free_threads() -> int:
    limit = limit_of("RLIMIT_NPROC")
    return _UNLIMITED if limit is None else (limit - RESERVED) // concurrent_processes() - threading.active_count()
