"""The handlers that many tests need: one that does nothing, and those that raise, hang, or note what they are given."""

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
    """Return a handler that raises an error, for these bodies, or else for all."""

    async def handler(body: Any) -> None:
        if not bodies or body in bodies:
            raise error

    return handler


def notes(seen: list[Any]) -> Handler:
    """Return a handler that appends each body to a list."""

    async def handler(body: Any) -> None:
        seen.append(body)

    return handler
