"""How long messages are held while a circuit is open: their receives outlast the outage, and some return soon.

A message is held by its visibility timeout, and released by a timeout of 0.

Each delivery uses up a receive, even of a record that is not started. A message with several receives left is held
for a random time whose logarithm is uniform: on every time scale, some messages return and serve as probes. A message
with one receive left is held for all that remains of the budget.
"""

from __future__ import annotations

import math
from typing import Final

from fanfold._base import aws_limits
from fanfold._base.message_copy import MOST_DELAY_SECONDS
from fanfold._base.record import Record

LEAST_SECONDS: Final = 30.0
"""Shortest time for which a message is held."""
_RECEIVED_SECONDS: Final = 900.0
"""Time for which a message may have been received before: in the batching window, and in the function's queue."""
MOST_SECONDS: Final = aws_limits.SQS_MAX_VISIBILITY_SECONDS - _RECEIVED_SECONDS
"""Longest time: SQS refuses a visibility timeout that ends more than 12 hours after the receive."""
_AGES: Final = 2.0
"""Without a table, a message is held for this multiple of the time since the outage began …"""
_LAST_AGES: Final = 8.0
"""… and for this one if it has one receive left, but at least for ``_LAST_SECONDS``."""
_LAST_SECONDS: Final = 3_600.0
_COPY_AGES: Final = 0.25
UNKNOWN_RECEIVES: Final = 2
"""Receives left, if the queue's maximum is not known."""


def receives_left(record: Record, max_receives: int | None) -> int:
    """Return the receives that a message has left after this delivery; 0 for its last one."""
    return UNKNOWN_RECEIVES if max_receives is None else max(0, max_receives - record.receive_count)


def hold_seconds(left: int, rest: float, draw: float) -> float:
    """Return the seconds for which a message is held.

    Args:
        left: Receives that it has left.
        rest: What remains of the outage budget, seconds; below 0 if it is used up.
        draw: Random number of at least 0 and below 1.
    """
    if left <= 1:
        return min(max(LEAST_SECONDS, rest), MOST_SECONDS)
    low = max(LEAST_SECONDS, rest - MOST_SECONDS * (left - 1))
    high = min(max(low, rest), MOST_SECONDS)
    return low if high <= low else math.exp(math.log(low) + draw * (math.log(high) - math.log(low)))


def hold_seconds_alone(left: int, rest: float, age: float) -> float:
    """Return the seconds for which a message is held while the table cannot be used.

    Then only the execution environment that held a message can make it visible, and it may be gone: so the time grows
    with the outage instead of lasting for all of the budget.

    Args:
        left: Receives that it has left.
        rest: What remains of the outage budget, seconds.
        age: Seconds since the outage began.
    """
    longest = _AGES * age if left > 1 else max(_LAST_AGES * age, _LAST_SECONDS)
    return min(max(LEAST_SECONDS, min(longest, rest)), MOST_SECONDS)


def copy_seconds(age: float) -> float:
    """Return the delay of a copy, which cannot be made visible earlier: a quarter of the outage, from 30 s to 900 s."""
    return min(max(LEAST_SECONDS, _COPY_AGES * age), MOST_DELAY_SECONDS)
