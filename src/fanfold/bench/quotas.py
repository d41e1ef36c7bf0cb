"""What Lambda and SQS allow, each number with its unit and its source, and what follows from memory.

From AWS's documentation as of November 2026; nothing here was measured. Those marked "check" have changed before.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ACCOUNT_CONCURRENCY",
    "BILLED_STEP_SECONDS",
    "IN_FLIGHT_MESSAGES",
    "MAX_MEMORY_MB",
    "MB_PER_VCPU",
    "MIN_MEMORY_MB",
    "SCALING_FIRST",
    "SCALING_MOST",
    "SCALING_PER_SECOND",
    "SQS_REQUEST_BYTES",
    "cpus_of",
]

MB_PER_VCPU: Final = 1_769
"""Memory at which a function has the equivalent of one vCPU, MB (Lambda developer guide, "Configure memory")."""
MOST_VCPUS: Final = 6.0
"""vCPUs of a function with the most memory (Lambda announcement of 10 GB functions)."""
MIN_MEMORY_MB: Final = 128
"""Least memory of a function, MB (Lambda quotas)."""
MAX_MEMORY_MB: Final = 10_240
"""Most memory of a function, MB (Lambda quotas)."""
BILLED_STEP_SECONDS: Final = 0.001
"""Duration is billed in steps of so many seconds, rounded up (Lambda pricing)."""

SCALING_FIRST: Final = 5
"""Batches a mapping has processed at once when it starts (Lambda developer guide, "Scaling for SQS"; check)."""
SCALING_PER_SECOND: Final = 300 / 60
"""Batches at once that a mapping adds in a second: 300 a minute (same page; check)."""
SCALING_MOST: Final = 1_250
"""Batches at once of one mapping, at most (same page; check)."""
ACCOUNT_CONCURRENCY: Final = 1_000
"""Invocations at once in an account and region, unless raised (Lambda quotas)."""
IN_FLIGHT_MESSAGES: Final = 120_000
"""Messages of a standard queue that are received and not deleted, about (SQS quotas)."""
SQS_REQUEST_BYTES: Final = 65_536
"""Payload that is billed as one request, bytes (SQS pricing)."""


def cpus_of(memory_mb: float) -> float:
    """Return the vCPUs that Lambda gives a function with this memory: in proportion, to 6."""
    return min(memory_mb / MB_PER_VCPU, MOST_VCPUS)
