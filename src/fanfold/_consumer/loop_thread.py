"""The seam between Lambda, which calls a plain function, and the event loop.

The loop lives on a thread of its own and is kept, with the lifespan, from one invocation to the next. The invocation's
thread waits for it with a time limit, so that nothing that runs on the loop can keep the answer. (A call that holds
the interpreter lock all the time, such as a catastrophic regular expression, keeps every thread and cannot be
interrupted from inside the process.)
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Generic, TypeAlias, TypeVar

from fanfold._base.deadline import Deadline
from fanfold._consumer.blocked_loop import current_user_line, dump_stacks_before
from fanfold._consumer.isolation import create_task

logger = logging.getLogger("fanfold")

Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
"""Makes what the handlers share: entered at the first invocation, on the loop, and kept."""

T = TypeVar("T")
S = TypeVar("S")

MAX_ABANDONED_HANDLERS: Final = 100
"""Abandoned handlers that may still run in an execution environment before it is given up."""
MAX_BLOCKED_LOOPS: Final = 2
"""Blocked event loops that may be left behind in an execution environment before it is given up."""
_LOOK_SECONDS = 1.0
"""How often the invocation's thread looks whether the loop turns."""
_PROBE_SECONDS = 0.25
"""How long a loop that was blocked at the last answer gets to show that it turns again."""
_GLANCE_SECONDS = 0.005
"""How long the loop gets to show that it turns when the answer is due."""
_CLOSE_SECONDS = 5.0
"""How long a lifespan may take to end when the runtime is closed."""
_ENDED: Final = "the event loop was ended, or the batch cancelled, by a handler"


def deadline_of(lambda_context: Any, margin: float | None) -> Deadline:
    """Return the deadline of an invocation from its Lambda context; one that never comes without a context.

    The only place where the remaining milliseconds are read.
    """
    remaining = getattr(lambda_context, "get_remaining_time_in_millis", None)
    return Deadline.never() if remaining is None else Deadline.after(remaining() / 1000, margin=margin)


class Runtime(Generic[S]):
    """One event loop on its own thread, with one lifespan; starts at the first use, again after a fork."""

    def __init__(
        self, lifespan: Callable[[], AbstractAsyncContextManager[S]], abandoned_handlers: Callable[[S], int]
    ) -> None:
        self._lifespan = lifespan
        self._abandoned_handlers = abandoned_handlers
        self._lock = threading.Lock()
        self._loop: _LoopThread[S] | None = None
        self._left_behind: list[_LoopThread[S]] = []

    def run(self, work: Callable[[S], Coroutine[Any, Any, T]], deadline: Deadline) -> T:
        """Run work on the loop, given what the lifespan yielded, and wait for it until the deadline gives up.

        The caller's context variables are the work's.

        Raises:
            TimeoutError: If the work has not ended at ``deadline.responds_without_loop_at``. It is cancelled if the
                loop still turns, and what it does later is of no consequence to the caller.
            SystemExit: If so much that was abandoned still runs here that a fresh execution environment is better.
        """
        loop = self._turning_loop()
        with dump_stacks_before(deadline):
            # A lifespan that fails or hangs raises here, before any record has started: the whole batch comes back.
            state = loop.wait(loop.state, deadline, "the lifespan did not start in time")
            outcome, cancel = loop.submit(lambda: work(state))
            try:
                return loop.wait(outcome, deadline, "the event loop did not answer in time")
            except BaseException:
                cancel()
                raise

    def abandoned(self) -> tuple[int, int]:
        """Return how many abandoned handlers, and how many event loops that were left behind, still run."""
        with self._lock:
            return self._count_abandoned(self._loop)

    def close(self) -> None:
        """End the lifespan and the loop, and those left behind once they turn; the next use starts new ones."""
        with self._lock:
            loop, self._loop = self._loop, None
            for left in self._left_behind:
                left.end()
        if loop is not None:
            loop.close()

    def _turning_loop(self) -> _LoopThread[S]:
        with self._lock:
            loop = self._loop
            if loop is None or not loop.usable():
                if loop is not None and loop.alive():
                    logger.warning("an event loop that no longer turns was left behind, and a new one started")
                    self._left_behind.append(loop)
                loop = self._loop = _LoopThread(self._lifespan)
            self._recycle_if_worn(loop)
            return loop

    def _recycle_if_worn(self, loop: _LoopThread[S]) -> None:
        running, blocked = self._count_abandoned(loop)
        if running > MAX_ABANDONED_HANDLERS or blocked > MAX_BLOCKED_LOOPS:
            # Lambda takes this for a crash: the batch comes back, and the next one gets a fresh execution environment.
            raise SystemExit(
                f"fanfold: {running} abandoned handlers and {blocked} blocked event loops still run in "
                "this execution environment: it is given up for a fresh one"
            )

    def _count_abandoned(self, loop: _LoopThread[S] | None) -> tuple[int, int]:
        self._left_behind = [left for left in self._left_behind if left.alive()]
        started = loop is not None and loop.state.done() and not loop.state.exception()
        return self._abandoned_handlers(loop.state.result()) if loop is not None and started else 0, len(
            self._left_behind
        )


