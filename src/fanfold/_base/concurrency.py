"""A bounded number of workers over many items, and the one error that a group of them stands for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from fanfold.errors import ConfigurationError, FanfoldError

T = TypeVar("T")


async def for_each(function: Callable[[T], Awaitable[None]], items: Iterable[T], *, concurrency: int) -> None:
    """Call an async function on every item, ``concurrency`` at once; an item is drawn when a worker is free for it.

    The first error cancels what still runs, and is raised as it is; what has not begun then never does.

    Raises:
        ConfigurationError: If ``concurrency`` is no whole number from 1.
        Exception: Whatever the function raises.
    """
    if type(concurrency) is not int or concurrency < 1:
        raise ConfigurationError(f"concurrency must be a whole number from 1, not {concurrency!r}")
    drawn = iter(items)

    async def work() -> None:
        for item in drawn:
            await function(item)

    try:
        async with anyio.create_task_group() as workers:
            for _ in range(concurrency):
                workers.start_soon(work)
    except BaseExceptionGroup as errors:
        raise primary_error(errors) from None


def primary_error(error: BaseException) -> BaseException:
    """Return one error of a group: ours before others, which are what it led to; an error of its own as it is."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = [primary_error(one) for one in error.exceptions]
    return next((one for one in found if isinstance(one, FanfoldError)), found[0])
