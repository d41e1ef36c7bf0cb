"""The moments at which an invocation stops starting records, cancels handlers, and responds.

A deadline divides the margin before the Lambda timeout::

    now ───────────▶ stops_at ─────▶ cancels_at ────▶ responds_at ──▶ responds_without_loop_at ─▶ ends_at
        records      no more         running          the response    … even if the               Lambda ends the
        start        records start   handlers are     is returned …   event loop is blocked       execution
                                     cancelled                                                    environment
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from fanfold._base.frozen import Value, put

MARGIN_SHARE = 0.05
"""Default margin, as a share of the time left."""
MARGIN_FLOOR_SECONDS = 1.0
"""Minimum default margin, seconds; but never more than half of the time left."""


def _default_margin(seconds: float) -> float:
    return min(max(MARGIN_SHARE * seconds, MARGIN_FLOOR_SECONDS), seconds / 2)


class Deadline(Value):
    """A point in time, with a margin before it.

    All times are seconds on ``clock``.
    """

    __slots__ = ("ends_at", "margin", "clock")  # noqa: RUF023 - in the order of __init__

    ends_at: float
    """The time of the Lambda timeout; infinity without a deadline."""
    margin: float
    """Seconds before the timeout in which no record starts."""
    clock: Callable[[], float]
    """Returns the time: monotonic, in seconds."""

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
            margin: Seconds before the timeout in which no record starts, at most half the time left; None for 5 % of
                the time left, but at least 1 second, and at most half of it.
            clock: Returns the time: monotonic, in seconds.
        """
        seconds = max(0.0, seconds)
        chosen = _default_margin(seconds) if margin is None else max(0.0, min(margin, seconds / 2))
        return cls(clock() + seconds, chosen, clock)

    @classmethod
    def never(cls) -> Deadline:
        """Return a deadline that is never reached."""
        return cls(math.inf)

    def remaining(self) -> float:
        """Return the seconds until the timeout, at least 0."""
        return max(0.0, self.ends_at - self.clock())

    def until(self, moment: float) -> float | None:
        """Return the seconds until a moment of this deadline, at least 0; None if it is never reached."""
        return None if math.isinf(moment) else max(0.0, moment - self.clock())

    @property
    def stops_at(self) -> float:
        """The time from which no more records start."""
        return self.ends_at - self.margin

    @property
    def cancels_at(self) -> float:
        """The time at which running handlers are cancelled: half the margin is left."""
        return self.ends_at - self.margin / 2

    @property
    def responds_at(self) -> float:
        """The time at which the batch response is built from the outcomes so far: a quarter of the margin is left."""
        return self.ends_at - self.margin / 4

    @property
    def responds_without_loop_at(self) -> float:
        """The time at which the invocation's thread responds without the event loop: 3/16 of the margin is left."""
        return self.ends_at - self.margin * 3 / 16
