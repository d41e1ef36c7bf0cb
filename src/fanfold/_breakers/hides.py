"""How long messages are hidden while a circuit is open: their receives outlast the outage, and some return soon.

Each delivery uses up a receive, even of a record that is not started. A message with several receives left is hidden
for a random time whose logarithm is uniform: on every time scale, some messages return and serve as probes. A message
with one receive left is hidden for all that remains of the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from fanfold._base import aws_limits
from fanfold._base.ordering import group_of
from fanfold._base.record import Record

LEAST_SECONDS: Final = 30.0
"""Shortest time for which a message is hidden."""
_RECEIVED_SECONDS: Final = 900.0
"""Time for which a message may have been received before: in the batching window, and in the function's queue."""
MOST_SECONDS: Final = aws_limits.SQS_MAX_VISIBILITY_SECONDS - _RECEIVED_SECONDS
"""Longest time: SQS refuses a visibility timeout that ends more than 12 hours after the receive."""
UNKNOWN_RECEIVES: Final = 2
"""Receives left, if the queue's maximum is not known."""


def receives_left(record: Record, max_receives: int | None) -> int:
    """Return the receives that a message has left after this delivery; 0 for its last one."""
    return UNKNOWN_RECEIVES if max_receives is None else max(0, max_receives - record.receive_count)


def hide_seconds(left: int, rest: float, draw: float) -> float:
    """Return the seconds for which a message is hidden.

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


def hides(
    records: Sequence[Record], max_receives: int | None, rest: float, draw: Callable[[], float], *, fifo: bool
) -> Sequence[tuple[float, int]]:
    """Return for each message the seconds for which it is hidden, and the receives that it has left.

    The messages of a group of a FIFO queue are hidden for the same time: the group waits for the last one of them.
    """
    left = [receives_left(record, max_receives) for record in records]
    if not fifo:
        return [(hide_seconds(count, rest, draw()), count) for count in left]
    fewest: dict[str, int] = {}
    for record, count in zip(records, left, strict=True):
        fewest[group_of(record)] = min(count, fewest.get(group_of(record), count))
    seconds = {group: hide_seconds(count, rest, draw()) for group, count in fewest.items()}
    return [(seconds[group_of(record)], count) for record, count in zip(records, left, strict=True)]
