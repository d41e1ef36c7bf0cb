"""An asyncio event loop in virtual time: when nothing is ready, the time advances to the next timer.

No time passes while code runs. A run is deterministic if the code in it is: it must not use threads or sockets.
"""

import asyncio
import contextlib
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

EPOCH: Final = 1_767_225_600.0
"""The wall clock at the start of a run, seconds since 1970: that of the sample events."""
_ROUNDS_TO_END = 20
"""How often the tasks that are left at the end are cancelled."""


class _NoEvents(selectors.SelectSelector):
    """Reports no event, and lets the time advance in place of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Advance the time by the timeout.

        Raises:
            RuntimeError: If the loop would wait forever.
        """
        if timeout is None:
            raise RuntimeError("every task waits, and no timer is set: the run would never end")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose ``time`` starts at 0 and advances from timer to timer."""

    def __init__(self) -> None:
        self._virtual = _NoEvents()
        super().__init__(self._virtual)
        self.never = asyncio.Event()
        """Never set; what waits for it is not garbage."""

    def time(self) -> float:
        """Return the virtual time, seconds since the start."""
        return self._virtual.now

    def wall(self) -> float:
        """Return the virtual time, seconds since 1970."""
        return EPOCH + self._virtual.now


async def wait_forever() -> None:
    """Wait until this task is cancelled."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    await loop.never.wait()


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a virtual loop, cancel what it leaves behind, and return its result."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        for _ in range(_ROUNDS_TO_END):
            if not (tasks := asyncio.all_tasks(loop)):
                break
            for task in tasks:
                task.cancel()
            with contextlib.suppress(BaseException):
                loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
