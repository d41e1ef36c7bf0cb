"""Run the event loop on a separate thread, so that Lambda, which calls a ``def`` function, always gets a response.

The loop and the lifespan are kept from one invocation to the next. The invocation's thread waits for the loop with a
timeout, so a handler that blocks the loop cannot block the response. (A call that holds the interpreter lock, such as
a regular expression with catastrophic backtracking, blocks every thread and cannot be interrupted within the process.)
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Generic, TypeAlias, TypeVar

from fanfold._base.deadline import Deadline
from fanfold._base.log import BatchLogger, logger
from fanfold._base.threads import served_loop
from fanfold._consumer.blocked_loop import DumpBefore, current_user_line
from fanfold._consumer.calls import STOPPED, Call, TaskWork, W, Work, half, run_in_time, shorter
from fanfold._consumer.process_limits import concurrent_processes
from fanfold.errors import ConfigurationError

Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
"""Creates resources that the handlers share: entered on the loop in the first invocation, and kept."""

T = TypeVar("T")
S = TypeVar("S")

MAX_ABANDONED_HANDLERS: Final = 100
"""Maximum number of abandoned handlers in a process; with more, it exits, or continues on a new event loop."""
MAX_BLOCKED_LOOPS: Final = 2
"""Maximum number of blocked event loops in a process; with more, it exits, or logs an error."""
_CHECK_SECONDS = 1.0
"""Interval at which the invocation's thread checks whether the loop is blocked."""
_RECOVERY_SECONDS = 0.25
"""Time that a loop that was blocked at the last response has to show that it runs again."""
_LAST_CHECK_SECONDS = 0.005
"""Time that the loop has to show that it is not blocked when the response is due."""
_MAX_MILLISECONDS: Final = 10**9
"""The most time that is read from a context, in place of infinity and the like; Lambda gives at most 90 minutes."""
_CLOSE_SECONDS = 5.0
"""Time that a lifespan has to end when the runtime is closed."""


def deadline_of(lambda_context: Any, margin: float | None) -> Deadline:
    """Return the deadline of an invocation from its Lambda context; an infinite one without a context.

    This is the only place that reads the remaining milliseconds.
    """
    remaining = getattr(lambda_context, "get_remaining_time_in_millis", None)
    try:
        milliseconds = None if remaining is None else remaining()
    except Exception:  # noqa: BLE001 - an object that is not Lambda's
        milliseconds = None
    if not isinstance(milliseconds, int | float) or milliseconds != milliseconds:  # noqa: PLR0124 - not a number
        return Deadline.never()
    return Deadline.after(min(milliseconds, _MAX_MILLISECONDS) / 1000, margin=margin)


