"""Worker threads for ``def`` handlers.

A handler that never returns must not delay the batch response or the end of the process. So these threads are daemons,
and a cancelled caller abandons its thread. (anyio's worker threads deliberately keep the process alive until the
function returns.)
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_THREAD = threading.local()
"""The event loop that a worker thread serves, as ``loop``, and the thread itself, as ``thread``."""


def serve_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Mark the current thread as one that runs calls for an event loop."""
    _THREAD.loop = loop


def served_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs on the current thread, or that this thread runs calls for; None without one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return getattr(_THREAD, "loop", None)


class StillRunningError(asyncio.CancelledError):
    """The caller was cancelled, but its function is still running on the thread."""


class Threads:
    """Daemon threads, started when needed and reused for later calls.

    There are never more threads than concurrent calls, so the caller bounds the number of threads. A thread whose call
    was abandoned is reused after the function returns.

    Args:
        loop: The event loop that the threads serve; None for the loop of the first call.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.left: set[object] = set()
        """Calls that were abandoned and still run: added by the caller that abandons one, and removed by its thread."""
        self._loop = loop
        self._idle: deque[_Thread] = deque()
        self._is_closed = False

    @property
    def abandoned(self) -> int:
        """Number of abandoned calls that still run."""
        return len(self.left)

    async def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function on a worker thread in a copy of the caller's context; see ``run_in``."""
        return await self.run_in(contextvars.copy_context(), function, *args, **kwargs)

    async def run_in(self, context: contextvars.Context, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function on a worker thread, in a context, and return its result.

        On cancellation, this returns immediately and abandons the thread.

        Raises:
            StillRunningError: If the caller is cancelled before the function has ended.
        """
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        future: asyncio.Future[T] = loop.create_future()

        has_ended = False

        def finish(value: Any, error: BaseException | None) -> None:
            nonlocal has_ended
            has_ended = True
            if future.cancelled():
                self.left.discard(future)
            elif error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def call() -> Callable[[], object]:
            value: Any = None
            error: BaseException | None = None
            try:
                value = context.run(function, *args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - every exception is raised in the awaiting task
                error = storable(raised)
            return functools.partial(loop.call_soon_threadsafe, finish, value, error)

        self.start(call)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled() or has_ended:
                raise
            self.left.add(future)
            raise StillRunningError from None

    def start(self, call: Callable[[], Callable[[], object]]) -> None:
        """Start a call on a worker thread, from any thread.

        Args:
            call: Called on the thread. The function that it returns is called when the thread is available again; if
                the event loop is closed by then, its RuntimeError is ignored, and the thread ends.

        Raises:
            RuntimeError: If no thread can be started.
        """
        try:
            thread = self._idle.pop()
        except IndexError:
            thread = _Thread()
            # A thread inherits no context, and each call runs in a separate one.
            threading.Thread(target=self._serve, args=(thread,), name="fanfold-worker", daemon=True).start()
        thread.call = call
        thread.wake.release()

    def withhold(self) -> None:
        """Give the current thread no calls until ``offer``: it is available, but is about to run a user's code.

        On any other thread, this does nothing.
        """
        if (thread := getattr(_THREAD, "thread", None)) is None:
            return
        try:
            self._idle.remove(thread)
        except ValueError:
            if not thread.wake.acquire(blocking=False):
                return
            if (call := thread.call) is None:  # it is to end
                thread.wake.release()
                return
            thread.call = None
            self.start(call)
        thread.is_withheld = True

    def offer(self) -> None:
        """Let the current thread be used again after ``withhold``."""
        thread = getattr(_THREAD, "thread", None)
        if thread is not None and thread.is_withheld:
            thread.is_withheld = False
            self._idle.append(thread)

    def close(self) -> None:
        """End the idle threads; busy threads end after their call, unless they are used again."""
        self._is_closed = True
        with contextlib.suppress(IndexError):  # a thread that ends its call does the same
            while True:
                thread = self._idle.pop()
                thread.call = None
                thread.wake.release()

    def _serve(self, thread: _Thread) -> None:
        if self._loop is not None:
            serve_loop(self._loop)
        _THREAD.thread = thread
        while thread.wake.acquire() and thread.call is not None:
            call, thread.call = thread.call, None
            end = call()
            del call  # do not keep the last record in memory while waiting
            self._idle.append(thread)  # before anybody learns of the end: the next batch reuses the thread
            try:
                end()
            except RuntimeError:  # the loop is closed
                self.close()
            del end  # as the call
            self.offer()
            if self._is_closed:
                self.close()


class _Thread:
    """A worker thread: its next call, and the lock that it waits for."""

    __slots__ = ("call", "is_withheld", "wake")

    def __init__(self) -> None:
        self.call: Callable[[], Callable[[], object]] | None = None
        self.is_withheld = False
        self.wake = threading.Lock()
        self.wake.acquire()


def storable(error: BaseException) -> BaseException:
    """Return an error in a form that a future accepts."""
    try:
        if not isinstance(error, StopIteration):
            return error
    except BaseException:  # noqa: BLE001 - an error whose ``__class__`` raises
        return RuntimeError(f"the handler raised a {type(error).__qualname__}, whose class cannot be read")
    return RuntimeError("the handler raised StopIteration")
