"""Worker threads for ``def`` handlers.

A handler that never returns must not delay the batch response or the end of the process. So these threads are daemons,
and a cancelled caller abandons its thread. (anyio's worker threads deliberately keep the process alive until the
function returns.)
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_THREAD = threading.local()
"""The event loop that a worker thread serves, as ``loop``."""


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

    Use it from one event loop. There are never more threads than concurrent calls, so the caller bounds the number of
    threads. A thread whose call was abandoned is reused after the function returns.
    """

    def __init__(self) -> None:
        self.abandoned: int = 0
        """Number of cancelled calls whose functions are still running."""
        self._idle: list[SimpleQueue[Callable[[], None] | None]] = []

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
        future: asyncio.Future[T] = loop.create_future()
        inbox = self._idle.pop() if self._idle else self._start()

        def call() -> None:
            value: Any = None
            error: BaseException | None = None
            try:
                value = context.run(function, *args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - every exception is raised in the awaiting task
                error = _as_future_error(raised)
            try:
                loop.call_soon_threadsafe(self._finish, inbox, future, value, error)
            except RuntimeError:
                inbox.put(None)  # the loop is closed: no task awaits this call any more

        inbox.put(call)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled():
                raise
            self.abandoned += 1
            raise StillRunningError from None

    def close(self) -> None:
        """End the idle threads; busy threads end after their call."""
        while self._idle:
            self._idle.pop().put(None)

    def _start(self) -> SimpleQueue[Callable[[], None] | None]:
        inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        loop = asyncio.get_running_loop()
        threading.Thread(target=_serve, args=(inbox, loop), name="fanfold-worker", daemon=True).start()
        return inbox

    def _finish(
        self,
        inbox: SimpleQueue[Callable[[], None] | None],
        future: asyncio.Future[Any],
        value: object,
        error: BaseException | None,
    ) -> None:
        self._idle.append(inbox)
        if future.cancelled():
            self.abandoned -= 1
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def _serve(inbox: SimpleQueue[Callable[[], None] | None], loop: asyncio.AbstractEventLoop) -> None:
    serve_loop(loop)
    while call := inbox.get():
        call()
        del call  # do not keep the last record in memory while waiting


def _as_future_error(error: BaseException) -> BaseException:
    """Return an error in a form that a future accepts."""
    try:
        if not isinstance(error, StopIteration):
            return error
    except BaseException:  # noqa: BLE001 - an error whose ``__class__`` raises
        return RuntimeError(f"the handler raised a {type(error).__qualname__}, whose class cannot be read")
    return RuntimeError("the handler raised StopIteration")
