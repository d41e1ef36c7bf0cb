"""The worker threads of `def` handlers."""

import asyncio
import threading
from typing import Any

import pytest

from fanfold._base.threads import StillRunningError, Threads


async def test_a_thread_is_reused_for_the_next_call():
    """Sequential calls need only one thread. It is a daemon and has a recognizable name."""
    threads, seen = Threads(), []
    for _ in range(3):
        await threads.run(lambda: seen.append(threading.current_thread()))
    assert len(set(seen)) == 1
    assert seen[0].daemon
    assert seen[0].name == "fanfold-worker"
    threads.close()


async def test_concurrent_calls_have_a_thread_each():
    """There are as many threads as concurrent calls."""
    threads, barrier = Threads(), threading.Barrier(3)
    assert sorted(await asyncio.gather(*(threads.run(barrier.wait) for _ in range(3)))) == [0, 1, 2]
    threads.close()


async def test_an_abandoned_call_is_counted_until_it_ends():
    """After that, its thread is available for the next call."""
    threads, go, seen = Threads(), threading.Event(), []

    def wait() -> None:
        seen.append(threading.current_thread())
        go.wait()

    calls = [asyncio.ensure_future(threads.run(wait)) for _ in range(2)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
        with pytest.raises(StillRunningError):
            await call
    assert threads.abandoned == 2
    go.set()
    while threads.abandoned:
        await threads.run(lambda: None)
    assert threads.abandoned == 0
    await threads.run(lambda: seen.append(threading.current_thread()))
    threads.close()


async def test_an_exception_of_the_function_is_raised():
    """This includes StopIteration, which a future does not accept."""
    threads = Threads()
    with pytest.raises(KeyError, match="id"):
        await threads.run({}.__getitem__, "id")
    with pytest.raises(RuntimeError, match=r"^the handler raised StopIteration$"):
        await threads.run(next, iter(()))
    threads.close()


def test_a_thread_that_is_withheld_hands_its_next_call_to_another_one():
    """It is available when its call has returned, but what it does then may hang."""
    threads, ended = Threads(), threading.Event()
    used: list[threading.Thread] = []

    def note() -> Any:
        used.append(threading.current_thread())
        return ended.set

    def hang() -> None:
        threads.start(note)
        threads.withhold()
        ended.wait(30)
        used.append(threading.current_thread())

    threads.start(lambda: hang)
    assert ended.wait(30)
    while len(used) < 2:
        ended.wait(0.001)
    threads.close()
    assert used[0] is not used[1]


def test_a_thread_that_is_offered_again_is_used_for_the_next_call():
    """No other one is started."""
    threads, ended = Threads(), threading.Event()
    used: list[threading.Thread] = []

    def note() -> Any:
        used.append(threading.current_thread())
        return ended.set

    def end() -> None:
        threads.withhold()
        threads.offer()
        threads.start(note)
        used.append(threading.current_thread())

    threads.start(lambda: end)
    assert ended.wait(30)
    threads.close()
    assert used[0] is used[1]
