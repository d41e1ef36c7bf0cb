"""The event loop's default executor, which ``asyncio.to_thread`` uses: replaced if calls on it were abandoned."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fanfold._base.threads import serve_loop


class _CountingExecutor(ThreadPoolExecutor):
    """A thread pool that knows which calls have not ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(thread_name_prefix="fanfold-to-thread", initializer=serve_loop, initargs=(loop,))
        self.running: set[Future[Any]] = set()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a call on a thread, see ``ThreadPoolExecutor.submit``."""
        future = super().submit(fn, *args, **kwargs)
        self.running.add(future)
        future.add_done_callback(self.running.discard)
        return future


class DefaultExecutors:
    """The default executors of one event loop: the current one, and earlier ones whose calls still hang.

    An executor has few threads (``min(32, CPUs + 4)``). Calls that hang would fill them, and every later batch that
    needs one would time out.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left: list[_CountingExecutor] = []
        self._install()

    @property
    def abandoned(self) -> int:
        """Calls that still run although no batch waits for them."""
        if not self._left:
            return 0
        self._left = [executor for executor in self._left if executor.running]
        return sum(len(executor.running) for executor in self._left)

    @property
    def has_running(self) -> bool:
        """True if calls run on the current executor."""
        return bool(self._current.running)

    def renew(self) -> None:
        """Replace the current executor if calls still run on it; call this when no batch is in progress."""
        if not self.has_running:
            return
        self._left.append(self._current)
        self._current.shutdown(wait=False)
        self._install()

    def _install(self) -> None:
        self._current = _CountingExecutor(self._loop)
        self._loop.set_default_executor(self._current)
