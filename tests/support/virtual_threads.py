"""Synchronous code in virtual time: a thread that runs only while the event loop waits for it.

So a run stays deterministic: either the loop or one of its threads runs, and code on a thread waits in virtual time.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_CURRENT = threading.local()


class VirtualThread:
    """A thread for the calls of one execution environment, one after the other."""

    def __init__(self) -> None:
        self._to_thread: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._to_loop: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        _CURRENT.thread = self
        while True:
            function, _ = self._to_thread.get()
            if function is None:
                return
            try:
                ended: Any = function(), None
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                ended = None, error
            self._to_loop.put((True, ended))

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function on the thread, and return its result; meanwhile, the loop runs only while it waits."""
        self._to_thread.put((function, None))
        while True:
            has_ended, value = self._to_loop.get()
            if has_ended:
                result, error = value
                if error is not None:
                    raise error
                ended: T = result
                return ended
            try:
                reply: tuple[Any, BaseException | None] = await value(), None
            except asyncio.CancelledError:
                self._to_thread.put((None, SystemExit()))
                self._to_loop.get()
                raise
            except BaseException as error:  # noqa: BLE001 - raised on the thread
                reply = None, error
            self._to_thread.put(reply)

    def close(self) -> None:
        """End the thread."""
        self._to_thread.put((None, None))

    def wait_for(self, create: Callable[[], Awaitable[T]]) -> T:
        """Await something on the event loop; the function on the thread waits meanwhile."""
        self._to_loop.put((False, create))
        result, error = self._to_thread.get()
        if error is not None:
            raise error
        waited: T = result
        return waited


def wait_for(create: Callable[[], Awaitable[T]]) -> T:
    """Await something on the event loop, in a function that a ``VirtualThread`` runs."""
    thread: VirtualThread = _CURRENT.thread
    return thread.wait_for(create)
