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
from fanfold._base.record import Record

LEAST_SECONDS: Final = 30.0
"""Shortest time for which a message is held."""
_RECEIVED_SECONDS: Final = 900.0
"""Time for which a message may have been received before: in the batching window, and in the function's queue."""
MOST_SECONDS: Final = aws_limits.SQS_MAX_VISIBILITY_SECONDS - _RECEIVED_SECONDS
"""Longest time: SQS refuses a visibility timeout that ends more than 12 hours after the receive."""
_EARLY_SECONDS: Final = 3_600.0
_EARLY_SHARE: Final = 0.1
_TICK_SHARE: Final = 0.1
"""Shortest time for which a message is held while a tick probes, as a share of what remains of the budget."""
_COPY_AGES: Final = 0.25
UNKNOWN_RECEIVES: Final = 2
"""Receives left, if the queue's maximum is not known."""


def receives_left(record: Record, max_receives: int | None) -> int:
    """Return the receives that a message has left after this delivery; 0 for its last one."""
    return UNKNOWN_RECEIVES if max_receives is None else max(0, max_receives - record.receive_count)


def hold_seconds(left: int, rest: float, draw: float, *, has_tick: bool = False) -> float:
    """Return the seconds for which a message is held.

    Args:
        left: Receives that it has left.
        rest: What remains of the outage budget, seconds; below 0 if it is used up.
        draw: Random number of at least 0 and below 1.
        has_tick: Whether a tick probes: then messages need not return early to be probes, and keep their receives.
    """
    least = max(LEAST_SECONDS, _TICK_SHARE * rest) if has_tick else LEAST_SECONDS
    if left <= 1:
        return min(max(LEAST_SECONDS, rest), MOST_SECONDS)
    # Not MOST_SECONDS: the last minutes of a budget of 12 hours are not worth a first hold of 15 minutes.
    low = min(max(least, rest - aws_limits.SQS_MAX_VISIBILITY_SECONDS * (left - 1)), MOST_SECONDS)
    high = min(max(low, rest), MOST_SECONDS)
    return min(low * math.pow(high / low, draw), high)  # rounded, the power may be over it


def hold_seconds_alone(left: int, rest: float, age: float) -> float:
    """Return the seconds for which a message is held while the table cannot be used.

    Then only the execution environment that held a message can make it visible, and it may be gone. So the messages
    return at ages of the outage that form a geometric series up to the budget.

    Args:
        left: Receives that it has left.
        rest: What remains of the outage budget, seconds.
        age: Seconds since the outage began.
    """
    began = max(LEAST_SECONDS, age)
    longest = began * (max(1.0, (rest + age) / began) ** (1 / left) - 1) if left > 1 else rest
    return min(max(LEAST_SECONDS, longest), MOST_SECONDS)


def tick_seconds(probes: int, budget: float, age: float) -> float:
    """Return the seconds between probes of a tick that processes messages, so that they last for the budget.

    With ``age * (1 + s) ** probes = budget``, each probe comes a share ``s`` of the outage after the one before. In the
    first hour, in which most outages end, it is at most a tenth, so few messages recover soon, too.

    Args:
        probes: Receives that can be probes.
        budget: The outage budget, seconds.
        age: Seconds since the outage began.
    """
    began = max(LEAST_SECONDS, age)
    share = max(1.0, budget / began) ** (1 / probes) - 1 if probes else 0.0
    return began * (min(share, _EARLY_SHARE) if age < _EARLY_SECONDS else share)


def copy_seconds(age: float) -> float:
    """Return the delay of a copy, which cannot be made visible earlier: a quarter of the outage, from 30 s to 900 s."""
    return min(max(LEAST_SECONDS, _COPY_AGES * age), aws_limits.SQS_MAX_DELAY_SECONDS)
