"""The parts of an execution environment that a batch uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from fanfold._base.threads import Threads

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.settle import OpenSettler
    from fanfold._ports.breakers import BreakerTable
    from fanfold._ports.mappings import Mappings
    from fanfold._ports.queue import Queue

OpenOnce: TypeAlias = Callable[
    [Callable[[], AbstractAsyncContextManager[Any]], "str | None"], Callable[[], Awaitable[Any]]
]
"""Returns a function that opens a resource at its first call, and returns it at every call; the second argument is the
module of ``fanfold.aws`` that it needs."""


class Resources(Protocol):
    """The resources of an execution environment that a batch uses."""

    loop: asyncio.AbstractEventLoop
    """The event loop of the consumer."""
    threads: Threads
    """Worker threads."""
    settler: OpenSettler
    """Opens what sends dead letters and sets delays."""
    open_once: OpenOnce
    """Opens further resources."""

    def open_mappings(self) -> Callable[[], Awaitable[Mappings]]:
        """Return a function that opens what enables and disables event source mappings, at its first call."""
        ...

    def open_queue(self, url: str) -> Callable[[], Awaitable[Queue]]:
        """Return a function that opens a queue to send to at its first call, and returns it at every call."""
        ...

    def open_table(self, name: str) -> Callable[[], Awaitable[BreakerTable]]:
        """Return a function that opens the table of breakers at its first call, and returns it at every call."""
        ...
