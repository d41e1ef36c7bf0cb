"""``with breaker:`` around a call: which breaker of which execution environment it concerns, and what it decides."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Final

from fanfold._base.backoff import random_share
from fanfold._base.outcome import Retry
from fanfold._breakers.breaker_state import POLL_SECONDS, PROBE_POLL_SECONDS
from fanfold._breakers.counted import marked
from fanfold._breakers.hold_times import UNKNOWN_RECEIVES, hold_seconds
from fanfold._breakers.keeper import Keeper

_READ_SECONDS: Final = 5.0
"""Longest time that a call waits until the circuit is read."""


class BreakerOpenError(Retry):
    """The breaker of a ``with`` block is open: the call is not made, and the message is redelivered later."""

    def __init__(self, name: str, after: float | None = None) -> None:
        self.name = name
        """Name of the breaker."""
        super().__init__(f"breaker {name!r} is open", after=after)


class Block:
    """One execution of a ``with`` block.

    Args:
        keeper: The breaker in this execution environment.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._state = keeper.state
        self._started_at = 0.0

    async def enter(self) -> None:
        """Begin a call on the event loop; wait until the circuit is read.

        Raises:
            BreakerOpenError: If the service must not be called.
        """
        self._state.call_starts()
        waited_until = self._state.now() + _READ_SECONDS
        while self._waits(waited_until):  # noqa: ASYNC110 - the state is used from several threads
            await asyncio.sleep(POLL_SECONDS)
        self._begin()

    def enter_here(self) -> None:
        """Begin a call on this thread; on an event loop, without waiting."""
        self._state.call_starts()
        waited_until = self._state.now() + _READ_SECONDS
        timer = threading.Event()
        while not _is_on_loop() and self._waits(waited_until):
            timer.wait(POLL_SECONDS)
        self._begin()

    def _waits(self, until: float) -> bool:
        if not self._keeper.is_of_blocks:
            return False
        return 0 < self._state.wait(0.0) < PROBE_POLL_SECONDS and self._state.now() < until

    def _begin(self) -> None:
        self._started_at = self._state.now()
        if not self._keeper.is_of_blocks:  # the handler was started by admission, perhaps as the probe
            return
        if self._state.wait(self._started_at) and self._state.is_open:
            raise self._error()
        self._state.started()

    def _error(self) -> BreakerOpenError:
        breaker = self._state.breaker
        self._state.calls_saved += 1
        rest = breaker.outage_budget - self._keeper.age
        error = BreakerOpenError(breaker.name, math.ceil(hold_seconds(UNKNOWN_RECEIVES, rest, random_share())))
        return marked(error, self._keeper)

    def exit(self, error: BaseException | None) -> None:
        """Note how the call ended."""
        failed = error is not None and self._state.breaker.counts(error)
        if failed and error is not None:
            marked(error, self._keeper)
        if failed or self._keeper.is_of_blocks:  # otherwise the end of the handler counts
            result = None if error is not None and not failed else failed
            self._state.ended(self._started_at, self._state.now(), result)


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
