"""Call a ``def`` segment handler on a worker thread, which fetches the items of its segment from the event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias

from fanfold._base.threads import Threads
from fanfold.errors import AbandonedError

Batch: TypeAlias = Iterable[tuple[Any, Any]]
"""Some items of a segment, each with its mark."""


class Segment(Protocol):
    """The items of a segment, which may end early."""

    def batches(self) -> AsyncGenerator[Batch, None]:
        """Read the items, several at a time."""
        ...

    def items_of(self, batch: Batch) -> Iterator[Any]:
        """Yield the items of a batch."""
        ...

    @property
    def is_stopped(self) -> bool:
        """True if the items ended early."""
        ...


async def call_on_thread(function: Callable[..., Any], segment: Segment, context: Any, threads: Threads) -> Any:
    """Call a handler on a worker thread with the items of a segment; return what it returns.

    A cancellation abandons the thread: the handler's next item is an ``AbandonedError``.

    Raises:
        StillRunningError: If the caller is cancelled before the handler has returned.
    """
    async with aclosing(segment.batches()) as batches:
        feed = _Feed(batches)
        try:
            value = await threads.run(function, ThreadItems(segment, feed), context)
            # A ``def`` around a coroutine function (a decorator) returns a coroutine.
            return await value if inspect.isawaitable(value) else value
        finally:
            await feed.close()


class ThreadItems:
    """The items of a segment: iterate with ``for`` on the handler's thread, or with ``async for`` on the event loop."""

    def __init__(self, segment: Segment, feed: _Feed) -> None:
        self._segment = segment
        self._feed = feed
        self._items = self._read()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._items)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while not self._segment.is_stopped and (batch := await self._feed.fetch()) is not None:
            for item in self._segment.items_of(batch):
                yield item

    def _read(self) -> Iterator[Any]:
        while not self._segment.is_stopped and (batch := self._feed.next()) is not None:
            yield from self._segment.items_of(batch)


class _Feed:
    """Fetches the batches of a segment on the event loop, for a handler on a thread."""

    def __init__(self, batches: AsyncGenerator[Batch, None]) -> None:
        self._batches = batches
        self._loop = asyncio.get_running_loop()
        self._fetching: asyncio.Task[Any] | None = None
        self._is_closed = False

    def next(self) -> Batch | None:
        """Return the next batch, called on a thread; None at the end.

        Raises:
            AbandonedError: If the handler is abandoned.
        """
        fetch = self.fetch()
        try:
            future = asyncio.run_coroutine_threadsafe(fetch, self._loop)
        except RuntimeError:  # the loop is closed
            fetch.close()
            raise AbandonedError from None
        try:
            return future.result()
        except CancelledError:
            raise AbandonedError from None

    async def fetch(self) -> Batch | None:
        """Return the next batch, called on the event loop; None at the end."""
        if self._is_closed:
            raise AbandonedError
        self._fetching = asyncio.current_task()
        try:
            return await anext(self._batches, None)
        finally:
            self._fetching = None

    async def close(self) -> None:
        """End the reading, also one that is in progress."""
        self._is_closed = True
        if self._fetching is not None and self._fetching is not asyncio.current_task():
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
