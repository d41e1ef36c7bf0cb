"""Iterate in a thread over a library that reads a file with blocking calls, while a task fetches what it reads.

The thread runs only between a request for the next value and that value. The bytes that it needs are fetched by the
task itself, so that a cancellation ends the fetch, and the thread ends at its next read.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, finalize

T = TypeVar("T")

Ranges: TypeAlias = Sequence[tuple[int, int]]
"""Byte ranges, each with its first byte and one past its last byte."""
Buffer: TypeAlias = bytes | bytearray
"""The bytes of a range."""
Fetch: TypeAlias = Callable[[Ranges], Awaitable[Sequence[Buffer]]]
"""Returns the bytes of each range."""

_ThreadQueue: TypeAlias = "SimpleQueue[Callable[[], None] | None]"
"""The steps that a thread runs; None ends it."""

_CLOSE: Final = object()
_FETCH: Final = "fetch"
_VALUE: Final = "value"
_END: Final = "end"
_ERROR: Final = "error"


class _ClosedError(Exception):
    """The task does not need further values."""


class RemoteFile(io.RawIOBase):
    """A read-only file whose bytes another task fetches; for use in the thread of ``iterate_in_thread``."""

    def __init__(self, size_bytes: int, ask: Callable[[Ranges], Sequence[Buffer]]) -> None:
        super().__init__()
        self._size_bytes = size_bytes
        self._ask = ask
        self._position = 0
        self._blocks: list[tuple[int, memoryview]] = []

    def load(self, ranges: Ranges) -> None:
        """Fetch ranges in advance, and drop those that were fetched before."""
        self.forget()
        if ranges:
            data = self._ask(ranges)
            self._blocks = [(start, memoryview(block)) for (start, _), block in zip(ranges, data, strict=True)]

    def forget(self) -> None:
        """Free the bytes that were fetched in advance, without waiting for the garbage collector."""
        self._blocks = []

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, and return it."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        return self._position

    def read(self, size: int = -1) -> memoryview:
        """Return up to ``size`` bytes, fewer only at the end of the file; all remaining ones if it is negative."""
        start = self._position
        stop = self._size_bytes if size < 0 else min(start + size, self._size_bytes)
        if start >= stop:
            return memoryview(b"")
        self._position = stop
        for first, block in self._blocks:
            if first <= start and stop <= first + len(block):
                return block[start - first : stop - first]
        return memoryview(self._ask([(start, stop)])[0])


async def iterate_in_thread(
    iterate: Callable[[RemoteFile], Iterator[T]], size_bytes: int, fetch: Fetch
) -> AsyncGenerator[T, None]:
    """Yield the values of an iterator that runs in threads, one step at a time, and reads a file.

    Args:
        iterate: Called in a thread with the file; returns the iterator, each of whose steps may run in another thread.
        size_bytes: The size of the file.
        fetch: Fetches byte ranges of the file; called in this task.

    Raises:
        Exception: Any exception of the iterator or of ``fetch``.
    """
    steps = _Steps(asyncio.get_running_loop(), iterate, size_bytes)
    try:
        while True:
            kind, value = await steps.next()
            while kind == _FETCH:
                kind, value = await steps.reply(await fetch(value))
            if kind == _END:
                return
            if kind == _ERROR:
                raise value
            yield value
            del value  # it is not kept while the next one is read
    finally:
        steps.close()


class _Steps:
    """The steps of one iterator: each runs in an idle thread, and ends with a message to the task."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, iterate: Callable[[RemoteFile], Iterator[Any]], size_bytes: int
    ) -> None:
        self._loop = loop
        self._idle = _idle_threads(loop)
        self._file = RemoteFile(size_bytes, self._ask)
        self._values = _begun(iterate, self._file)
        self._replies: SimpleQueue[Any] = SimpleQueue()
        self._messages: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def next(self) -> tuple[str, Any]:
        """Start the next step; return its first message."""
        thread = self._idle.pop() if self._idle else _start()
        thread.put(partial(self._step, thread))
        return await self._messages.get()

    async def reply(self, data: Sequence[Buffer]) -> tuple[str, Any]:
        """Give the step the bytes that it needs; return its next message."""
        self._replies.put(data)
        return await self._messages.get()

    def close(self) -> None:
        """Free the iterator and the fetched bytes; a step that is running ends at its next read."""
        self._replies.put(_CLOSE)
        self._values = iter(())
        self._file.forget()

    def _step(self, thread: _ThreadQueue) -> None:
        try:
            value = next(self._values, _CLOSE)
            message = (_END, None) if value is _CLOSE else (_VALUE, value)
        except BaseException as error:  # noqa: BLE001 - every exception is raised in the task
            message = (_ERROR, error)
        try:
            self._loop.call_soon_threadsafe(self._finish, thread, message)
        except RuntimeError:
            thread.put(None)  # the loop is closed: no task waits any more

    def _finish(self, thread: _ThreadQueue, message: tuple[str, Any]) -> None:
        self._idle.append(thread)
        self._messages.put_nowait(message)

    def _ask(self, ranges: Ranges) -> Sequence[Buffer]:
        self._loop.call_soon_threadsafe(self._messages.put_nowait, (_FETCH, ranges))
        reply: Any = self._replies.get()
        if reply is _CLOSE:
            self._replies.put(_CLOSE)
            raise _ClosedError
        data: Sequence[Buffer] = reply
        return data


def _begun(iterate: Callable[[RemoteFile], Iterator[Any]], file: RemoteFile) -> Iterator[Any]:
    """Yield the values of an iterator that is created at the first step."""
    yield from iterate(file)


_IDLE: WeakKeyDictionary[asyncio.AbstractEventLoop, list[_ThreadQueue]] = WeakKeyDictionary()


def _idle_threads(loop: asyncio.AbstractEventLoop) -> list[_ThreadQueue]:
    """Return the idle threads of an event loop, which end after it.

    Threads are reused, because allocators keep memory for each thread.
    """
    idle = _IDLE.get(loop)
    if idle is None:
        idle = _IDLE[loop] = []
        finalize(loop, _end, idle)
    return idle


def _end(idle: list[_ThreadQueue]) -> None:
    for thread in idle:
        thread.put(None)


def _start() -> _ThreadQueue:
    inbox: _ThreadQueue = SimpleQueue()
    threading.Thread(target=_serve, args=(inbox,), name="fanfold-decoder", daemon=True).start()
    return inbox


def _serve(inbox: _ThreadQueue) -> None:
    while step := inbox.get():
        step()
        del step  # its last value is not kept while waiting
