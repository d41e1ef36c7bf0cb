"""Retries of calls after transient errors: how many, with which delays, and until when."""

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
"""Default number of attempts of a call, the first one included."""

T = TypeVar("T")
Sleep: TypeAlias = Callable[[float], Awaitable[None]]
"""Waits for some seconds."""


class RetrySchedule(Value):
    """The number of attempts of a call and the delays between them; a pure decision."""

    __slots__ = ("attempts", "backoff")

    attempts: int | None
    """Number of attempts, the first one included; None for no limit."""
    backoff: Backoff
    """The formula of the delays."""

    def __init__(self, attempts: int | None, backoff: Backoff) -> None:
        put(self, "attempts", attempts)
        put(self, "backoff", backoff)

    def delay(self, failures: int, seconds_left: float = math.inf) -> float | None:
        """Return the delay before the next attempt; None for no further attempt.

        Args:
            failures: Consecutive failures, from 1.
            seconds_left: Time left for attempts; the next attempt must start within it.

        Returns:
            Seconds from ``Backoff``: uniformly random between ``d * (1 - jitter)`` and ``d``, where
            ``d = min(cap, base * factor ** (failures - 1))``.
        """
        if self.attempts is not None and failures >= self.attempts:
            return None
        seconds = self.backoff.next_delay(failures)
        return seconds if seconds < seconds_left else None


SCHEDULE: Final = RetrySchedule(ATTEMPTS, Backoff(base=0.2, cap=5.0, jitter=1.0))
"""8 attempts, with delays of 0 to 0.2 s, 0 to 0.4 s, 0 to 0.8 s … 0 to 5 s between them."""
ENDLESS: Final = RetrySchedule(None, Backoff(base=1.0, cap=20.0, jitter=0.5))
"""For loops that run until they are stopped: delays of 0.5 to 1 s, 1 to 2 s, 2 to 4 s … 10 to 20 s."""


class Retries:
    """The consecutive failures of one call, and the delay after each.

    Args:
        schedule: The number of attempts and the delays.
        deadline: No attempt starts after its ``stops_at``; None for no deadline.
        sleep: Waits for some seconds.
    """

    def __init__(
        self, schedule: RetrySchedule = SCHEDULE, *, deadline: Deadline | None = None, sleep: Sleep = anyio.sleep
    ) -> None:
        self._schedule = schedule
        self._deadline = deadline
        self._sleep = sleep
        self.failures: int = 0
        """Consecutive failures so far."""

    def reset(self) -> None:
        """Restart the count, after progress."""
        self.failures = 0

    async def wait(self) -> bool:
        """Count a failure and wait; return False immediately if no attempt or no time is left."""
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
    """Retry a call on transient errors until it succeeds, as far as the schedule and the deadline allow.

    Args:
        call: Makes the call; must be idempotent, because a failed attempt may have had an effect.
        schedule: The number of attempts and the delays.
        deadline: No attempt starts after its ``stops_at``; None for no deadline.
        sleep: Waits for some seconds.

    Raises:
        ServiceError: The last error, if it is not transient or no attempt or no time is left.
        Exception: Any other exception of the call, immediately.
    """
    retries = Retries(schedule, deadline=deadline, sleep=sleep)
    while True:
        try:
            return await call()
        except ServiceError as error:
            if not error.transient or not await retries.wait():
                raise


async def resume(open_rest: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """Yield the items of a stream; after a transient error, resume it with the rest.

    Args:
        open_rest: Opens the stream after the items that have been yielded so far.

    Raises:
        ServiceError: The last error, if it is not transient or is the eighth in a row without an item in between.
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
