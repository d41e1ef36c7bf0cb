"""The tasks of a batch's workers: start them, cancel them after a timeout, and detect what a record leaves on them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
from collections.abc import Awaitable, Coroutine
from operator import is_
from typing import Any, Final, TypeVar

T = TypeVar("T")

_AGAIN_SECONDS: Final = 0.02
"""Time until a timeout that found its task being cancelled looks again."""
_EAGERLY: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


def prepared_task() -> asyncio.Task[Any]:
    """Return the current task, after anyio, if it is in use, has registered it.

    anyio keeps a weak reference to a task from its first cancel scope on.
    """
    if backend := sys.modules.get("anyio._backends._asyncio"):
        with backend.CancelScope():
            pass
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - called by a coroutine of a task
    return task


def is_same(context: contextvars.Context, other: contextvars.Context) -> bool:
    """Return whether two contexts hold the identical values: ``False`` in place of ``0`` is a difference.

    Values that cannot be compared, such as arrays, count as a difference.
    """
    try:
        return context == other and all(map(is_, context.values(), other.values()))
    except Exception:  # noqa: BLE001 - a value's own comparison
        return False


def create_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], context: contextvars.Context
) -> asyncio.Task[T]:
    """Start a coroutine as a task in a context, also under a task factory that takes no context.

    Under such a factory, the task runs in a copy of the context.
    """
    if loop.get_task_factory() is None:
        return loop.create_task(coroutine, context=context)
    return context.run(loop.create_task, coroutine)


def start_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], context: contextvars.Context
) -> asyncio.Task[T]:
    """Start a coroutine as ``create_task`` does; from Python 3.12 on, run it to its first suspension immediately."""
    if loop.get_task_factory() is not None:
        return create_task(loop, coroutine, context)
    return asyncio.Task(coroutine, loop=loop, context=context, **_EAGERLY)


async def run_awaitable(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[T], context: contextvars.Context) -> T:
    """Await what a handler returned, in a context.

    Raises:
        BaseException: What the awaitable raises; a task that raises SystemExit itself would end the event loop.
    """
    exits: list[BaseException] = []

    async def run() -> Any:
        try:
            return await awaitable
        except (KeyboardInterrupt, SystemExit) as error:
            exits.append(error)

    try:
        value: T = await create_task(loop, run(), context)
    finally:
        if inspect.iscoroutine(awaitable) and inspect.getcoroutinestate(awaitable) == inspect.CORO_CREATED:
            awaitable.close()  # cancelled before its first step
    if exits:
        raise exits.pop()
    return value


def is_running(task: asyncio.Task[Any]) -> bool:
    """Return whether a task is running now; its coroutine may also be closed from outside, without an event loop."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # there is no running event loop
        return False


class Timer:
    """Cancels a task once after a timeout."""

    def __init__(self, task: asyncio.Task[Any], seconds: float) -> None:
        self.fired: bool = False
        """True once it has cancelled the task."""
        self._task: asyncio.Task[Any] | None = task
        self._handle = asyncio.get_running_loop().call_later(seconds, self._fire)

    def stop(self) -> None:
        """End the timeout."""
        self._handle.cancel()
        self._task = None  # a reference more, and the task would seem to have something attached

    def _fire(self) -> None:
        if self._task is None:
            return
        if self._task.cancelling():  # by the handler, whose clean-up is not interrupted
            self._handle = asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._fire)
        else:
            self.fired = True
            self._task.cancel()
