"""A call of the event loop by another thread: its work, and how the thread waits for its end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, Protocol, TypeVar

from fanfold._base.deadline import Deadline
from fanfold._consumer.worker_tasks import create_task

T = TypeVar("T")

_REPORT_SECONDS: Final = 1.0
"""Longest wait for log lines and observers that the response does not depend on."""
STOPPED: Final = "a handler stopped the event loop or cancelled the batch"


class Work(Protocol):
    """Work of an invocation: it is started, supervised on the loop, and cancelled at the end of the time."""

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
        """The work; None until it is created."""
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
        """Cancel the work."""
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


def run_in_time(call: Callable[[], object], deadline: Deadline) -> None:
    """Call a function on a separate thread, and wait for it up to a second, and no longer than half of the time left.

    For log lines and observers while the event loop is blocked: a log handler may hang, or wait for a lock of the
    blocked thread.
    """
    thread = threading.Thread(target=contextvars.copy_context().run, args=(call,), name="fanfold-report", daemon=True)
    with contextlib.suppress(RuntimeError):  # no thread can be started
        thread.start()
        thread.join(shorter(_REPORT_SECONDS, half(deadline.until(deadline.ends_at))))


def half(seconds: float | None) -> float | None:
    """Return half of a time in seconds; None for None."""
    return None if seconds is None else seconds / 2


def shorter(seconds: float, limit: float | None) -> float:
    """Return a time in seconds, or a limit that is shorter; None for no limit."""
    return seconds if limit is None else min(seconds, limit)
