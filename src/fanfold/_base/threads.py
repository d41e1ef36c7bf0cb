"""Worker threads for plain handlers.

A handler that never returns must not keep the answer, nor keep the process from ending: these threads are daemons,
and a caller that is cancelled leaves its thread behind. (anyio's worker threads are neither, on purpose: they hold
the process until the function returns.)
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
    """The caller was cancelled; the function it called still runs on its thread."""


class Threads:
    """Daemon threads, started when they are first needed and kept for the next call.

    Used from one event loop. There are never more threads than calls that run at once, so the caller's bound is the
    bound of the threads; a thread whose call was abandoned comes back when the function returns.
    """

    def __init__(self) -> None:
        self.abandoned: int = 0
        """Calls that were cancelled and whose functions are still running."""
        self._idle: list[SimpleQueue[Callable[[], None] | None]] = []

    async def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function on a worker thread in a copy of the caller's context; see ``run_in``."""
        return await self.run_in(contextvars.copy_context(), function, *args, **kwargs)

    async def run_in(self, context: contextvars.Context, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function on a worker thread, in a context, and return what it returns.

        On cancellation the caller goes on at once and the thread is left to end by itself.

        Raises:
            StillRunningError: If the caller is cancelled and the function has not ended.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        inbox = self._idle.pop() if self._idle else self._start()

        def call() -> None:
            value: Any = None
            error: BaseException | None = None
            try:
                value = context.run(function, *args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - it is carried to the awaiting task, whatever it is
                error = _carried(raised)
            try:
                loop.call_soon_threadsafe(self._finish, inbox, future, value, error)
            except RuntimeError:
                inbox.put(None)  # the loop is closed: nobody waits for this any more

        inbox.put(call)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled():
                raise
            self.abandoned += 1
            raise StillRunningError from None

    def close(self) -> None:
        """Let idle threads end; busy ones end after their call."""
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
        else:
            future.set_exception(error)


def _serve(inbox: SimpleQueue[Callable[[], None] | None]) -> None:
    while call := inbox.get():
        call()
        del call  # hold nothing of the last record while waiting


def _carried(error: BaseException) -> BaseException:
    """Return an error as a future can hold it."""
    try:
        if not isinstance(error, StopIteration):
            return error
    except BaseException:  # noqa: BLE001 - an error whose ``__class__`` raises
        return RuntimeError(f"the handler raised a {type(error).__qualname__}, whose class cannot be read")
    return RuntimeError("the handler raised StopIteration")
