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
        """Call a function on a worker thread, in the caller's context variables, and return its result.

        On cancellation, this returns immediately and abandons the thread.

        Raises:
            StillRunningError: If the caller is cancelled before the function has ended.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()
        inbox = self._idle.pop() if self._idle else self._start()

        def call() -> None:
            value: Any = None
            error: BaseException | None = None
            try:
                value = context.run(function, *args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - every exception is raised in the awaiting task
                error = raised
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
        threading.Thread(target=_serve, args=(inbox,), name="fanfold-worker", daemon=True).start()
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
        elif isinstance(error, StopIteration):  # a future does not accept a StopIteration
            future.set_exception(RuntimeError("the handler raised StopIteration"))
        else:
            future.set_exception(error)


def _serve(inbox: SimpleQueue[Callable[[], None] | None]) -> None:
    while call := inbox.get():
        call()
        del call  # do not keep the last record in memory while waiting
