"""When an invocation has to stop, and when it has to answer.

A deadline divides the margin before the end of the invocation::

    now ──────────────▶ stops_at ─────▶ cancels_at ──▶ responds_at ─▶ responds_without_loop_at ─▶ ends_at
        records start   none starts     what runs is   the answer    … even with a  Lambda kills
                        any more        cancelled      is made …     blocked loop   the execution environment
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from fanfold._base.frozen import Value, put

MARGIN_SHARE = 0.05
"""Share of the time given that is kept as the margin, when no margin is set."""
MARGIN_FLOOR_SECONDS = 1.0
"""Least margin, when no margin is set and the time given allows it."""


def _default_margin(seconds: float) -> float:
    return min(max(MARGIN_SHARE * seconds, MARGIN_FLOOR_SECONDS), seconds / 2)


class Deadline(Value):
    """A point in time, with a margin before it.

    All times are seconds on ``clock``.
    """

    __slots__ = ("ends_at", "margin", "clock")  # noqa: RUF023 - in the order of __init__

    ends_at: float
    """When Lambda ends the invocation; infinity for a deadline that never comes."""
    margin: float
    """Seconds before the end in which nothing new starts."""
    clock: Callable[[], float]
    """What tells the time; monotonic, in seconds."""

    def __init__(self, ends_at: float, margin: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        put(self, "ends_at", ends_at)
        put(self, "margin", margin)
        put(self, "clock", clock)

    @classmethod
    def after(
        cls, seconds: float, *, margin: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> Deadline:
        """Return the deadline of an invocation that has this many seconds left.

        Args:
            seconds: Time left, from 0.
            margin: Seconds before the end in which nothing new starts, at most half the time left;
                None for 5 % of the time left, at least 1 second, at most half of it.
            clock: What tells the time.
        """
        seconds = max(0.0, seconds)
        chosen = _default_margin(seconds) if margin is None else max(0.0, min(margin, seconds / 2))
        return cls(clock() + seconds, chosen, clock)

    @classmethod
    def never(cls) -> Deadline:
        """Return a deadline that does not come."""
        return cls(math.inf)

    def remaining(self) -> float:
        """Return the seconds until the end, never below 0."""
        return max(0.0, self.ends_at - self.clock())

    def until(self, moment: float) -> float | None:
        """Return the seconds until a moment of this deadline, from 0; None for a moment that does not come."""
        return None if math.isinf(moment) else max(0.0, moment - self.clock())

    @property
    def stops_at(self) -> float:
        """From here on no further record starts."""
        return self.ends_at - self.margin

    @property
    def cancels_at(self) -> float:
        """Here, what is still running is cancelled: half the margin is left."""
        return self.ends_at - self.margin / 2

    @property
    def responds_at(self) -> float:
        """Here the answer is made from what is known: a quarter of the margin is left."""
        return self.ends_at - self.margin / 4

    @property
    def responds_without_loop_at(self) -> float:
        """Here the invocation's thread answers without the event loop: three sixteenths of the margin are left."""
        return self.ends_at - self.margin * 3 / 16