class Runtime(Generic[S]):
    """An event loop on a separate thread, with a lifespan; started at the first use, and again after a fork."""

    def __init__(
        self, lifespan: Callable[[], AbstractAsyncContextManager[S]], abandoned_handlers: Callable[[S], int]
    ) -> None:
        self._lifespan = lifespan
        self._abandoned_handlers = abandoned_handlers
        self._lock = threading.Lock()
        self._loop: _LoopThread[S] | None = None
        self._blocked_loops: list[_LoopThread[S]] = []
        self._most_blocked_loops = 0
        """The most blocked loops that an error was logged for."""

    def run(self, work: Callable[[S], Coroutine[Any, Any, T]], deadline: Deadline) -> T:
        """Run a coroutine on the loop with the lifespan's value, and wait for it as ``run_work`` does."""
        return self.run_work(lambda state: TaskWork(work(state)), deadline).result()

    def run_work(
        self,
        create: Callable[[S], W],
        deadline: Deadline,
        *,
        on_loop: bool = True,
        supervise_after: float = 0.0,
    ) -> W:
        """Start work with the lifespan's value, and wait for its end until ``deadline.responds_without_loop_at``.

        The work runs in the caller's context variables.

        Args:
            create: Creates the work.
            deadline: The deadline of the invocation.
            on_loop: Whether the work is created and started on the loop, and not on this thread.
            supervise_after: For work that starts on this thread: seconds after which the loop supervises it.

        Raises:
            TimeoutError: If the work has not ended by then. It is cancelled unless the loop is blocked, and nothing
                that it does later affects the caller.
            ConfigurationError: If a handler of this loop calls this.
            SystemExit: If too many abandoned handlers or blocked event loops still run in this execution environment,
                unless Lambda would not replace the process (Managed Instances).
        """
        loop = self._usable_loop(deadline)
        if loop.is_served_here():
            raise ConfigurationError(
                "a handler calls the consumer that is running it, which would wait for itself: "
                "call the handler function instead, or send a message to the queue"
            )
        # Before the other thread can get the interpreter lock, and keep it.
        dump = DumpBefore(deadline)
        dump.arm()
        try:
            # A lifespan that fails or hangs raises here, before any record starts: the whole batch is redelivered.
            state = loop.wait_for_state(deadline)
            call = Call(loop.call_ended)
            try:
                if on_loop:
                    loop.start(call, lambda: create(state))
                else:
                    loop.start_here(call, create(state))
                if not on_loop and not call.wait(supervise_after):
                    loop.supervise(call)
                loop.wait(call, deadline, "the event loop did not respond in time")
            except BaseException:
                loop.cancel(call)
                raise
        finally:
            dump.disarm()
        if call.error is not None:
            if not on_loop:
                loop.cancel(call)  # a signal may have interrupted its start
            raise call.error
        work: W = call.work
        return work

    def abandoned(self) -> tuple[int, int]:
        """Return the number of abandoned handlers, and of blocked event loops, that still run."""
        with self._lock:
            return self._count_abandoned(self._loop)

    def close(self) -> None:
        """End the lifespan and the loop, and blocked loops once they run again; the next use starts new ones."""
        with self._lock:
            loop, self._loop = self._loop, None
            for blocked in self._blocked_loops:
                blocked.end()
        if loop is not None:
            loop.close()

    def _usable_loop(self, deadline: Deadline) -> _LoopThread[S]:
        loop = self._loop
        if loop is not None and loop.is_healthy and not self._blocked_loops and not self._calls_abandoned(loop):
            return loop
        with self._lock:
            loop = self._loop
            was_blocked = False
            if loop is None or not loop.usable(deadline):
                if loop is not None and (was_blocked := loop.alive()):
                    loop.end()  # once it is no longer blocked
                    self._blocked_loops.append(loop)
                loop = self._loop = _LoopThread(self._lifespan)
            loop, error = self._replace_if_too_many_abandoned(loop)
        # Not under the lock: a log handler may hang.
        if was_blocked:
            warning = "the event loop is still blocked by a handler; a new one was started"
            run_in_time(functools.partial(logger.warning, warning), deadline)
        if error:
            run_in_time(functools.partial(logger.error, error), deadline)
        return loop

    def _replace_if_too_many_abandoned(self, loop: _LoopThread[S]) -> tuple[_LoopThread[S], str]:
        """Return the loop, or a new one instead of it, and an error to log; an empty one for none."""
        handlers, loops = self._count_abandoned(loop)
        if handlers > MAX_ABANDONED_HANDLERS or loops > MAX_BLOCKED_LOOPS:
            still_running = f"{handlers} abandoned handlers and {loops} blocked event loops still run in this process"
            if concurrent_processes() > 1:
                # Nobody would respond to this invocation or replace this process: continue on a new event loop.
                if handlers > MAX_ABANDONED_HANDLERS:
                    loop.end()
                    loop = self._loop = _LoopThread(self._lifespan)
                elif loops <= self._most_blocked_loops:
                    return loop, ""
                self._most_blocked_loops = max(loops, self._most_blocked_loops)
                return loop, f"{still_running}; it continues on a new event loop, because Lambda would not replace it"
            # Lambda treats this as a crash: the batch is redelivered, and Lambda starts a new execution environment.
            raise SystemExit(f"fanfold: {still_running}; it exits so that Lambda starts a new execution environment")
        return loop, ""

    def _count_abandoned(self, loop: _LoopThread[S] | None) -> tuple[int, int]:
        self._blocked_loops = [blocked for blocked in self._blocked_loops if blocked.alive()]
        return 0 if loop is None else self._calls_abandoned(loop), len(self._blocked_loops)

    def _calls_abandoned(self, loop: _LoopThread[S]) -> int:
        handlers = self._abandoned_handlers(loop.value[0]) if loop.value else 0
        return max(handlers, loop.executors.abandoned)


