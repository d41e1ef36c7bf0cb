"""A call of the event loop by another thread: what runs, and how the thread waits for its end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, Protocol, TypeVar

from fanfold._consumer.worker_tasks import create_task

T = TypeVar("T")

STOPPED: Final = "a handler stopped the event loop or cancelled the batch"


class Work(Protocol):
    """What runs in an invocation: it is started, supervised on the loop, and cancelled at the end of the time."""

    def start(self, on_ended: Callable[[BaseException | None], object]) -> None:
        """Start it; ``on_ended`` is called once, on any thread, with the error if it could not run."""
        ...

    def supervise(self) -> None:
        """Watch over it on the loop; called after the start, if it has not ended soon."""
        ...

    def cancel(self) -> None:
        """Cancel it, on the loop."""
        ...


W = TypeVar("W", bound=Work)


class Call:
    """One use of the loop, which another thread waits for.

    Args:
        on_ended: Called when it has ended, on any thread.
    """

    def __init__(self, on_ended: Callable[[Call], object]) -> None:
        self.work: Any = None
        """What runs; None until it is created."""
        self.error: BaseException | None = None
        """Why it ended, if it did not run to its end."""
        self.cancelled = False
        """True if it must not start any more."""
        self._on_ended = on_ended
        self._has_ended = False
        self._was_woken = False
        self._running = threading.Lock()  # the cheapest way to wake a thread
        self._running.acquire()

    def end(self, error: BaseException | None = None) -> None:
        """Wake the thread that waits; only the first call has an effect."""
        if not self._has_ended:
            self._has_ended = True
            self.error = error
            self._on_ended(self)
            with contextlib.suppress(RuntimeError):  # another thread has ended it at the same time
                self._running.release()

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, but no longer than this; return whether it has."""
        self._was_woken = self._was_woken or self._running.acquire(timeout=seconds)
        return self._was_woken

    def cancel(self) -> None:
        """Cancel what runs."""
        if self.work is not None:
            self.work.cancel()


class TaskWork(Generic[T]):
    """A coroutine as work."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine

    def start(self, on_ended: Callable[[BaseException | None], object]) -> None:
        """Start the task."""
        self._task = create_task(asyncio.get_running_loop(), self._coroutine, contextvars.copy_context())
        self._task.add_done_callback(lambda task: on_ended(TimeoutError(STOPPED) if task.cancelled() else None))

    def supervise(self) -> None:
        """Do nothing: the coroutine watches its deadline itself."""

    def cancel(self) -> None:
        """Cancel the task."""
        self._task.cancel()

    def result(self) -> T:
        """Return what the coroutine returned.

        Raises:
            BaseException: What it raised.
        """
        return self._task.result()
