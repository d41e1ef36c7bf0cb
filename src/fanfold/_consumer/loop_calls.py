"""Calls of functions on an event loop, from any thread: now, or at a moment."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from typing import Any


class LoopCalls:
    """Calls on one event loop, in one context.

    Args:
        loop: The event loop.
        context: The context of the calls.
        clock: Returns the current time.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: contextvars.Context, clock: Callable[[], float]
    ) -> None:
        self._loop = loop
        self._context = context
        self._clock = clock
        self._timers: dict[str, asyncio.TimerHandle] = {}
        """By the name of the function that they call."""
        self._is_closed = False

    def run(self, call: Callable[..., object], *args: Any) -> None:
        """Call a function: immediately, if this is the event loop's thread."""
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - no exception off the loop
            call(*args)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call, *args, context=self._context)

    def later(self, moment: float, call: Callable[[], object]) -> None:
        """Call a function at a moment, in place of an earlier request for it; call this on the event loop."""
        seconds = max(0.0, moment - self._clock())
        self._timers[call.__name__] = self._loop.call_later(seconds, call, context=self._context)
        if self._is_closed:  # perhaps by another thread, just now
            self._cancel()

    def close(self) -> None:
        """Cancel what has been requested for later, and ignore further requests."""
        self._is_closed = True
        if self._timers:
            self.run(self._cancel)

    def _cancel(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
