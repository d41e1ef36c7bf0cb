"""A bounded number of workers over many items, and the primary error of an exception group."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from fanfold.errors import ConfigurationError, FanfoldError

T = TypeVar("T")


async def for_each(function: Callable[[T], Awaitable[None]], items: Iterable[T], *, concurrency: int) -> None:
    """Call an async function on every item, ``concurrency`` of them concurrently.

    A free worker takes the next item. The first error cancels the running calls and is raised; no more items start.

    Raises:
        ConfigurationError: If ``concurrency`` is not an integer of at least 1.
        Exception: The first exception that the function raises.
    """
    if type(concurrency) is not int or concurrency < 1:
        raise ConfigurationError(f"concurrency must be an integer of at least 1, not {concurrency!r}")
    remaining = iter(items)

    async def work() -> None:
        for item in remaining:
            await function(item)

    try:
        async with anyio.create_task_group() as workers:
            for _ in range(concurrency):
                workers.start_soon(work)
    except BaseExceptionGroup as errors:
        raise primary_error(errors) from None


def primary_error(error: BaseException) -> BaseException:
    """Return the first FanfoldError of an exception group, else its first error; return any other error unchanged."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    errors = [primary_error(member) for member in error.exceptions]
    return next((member for member in errors if isinstance(member, FanfoldError)), errors[0])
