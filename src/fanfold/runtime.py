"""The seam between Lambda, which calls a plain function, and the event loop.

The loop lives on a thread of its own and is kept, with the lifespan, from one invocation to the next. The invocation's
thread waits for it with a time limit, so that nothing that runs on the loop can keep the answer. (A call that holds
the interpreter lock all the time, such as a catastrophic regular expression, keeps every thread and cannot be
interrupted from inside the process.)
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar

from fanfold.deadline import Deadline

__all__ = ["Lifespan", "Runtime", "deadline_of"]

logger = logging.getLogger("fanfold")

Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
"""Makes what the handlers share: entered at the first invocation, on the loop, and kept."""

T = TypeVar("T")

_PROBE_SECONDS = 0.25
"""How long a loop that was blocked at the last answer gets to show that it turns again."""
_CLOSE_SECONDS = 5.0
"""How long a lifespan may take to end when the runtime is closed."""


def deadline_of(lambda_context: Any, margin: float | None) -> Deadline:
    """Return the deadline of an invocation from its Lambda context; one that never comes without a context.

    The only place where the remaining milliseconds are read.
    """
    remaining = getattr(lambda_context, "get_remaining_time_in_millis", None)
    return Deadline.never() if remaining is None else Deadline.after(remaining() / 1000, margin=margin)


class Runtime:
    """One event loop on its own thread, with one lifespan; starts at the first use, again after a fork."""

    def __init__(self, lifespan: Lifespan | None) -> None:
        self._lifespan = lifespan
        self._lock = threading.Lock()
        self._loop: _LoopThread | None = None

    def run(self, work: Callable[[Any], Coroutine[Any, Any, T]], deadline: Deadline) -> T:
        """Run work on the loop, given what the lifespan yielded, and wait for it until the deadline gives up.

        The caller's context variables are the work's.

        Raises:
            TimeoutError: If the work has not ended at ``deadline.gives_up_at``. It is cancelled if the loop still
                turns, and what it does later is of no consequence to the caller.
        """
        loop = self._turning_loop()
        # A lifespan that fails or hangs raises here, before any record has started: the whole batch comes back.
        state = loop.wait(loop.state, deadline, "the lifespan did not start in time")
        outcome, cancel = loop.submit(lambda: work(state))
        try:
            return loop.wait(outcome, deadline, "the event loop did not answer in time")
        except BaseException:
            cancel()
            raise

    def close(self) -> None:
        """End the lifespan and the loop; the next use starts new ones."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def _turning_loop(self) -> _LoopThread:
        with self._lock:
            loop = self._loop
            if loop is None or not loop.usable():
                if loop is not None:
                    logger.warning("an event loop that no longer turns was left behind, and a new one started")
                loop = self._loop = _LoopThread(self._lifespan)
            return loop


class _LoopThread:
    def __init__(self, lifespan: Lifespan | None) -> None:
        self.state: Future[Any] = Future()
        """What the lifespan yielded, or why it could not start."""
        self._pid = os.getpid()
        self._suspect = False
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._turn, args=(lifespan,), name="fanfold-loop", daemon=True)
        self._thread.start()

    def usable(self) -> bool:
        """Tell whether the loop turns: alive, of this process, its lifespan not failed, not blocked since last time."""
        if self._pid != os.getpid() or not self._thread.is_alive():
            return False
        if self.state.done() and self.state.exception() is not None:
            return False
        if self._suspect:
            turned = threading.Event()
            self._loop.call_soon_threadsafe(turned.set)
            self._suspect = not turned.wait(_PROBE_SECONDS)
        return not self._suspect

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[Future[T], Callable[[], None]]:
        """Start work on the loop in the caller's context variables; return its outcome and a way to cancel it."""
        outcome: Future[T] = Future()
        context = contextvars.copy_context()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            if outcome.set_running_or_notify_cancel():
                task = self._loop.create_task(work(), context=context)
                tasks.append(task)
                task.add_done_callback(lambda ended: _carry_over(ended, outcome))

        def cancel_task() -> None:
            tasks[0].cancel()

        def cancel() -> None:
            # Work that has not begun never will; work that has is cancelled as soon as the loop turns.
            if not outcome.cancel() and not outcome.done():
                self._loop.call_soon_threadsafe(cancel_task)

        self._loop.call_soon_threadsafe(start)
        return outcome, cancel

    def wait(self, future: Future[T], deadline: Deadline, complaint: str) -> T:
        """Wait for a future until the deadline gives up.

        Raises:
            TimeoutError: If it has not ended by then; the loop is suspected of being blocked from then on.
        """
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(deadline.until(deadline.gives_up_at)):
            self._suspect = True
            raise TimeoutError(complaint)
        return future.result()

    def close(self) -> None:
        if self._pid == os.getpid() and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(_CLOSE_SECONDS)

    def _turn(self, lifespan: Lifespan | None) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live(lifespan))
        except BaseException as error:
            if not self.state.done():
                self.state.set_exception(error)
            else:
                logger.exception("the lifespan failed")
        finally:
            _finish(self._loop)

    async def _live(self, lifespan: Lifespan | None) -> None:
        # One task enters and leaves the lifespan, as cancel scopes and task groups in it require.
        if lifespan is None:
            self.state.set_result(None)
            await self._ending.wait()
            return
        async with lifespan() as state:
            self.state.set_result(state)
            await self._ending.wait()


def _carry_over(task: asyncio.Task[T], outcome: Future[T]) -> None:
    if task.cancelled():
        outcome.set_exception(asyncio.CancelledError())
    elif error := task.exception():
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left on the loop, once, and close it without waiting for what does not end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
