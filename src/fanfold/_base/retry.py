"""Calls that may be repeated: until they succeed, or the time or the attempts are over."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypeVar

import anyio

from fanfold._base.deadline import Deadline
from fanfold.errors import ServiceError

__all__ = ["ATTEMPTS", "Sleep", "again", "pause"]

ATTEMPTS: Final = 8
"""How often a call is made before its fault counts."""
_BASE_SECONDS: Final = 0.1
_CAP_SECONDS: Final = 5.0

T = TypeVar("T")
Sleep: TypeAlias = Callable[[float], Awaitable[None]]
"""What waits for some seconds."""


async def again(call: Callable[[], Awaitable[T]], *, deadline: Deadline | None = None, sleep: Sleep = anyio.sleep) -> T:
    """Make a call up to 8 times in all, while its fault is one that may pass; see ``pause`` for the time between.

    Args:
        call: Makes the call; it may be made although an earlier one had an effect.
        deadline: When to stop; None for never.
        sleep: What waits.

    Raises:
        ServiceError: The last fault: one that stays, or there is no attempt or no time left.
        Exception: Whatever else the call raises, at once.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return await call()
        except ServiceError as error:
            if not error.transient or not await pause(attempt, deadline=deadline, sleep=sleep):
                raise
    return await call()


async def pause(attempt: int, *, deadline: Deadline | None = None, sleep: Sleep = anyio.sleep) -> bool:
    """Wait before the next attempt: from 0 to ``min(5, 0.1 * 2 ** attempt)`` seconds, evenly drawn.

    Args:
        attempt: Attempts made so far, from 1.
        deadline: When to stop; None for never.
        sleep: What waits.

    Returns:
        Whether there is time for another attempt; False at once if the deadline would come first.
    """
    seconds = random.uniform(0, min(_CAP_SECONDS, _BASE_SECONDS * 2 ** min(attempt, 16)))  # noqa: S311 - jitter
    if deadline is not None and deadline.clock() + seconds >= deadline.stops_at:
        return False
    await sleep(seconds)
    return True
