"""The timeout of each call of a handler."""

import asyncio
import threading

import fanfold
from batches import ids, kinds
from fanfold import Context, Done, Failed, NotStarted
from fanfold.testing import deliver, make_event
from settlers import STEADY, Accepting
from simple_handlers import hangs


async def test_a_handler_that_takes_too_long_fails_alone_and_leaves_its_place():
    """The one place there is goes to the next record."""

    @fanfold.consumer(concurrency=1, timeout=0.02)
    async def handler(number) -> None:
        if number == 1:
            await asyncio.Event().wait()

    result = await handler.process(make_event(0, 1, 2, 3))
    assert kinds(result) == [Done, Failed, Done, Done]
    assert isinstance(result.outcomes[1].error, TimeoutError)
    assert "the handler took longer than 0.02 s" in str(result.outcomes[1].error)


async def test_a_timeout_counts_for_each_call():
    """Ten calls may together take longer than one."""
    gate = asyncio.Semaphore(0)

    @fanfold.consumer(concurrency=1, timeout=5)
    async def handler(number) -> None:
        gate.release()
        await gate.acquire()

    assert ids(await handler.process(make_event(*range(10)))) == []


async def test_a_record_that_took_too_long_failed_even_if_its_handler_then_returned():
    """Whether it did its work is not known."""

    @fanfold.consumer(timeout=0.02)
    async def handler(number) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "as if nothing had happened"

    [outcome] = (await handler.process(make_event(1))).outcomes
    assert isinstance(outcome.error, TimeoutError)


def test_a_rollback_after_a_timeout_is_not_disturbed_by_the_end_of_the_invocation():
    """It was told once, and is not told again."""
    ended = []

    @fanfold.consumer(timeout=0.02)
    async def handler(number, ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled = asyncio.Event()
            over = ctx.deadline.until((ctx.deadline.cancels_at + ctx.deadline.responds_at) / 2)
            asyncio.get_running_loop().call_later(over - 0.02, cancelled.set)
            await cancelled.wait()
            ended.append(number)

    [outcome] = deliver(handler, 1, seconds=0.8).outcomes
    assert ended == [1]
    assert isinstance(outcome.error, TimeoutError)


async def test_a_timeout_does_not_hit_the_record_after_it():
    """A handler that ends by itself as its time runs out is followed by one that is left alone."""

    @fanfold.consumer(concurrency=1, timeout=0.02)
    async def handler(number) -> None:
        if number % 2:
            return
        asyncio.get_running_loop().call_later(0.02, (over := asyncio.Event()).set)
        await over.wait()

    result = await handler.process(make_event(*range(10)))
    assert [kind for number, kind in enumerate(kinds(result)) if number % 2] == [Done] * 5


async def test_a_failure_by_timeout_is_backed_off():
    """It is a failure like any other."""
    settler = Accepting()
    handler = fanfold.consumer(timeout=0.02, backoff=STEADY, settler=settler)(hangs)
    await handler.process(make_event(1))
    assert settler.visibility_changes == {"message-0": 10}


async def test_a_plain_handler_that_takes_too_long_fails_alone():
    """Its thread is left to end by itself."""
    release = threading.Event()

    @fanfold.consumer(concurrency=2, timeout=0.05)
    def handler(number) -> None:
        if number == 0:
            release.wait()

    result = await handler.process(make_event(0, 1, 2))
    release.set()
    assert kinds(result) == [Failed, Done, Done]
    assert isinstance(result.outcomes[0].error, TimeoutError)


async def test_once_every_thread_took_too_long_the_rest_is_not_started():
    """No more threads are started than may run at once; the reason says so."""
    release = threading.Event()

    @fanfold.consumer(concurrency=1, timeout=0.05)
    def handler(number) -> None:
        release.wait()

    result = await handler.process(make_event(0, 1))
    release.set()
    assert kinds(result) == [Failed, NotStarted]
    assert result.outcomes[1] == NotStarted("handlers that timed out occupied every thread")


async def test_a_plain_handler_that_took_too_long_on_the_event_loop_leaves_its_place():
    """What it returned was still to be awaited: no thread is with it any more."""

    async def wait() -> None:
        await asyncio.Event().wait()

    handler = fanfold.consumer(concurrency=1, timeout=0.05)(lambda number: wait() if number == 0 else None)
    assert kinds(await handler.process(make_event(0, 1))) == [Failed, Done]
