"""Handlers for many tests: do nothing, raise, hang, or record bodies."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Handler = Callable[[Any], Awaitable[None]]


async def nothing(body: Any) -> None:
    """Do nothing."""


async def hangs(body: Any) -> None:
    """Wait until it is cancelled."""
    await asyncio.Event().wait()


def raises(error: BaseException | type[BaseException], *bodies: Any) -> Handler:
    """Return a handler that raises an error for the given bodies, or for all if none are given."""

    async def handler(body: Any) -> None:
        if not bodies or body in bodies:
            raise error

    return handler


def notes(seen: list[Any]) -> Handler:
    """Return a handler that appends each body to a list."""

    async def handler(body: Any) -> None:
        seen.append(body)

    return handler