class _LoopThread(Generic[S]):
    def __init__(self, lifespan: Callable[[], AbstractAsyncContextManager[S]]) -> None:
        self.state: Future[S] = Future()
        """What the lifespan yielded, or why it could not start."""
        self._pid = os.getpid()
        self._suspect = False
        self._over = False
        """Whether the loop has been ended, by a handler perhaps: what is begun on it now would be cut off."""
        self._waited: set[Future[Any]] = set()
        """Outcomes that are not known yet."""
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._turn, args=(lifespan,), name="fanfold-loop", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        """Tell whether its thread runs, in this process."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def usable(self) -> bool:
        """Tell whether the loop turns: alive, its lifespan not failed, not blocked since last time."""
        if self._over or not self.alive():
            return False
        if self.state.done() and self.state.exception() is not None:
            return False
        if self._suspect:
            self._suspect = not self._ping().wait(_PROBE_SECONDS)
        return not self._suspect

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[Future[T], Callable[[], None]]:
        """Start work on the loop in the caller's context variables; return its outcome and a way to cancel it."""
        outcome: Future[T] = Future()
        self._waited.add(outcome)
        outcome.add_done_callback(self._waited.discard)
        context = contextvars.copy_context()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            if outcome.set_running_or_notify_cancel():
                coroutine = work()
                try:
                    task = create_task(self._loop, coroutine, context)
                except BaseException as error:  # noqa: BLE001 - a task factory of the user's
                    coroutine.close()
                    outcome.set_exception(error)
                    return
                tasks.append(task)
                task.add_done_callback(lambda ended: _carry_over(ended, outcome))

        def cancel_task() -> None:
            if tasks:
                tasks[0].cancel()

        def cancel() -> None:
            # Work that has not begun never will; work that has is cancelled as soon as the loop turns.
            if not outcome.cancel() and not outcome.done():
                self._soon(cancel_task)

        try:
            self._loop.call_soon_threadsafe(start)
        except RuntimeError:  # it has just been closed
            _leave(outcome)
        return outcome, cancel

    def wait(self, future: Future[T], deadline: Deadline, complaint: str) -> T:
        """Wait for a future until the deadline gives up; name what blocks the loop meanwhile.

        Raises:
            TimeoutError: If it has not ended by then; the loop is suspected of being blocked from then on.
        """
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        turned: threading.Event | None = None
        while not done.wait(_least(_LOOK_SECONDS, deadline.until(deadline.responds_without_loop_at))):
            over = deadline.until(deadline.responds_without_loop_at) == 0
            if over and turned is None:
                turned = self._ping()
                turned.wait(_GLANCE_SECONDS)
            if turned is not None and not turned.is_set():
                logger.warning("the event loop is blocked by %s", current_user_line(self._thread.ident))
            if over:
                self._suspect = True
                raise TimeoutError(complaint)
            turned = self._ping()
        return future.result()

    def _ping(self) -> threading.Event:
        """Return an event that is set when the loop has turned."""
        turned = threading.Event()
        self._soon(turned.set)
        return turned

    def _soon(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call)

    def end(self) -> None:
        """Have the lifespan and the loop end as soon as the loop turns."""
        self._soon(self._ending.set)

    def close(self) -> None:
        if self.alive():
            self.end()
            self._thread.join(_CLOSE_SECONDS)

    def _turn(self, lifespan: Callable[[], AbstractAsyncContextManager[S]]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live(lifespan))
        except BaseException as error:
            if not self.state.done():
                self.state.set_exception(error)
            else:
                logger.exception("the event loop or its lifespan ended with an error")
        finally:
            self._over = True
            _finish(self._loop)
            for outcome in list(self._waited):
                _leave(outcome)

    async def _live(self, lifespan: Callable[[], AbstractAsyncContextManager[S]]) -> None:
        # One task enters and leaves the lifespan, as cancel scopes and task groups in it require.
        async with lifespan() as state:
            self.state.set_result(state)
            await self._ending.wait()


def _least(one: float, other: float | None) -> float:
    return one if other is None else min(one, other)


def _leave(outcome: Future[Any]) -> None:
    """End an outcome that nothing will come of any more."""
    with contextlib.suppress(InvalidStateError):  # it is known, or has just been cancelled
        outcome.set_exception(TimeoutError(_ENDED))


def _carry_over(task: asyncio.Task[T], outcome: Future[T]) -> None:
    if task.cancelled():
        # Whatever the caller awaited ends so: it answers from what is known by then.
        outcome.set_exception(TimeoutError(_ENDED))
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
        with contextlib.suppress(BaseException):  # what ends the loop once more
            loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    with contextlib.suppress(BaseException):
        loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