class _LoopThread(Generic[S]):
    def __init__(self, lifespan: Callable[[], AbstractAsyncContextManager[S]]) -> None:
        self.state: Future[S] = Future()
        """The value that the lifespan yielded, or the error that prevented its start."""
        self.value: list[S] = []
        """The value that the lifespan yielded; empty until then."""
        self._pid = os.getpid()
        self._suspect = False
        """True if the loop was blocked when it was last checked."""
        self._stopped = False
        """True once the loop has stopped, possibly because of a handler. It runs no further work."""
        self._pending: set[Call] = set()
        """Calls that have not ended."""
        from fanfold._consumer.executor import DefaultExecutors  # at the first invocation, not at import

        self.loop = asyncio.new_event_loop()
        self.executors = DefaultExecutors(self.loop)
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(lifespan,), name="fanfold-loop", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        """Return whether the loop's thread runs in this process."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def is_served_here(self) -> bool:
        """Return whether the current thread is the loop's, or a worker thread that a handler of the loop runs on."""
        return served_loop() is self.loop

    @property
    def is_healthy(self) -> bool:
        """True if the loop can run work without a further check."""
        return bool(self.value) and not (self._stopped or self._suspect) and self._pid == os.getpid()

    def usable(self, deadline: Deadline) -> bool:
        """Return whether the loop can run work: it is alive, its lifespan has not failed, and it is not blocked."""
        if self._stopped or not self.alive():
            return False
        if self.state.done() and self.state.exception() is not None:
            return False
        if self._suspect:
            until_response = deadline.until(deadline.responds_without_loop_at)
            self._suspect = not self._ping().wait(shorter(_RECOVERY_SECONDS, half(until_response)))
        return not self._suspect

    def start(self, call: Call, create: Callable[[], Work]) -> None:
        """Create and start the work of a call on the loop, in the caller's context variables."""
        self._pending.add(call)

        def start() -> None:
            if not call.cancelled:
                try:
                    call.work = create()
                    self._start_work(call)
                    call.work.supervise()
                except BaseException as error:  # noqa: BLE001 - also a KeyboardInterrupt reaches the caller
                    call.end(error)

        try:
            self.loop.call_soon_threadsafe(start, context=contextvars.copy_context())
        except RuntimeError:  # the loop has just been closed
            call.end(TimeoutError(STOPPED))

    def start_here(self, call: Call, work: Work) -> None:
        """Start the work of a call on this thread."""
        self._pending.add(call)
        call.work = work
        self._start_work(call)

    def supervise(self, call: Call) -> None:
        """Let the loop supervise the work of a call."""
        self._call_soon(call.work.supervise)

    def _start_work(self, call: Call) -> None:
        try:
            call.work.start(call.end)
        except BaseException as error:  # noqa: BLE001 - a task factory of the user's
            self._stopped = True  # the next invocation gets a new loop, without that factory
            call.end(error)

    def cancel(self, call: Call) -> None:
        """Cancel a call in the loop's next iteration; a call that has not started never starts."""
        call.cancelled = True
        self._call_soon(call.cancel)

    def call_ended(self, call: Call) -> None:
        """Note that a call has ended, on any thread."""
        self._pending.discard(call)
        if not self._pending and self.executors.has_running:
            on_loop = threading.get_ident() == self._thread.ident
            self._renew_executors() if on_loop else self._call_soon(self._renew_executors)

    def _renew_executors(self) -> None:
        if not self._pending:
            self.executors.renew()

    def wait_for_state(self, deadline: Deadline) -> S:
        """Return the value of the lifespan, and wait for it if it is starting."""
        if not self.value:
            call = Call(_nothing)
            self.state.add_done_callback(lambda _: call.end())
            self.wait(call, deadline, "the lifespan did not start in time")
            return self.state.result()
        return self.value[0]

    def wait(self, call: Call, deadline: Deadline, message: str) -> None:
        """Wait for a call until ``deadline.responds_without_loop_at``, and log what blocks the loop in the meantime.

        Raises:
            TimeoutError: If it has not ended by then, with this message. The loop is checked before it is used again.
        """
        pong: threading.Event | None = None
        batch_logger: BatchLogger | None = None  # a loop may be blocked for a thousand checks
        while not call.wait(shorter(_CHECK_SECONDS, deadline.until(deadline.responds_without_loop_at))):
            expired = deadline.until(deadline.responds_without_loop_at) == 0
            if expired and pong is None:
                pong = self._ping()
                pong.wait(shorter(_LAST_CHECK_SECONDS, half(deadline.until(deadline.ends_at))))
            if pong is not None and not pong.is_set():
                line = current_user_line(self._thread.ident)
                batch_logger = batch_logger or BatchLogger()
                run_in_time(functools.partial(batch_logger.warning, "the event loop is blocked by %s", line), deadline)
            if expired:
                self._suspect = True
                raise TimeoutError(message)
            pong = self._ping()

    def _ping(self) -> threading.Event:
        """Return an event that the loop sets in its next iteration."""
        pong = threading.Event()
        self._call_soon(pong.set)
        return pong

    def _call_soon(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(call)

    def end(self) -> None:
        """End the lifespan and the loop in the loop's next iteration."""
        self._call_soon(self._ending.set)

    def close(self) -> None:
        if self.alive():
            self.end()
            self._thread.join(_CLOSE_SECONDS)

    def _run(self, lifespan: Callable[[], AbstractAsyncContextManager[S]]) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._run_lifespan(lifespan))
        except BaseException as error:
            if not self.state.done():
                self.state.set_exception(error)
            else:
                logger.exception("the event loop or its lifespan ended with an error")
        finally:
            self._stopped = True
            _close(self.loop)
            for call in list(self._pending):
                # A TimeoutError, so that the caller responds with the outcomes that are known.
                call.end(TimeoutError(STOPPED))

    async def _run_lifespan(self, lifespan: Callable[[], AbstractAsyncContextManager[S]]) -> None:
        # The same task enters and exits the lifespan, as cancel scopes and task groups in it require.
        async with lifespan() as state:
            self.value.append(state)
            self.state.set_result(state)
            await self._ending.wait()


def _nothing(_: object) -> None:
    """Do nothing."""


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the remaining tasks of a loop once, and close it without waiting for tasks that do not end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        with contextlib.suppress(BaseException):  # a task may stop the loop again
            loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    with contextlib.suppress(BaseException):
        loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
