"""Iterating in threads: values, reads, errors, and threads that end."""

import asyncio
import gc
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import aclosing

import pytest

from fanfold._base.thread_iterator import RemoteFile, iterate_in_thread

DATA = bytes(range(100))


async def fetch(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    return [DATA[start:stop] for start, stop in ranges]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fanfold-decoder"]


async def test_values_are_yielded_in_order_and_computed_in_another_thread():
    """The thread runs only for the next value."""
    idents = set()

    def numbers(_file: RemoteFile) -> Iterator[int]:
        for number in range(5):
            idents.add(threading.get_ident())
            yield number

    assert [number async for number in iterate_in_thread(numbers, 0, fetch)] == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in idents


async def test_the_file_is_read_as_any_file_and_bytes_are_fetched_once_if_they_are_loaded():
    """Reads end with the file; a read outside of the loaded ranges fetches its own bytes."""
    fetched: list[tuple[int, int]] = []

    async def watched(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        fetched.extend(ranges)
        return await fetch(ranges)

    def reads(file: RemoteFile) -> Iterator[bytes]:
        assert file.readable()
        assert file.seekable()
        yield bytes(file.read(3))
        file.load([(10, 20), (50, 60)])
        assert file.seek(-90, io.SEEK_END) == 10
        yield bytes(file.read(10))
        assert file.tell() == 20
        assert file.seek(30, io.SEEK_CUR) == 50
        yield bytes(file.read(20))
        file.load([])
        file.seek(95)
        yield bytes(file.read())
        yield bytes(file.read(1))

    values = [value async for value in iterate_in_thread(reads, len(DATA), watched)]
    assert values == [DATA[:3], DATA[10:20], DATA[50:70], DATA[95:], b""]
    assert fetched == [(0, 3), (10, 20), (50, 60), (50, 70), (95, 100)]


async def test_an_error_of_the_iterator_is_raised():
    """It is the same error."""

    def failing(_file: RemoteFile) -> Iterator[int]:
        yield 1
        raise LookupError("in the thread")

    values = iterate_in_thread(failing, 0, fetch)
    assert await anext(values) == 1
    with pytest.raises(LookupError, match="in the thread"):
        await anext(values)


async def test_an_error_of_a_fetch_is_raised_and_ends_the_iterator():
    """The read that waits for the bytes raises an error, too."""
    ended = threading.Event()

    async def failing(_ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        raise ConnectionError("no bytes")

    def reads(file: RemoteFile) -> Iterator[bytes]:
        try:
            yield bytes(file.read(1))
        finally:
            ended.set()

    with pytest.raises(ConnectionError, match="no bytes"):
        [value async for value in iterate_in_thread(reads, len(DATA), failing)]
    assert ended.wait(10)


async def test_a_task_that_is_cancelled_during_a_fetch_ends_the_iterator():
    """Cancelling does not wait for the bytes."""
    ended, started = threading.Event(), asyncio.Event()

    async def endless(_ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    def reads(file: RemoteFile) -> Iterator[bytes]:
        try:
            yield bytes(file.read(1))
        finally:
            ended.set()

    async def consume() -> None:
        async with aclosing(iterate_in_thread(reads, len(DATA), endless)) as values:
            async for _ in values:
                pass

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.wait(10)


async def test_threads_are_reused():
    """Iterators one after another use one thread."""
    before = len(threads())
    for _ in range(5):
        assert [value async for value in iterate_in_thread(lambda _: iter([1, 2]), 0, fetch)] == [1, 2]
    assert len(threads()) <= before + 1


def test_threads_end_with_their_event_loop():
    """An idle thread ends when the loop is collected, and a busy one after its step."""
    before = set(threads())
    begin, leave = threading.Event(), threading.Event()

    def blocking(_file: RemoteFile) -> Iterator[int]:
        begin.set()
        leave.wait(10)
        yield 1

    async def abandon() -> None:
        assert [value async for value in iterate_in_thread(lambda _: iter([1]), 0, fetch)] == [1]
        task = asyncio.ensure_future(anext(iterate_in_thread(blocking, 0, fetch)))
        await asyncio.to_thread(begin.wait, 10)
        assert [value async for value in iterate_in_thread(lambda _: iter([1]), 0, fetch)] == [1]
        task.cancel()

    asyncio.run(abandon())
    leave.set()
    for _ in range(100):
        gc.collect()  # the loop is collected when the busy thread has ended
        started = set(threads()) - before
        for thread in started:
            thread.join(0.1)
        if not started:
            break
    assert set(threads()) <= before
