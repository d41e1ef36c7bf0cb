"""The timeout of each call of a handler."""

import asyncio
import threading

import fanfold
from batches import ids, kinds
from fanfold import Context, Done, Failed, NotStarted
from fanfold.testing import deliver, make_event
from settlers import STEADY, Accepting
from simple_handlers import hangs


async def test_a_timeout_fails_only_its_record_and_the_next_one_starts():
    """With a concurrency of 1, the next record starts after the timeout."""

    @fanfold.consumer(concurrency=1, timeout=0.02)
    async def handler(number) -> None:
        if number == 1:
            await asyncio.Event().wait()

    result = await handler.process(make_event(0, 1, 2, 3))
    assert kinds(result) == [Done, Failed, Done, Done]
    assert isinstance(result.outcomes[1].error, TimeoutError)
    assert "the handler took longer than 0.02 s" in str(result.outcomes[1].error)


async def test_the_timeout_applies_to_each_call():
    """Ten calls together may take longer."""
    gate = asyncio.Semaphore(0)

    @fanfold.consumer(concurrency=1, timeout=5)
    async def handler(number) -> None:
        gate.release()
        await gate.acquire()

    assert ids(await handler.process(make_event(*range(10)))) == []


async def test_a_record_that_timed_out_fails_even_if_its_handler_then_returns():
    """It is unknown whether its work is complete."""

    @fanfold.consumer(timeout=0.02)
    async def handler(number) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "as if nothing had happened"

    [outcome] = (await handler.process(make_event(1))).outcomes
    assert isinstance(outcome.error, TimeoutError)


def test_a_rollback_after_a_timeout_is_not_interrupted_at_the_deadline():
    """The handler is cancelled only once."""
    ended = []

    @fanfold.consumer(timeout=0.02)
    async def handler(number, ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled = asyncio.Event()
            seconds = ctx.deadline.until((ctx.deadline.cancels_at + ctx.deadline.responds_at) / 2)
            asyncio.get_running_loop().call_later(seconds - 0.02, cancelled.set)
            await cancelled.wait()
            ended.append(number)

    [outcome] = deliver(handler, 1, seconds=0.8).outcomes
    assert ended == [1]
    assert isinstance(outcome.error, TimeoutError)


async def test_a_timeout_does_not_affect_the_next_record():
    """A handler may end at the moment of its timeout; the next one is not cancelled."""

    @fanfold.consumer(concurrency=1, timeout=0.02)
    async def handler(number) -> None:
        if number % 2:
            return
        asyncio.get_running_loop().call_later(0.02, (over := asyncio.Event()).set)
        await over.wait()

    result = await handler.process(make_event(*range(10)))
    assert [kind for number, kind in enumerate(kinds(result)) if number % 2] == [Done] * 5


async def test_a_timeout_gets_the_backoff_of_a_failure():
    """A timeout is a failure."""
    settler = Accepting()
    handler = fanfold.consumer(timeout=0.02, backoff=STEADY, settler=settler)(hangs)
    await handler.process(make_event(1))
    assert settler.visibility_changes == {"message-0": 10}


async def test_a_timeout_of_a_def_handler_fails_only_its_record():
    """Its thread continues until the handler returns."""
    release = threading.Event()

    @fanfold.consumer(concurrency=2, timeout=0.2)
    def handler(number) -> None:
        if number == 0:
            release.wait()

    result = await handler.process(make_event(0, 1, 2))
    release.set()
    assert kinds(result) == [Failed, Done, Done]
    assert isinstance(result.outcomes[0].error, TimeoutError)


async def test_records_do_not_start_once_every_thread_is_occupied_by_a_timeout():
    """The number of threads never exceeds the concurrency; the reason states the cause."""
    release = threading.Event()

    @fanfold.consumer(concurrency=1, timeout=0.2)
    def handler(number) -> None:
        release.wait()

    result = await handler.process(make_event(0, 1))
    release.set()
    assert kinds(result) == [Failed, NotStarted]
    assert result.outcomes[1] == NotStarted("handlers that timed out occupied every thread")


async def test_a_timeout_of_a_coroutine_of_a_def_handler_does_not_occupy_a_thread():
    """The handler returned a coroutine, which runs on the event loop, so the thread is free."""

    async def wait() -> None:
        await asyncio.Event().wait()

    handler = fanfold.consumer(concurrency=1, timeout=0.2)(lambda number: wait() if number == 0 else None)
    assert kinds(await handler.process(make_event(0, 1))) == [Failed, Done]
