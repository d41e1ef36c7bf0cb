"""Calls that are made again after a fault that may pass: how often, how long after, and until when."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeAlias, TypeVar

import anyio

from fanfold._base.backoff import Backoff
from fanfold._base.deadline import Deadline
from fanfold._base.frozen import Value, put
from fanfold.errors import ServiceError

ATTEMPTS: Final = 8
"""How often a call is made before its fault counts, unless its caller sets another number."""

T = TypeVar("T")
Sleep: TypeAlias = Callable[[float], Awaitable[None]]
"""What waits for some seconds."""


class RetrySchedule(Value):
    """When a call that failed is made again; decides from values alone."""

    __slots__ = ("attempts", "backoff")

    attempts: int | None
    """Calls in all, the first one included; None for no limit."""
    backoff: Backoff
    """The formula of the delays."""

    def __init__(self, attempts: int | None, backoff: Backoff) -> None:
        put(self, "attempts", attempts)
        put(self, "backoff", backoff)

    def delay(self, failures: int, seconds_left: float = math.inf) -> float | None:
        """Return how long to wait before the next call; None if there is none.

        Args:
            failures: Calls that failed in a row, from 1.
            seconds_left: Time in which calls may be made; a call must begin before it is over.

        Returns:
            Seconds, drawn by ``Backoff``: evenly from ``d * (1 - jitter)`` to ``d``, where
            ``d = min(cap, base * factor ** (failures - 1))``.
        """
        if self.attempts is not None and failures >= self.attempts:
            return None
        seconds = self.backoff.next_delay(failures)
        return seconds if seconds < seconds_left else None


SCHEDULE: Final = RetrySchedule(ATTEMPTS, Backoff(base=0.2, cap=5.0, jitter=1.0))
"""8 calls; 0 to 0.2 s, 0 to 0.4 s, 0 to 0.8 s … 0 to 5 s between them."""
ENDLESS: Final = RetrySchedule(None, Backoff(base=1.0, cap=20.0, jitter=0.5))
"""For what must go on until it is stopped: 0.5 to 1 s, 1 to 2 s, 2 to 4 s … 10 to 20 s between calls."""


class Retries:
    """The failures in a row of one call, and the waiting after each.

    Args:
        schedule: How often and how long.
        deadline: When to stop; None for never.
        sleep: What waits.
    """

    def __init__(
        self, schedule: RetrySchedule = SCHEDULE, *, deadline: Deadline | None = None, sleep: Sleep = anyio.sleep
    ) -> None:
        self._schedule = schedule
        self._deadline = deadline
        self._sleep = sleep
        self.failures: int = 0
        """Failures in a row, by now."""

    def reset(self) -> None:
        """Count from the beginning: there was progress."""
        self.failures = 0

    async def wait(self) -> bool:
        """Count a failure, and wait; return False at once if there is no attempt or no time left for another call."""
        self.failures += 1
        left = math.inf if self._deadline is None else self._deadline.stops_at - self._deadline.clock()
        seconds = self._schedule.delay(self.failures, left)
        if seconds is None:
            return False
        await self._sleep(seconds)
        return True


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    schedule: RetrySchedule = SCHEDULE,
    deadline: Deadline | None = None,
    sleep: Sleep = anyio.sleep,
) -> T:
    """Make a call until it succeeds, as long as its fault is one that may pass and the schedule allows another.

    Args:
        call: Makes the call; it may be made although an earlier one had an effect.
        schedule: How often and how long after.
        deadline: When to stop; None for never.
        sleep: What waits.

    Raises:
        ServiceError: The last fault: one that stays, or there is no attempt or no time left.
        Exception: Whatever else the call raises, at once.
    """
    retries = Retries(schedule, deadline=deadline, sleep=sleep)
    while True:
        try:
            return await call()
        except ServiceError as error:
            if not error.transient or not await retries.wait():
                raise


async def resume(open_rest: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """Yield what a stream gives; where a fault that may pass ends it, go on with the rest.

    Args:
        open_rest: Opens the stream behind what has been taken of it so far.

    Raises:
        ServiceError: The last fault: one that stays, or the eighth in a row that nothing came between.
    """
    retries = Retries()
    while True:
        try:
            async with aclosing(open_rest()) as items:
                async for item in items:
                    retries.reset()
                    yield item
        except ServiceError as error:
            if not error.transient or not await retries.wait():
                raise
        else:
            return
