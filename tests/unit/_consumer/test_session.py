"""Sessions, which the worker uses: concurrent batches on the caller's event loop within one lifespan."""

import asyncio
import gc
import threading
import weakref

import pytest

import fanfold
from batches import swallow_until
from fanfold._base.outcome import DONE, Failed, NotStarted
from fanfold.testing import make_event
from settlers import STEADY, RecordingSettler


async def test_batches_are_processed_concurrently_within_one_lifespan():
    """Each batch waits for the other, so they would not end one after another."""
    both = asyncio.Barrier(2)

    @fanfold.consumer
    async def handler(number) -> None:
        await both.wait()

    async with handler.session() as session:
        one, other = await asyncio.gather(session(make_event(1)), session(make_event(2)))
    assert [one.outcomes, other.outcomes] == [[DONE], [DONE]]
    assert session.abandoned_handlers == 0


async def test_a_stop_cancels_running_handlers_once_and_starts_no_more_records():
    """Done records remain done, a rollback can finish, and the reason is that the batch was stopped."""
    running, rolled_back = asyncio.Event(), asyncio.Event()

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number == 0:
            return
        try:
            running.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            rolled_back.set()

    async with handler.session() as session:
        batch = asyncio.ensure_future(session(make_event(0, 1, 2)))
        await running.wait()
        session.stop(grace_seconds=60)
        result = await batch
    assert rolled_back.is_set()
    assert result.outcomes[0] == DONE
    assert isinstance(result.outcomes[1], Failed)
    assert result.outcomes[2] == NotStarted("the batch was stopped")
    assert session.abandoned_handlers == 0


async def test_a_rollback_after_a_stop_is_not_cancelled_again_by_a_timeout():
    """The timeout expires while the handler rolls back, and does not interrupt it."""
    running, rolled_back = asyncio.Event(), asyncio.Event()

    @fanfold.consumer(timeout=1)
    async def handler(number) -> None:
        after_timeout = asyncio.get_running_loop().time() + 1.1
        try:
            running.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(after_timeout - asyncio.get_running_loop().time())
            rolled_back.set()

    async with handler.session() as session:
        batch = asyncio.ensure_future(session(make_event(1)))
        await running.wait()
        session.stop(grace_seconds=60)
        result = await batch
    assert rolled_back.is_set()
    assert isinstance(result.outcomes[0], Failed)
    assert isinstance(result.outcomes[0].error, asyncio.CancelledError)


async def test_a_handler_that_suppresses_its_cancellation_is_abandoned_and_counted():
    """After the grace period, the session does not wait for it."""
    running, release = asyncio.Event(), asyncio.Event()

    @fanfold.consumer
    async def handler(number) -> None:
        running.set()
        await swallow_until(release)

    async with handler.session() as session:
        batch = asyncio.ensure_future(session(make_event(1)))
        await running.wait()
        assert session.abandoned_handlers == 0
        session.stop(grace_seconds=0)
        result = await batch
        assert session.abandoned_handlers == 1
        release.set()
    assert isinstance(result.outcomes[0], Failed)


async def test_a_batch_that_is_cancelled_while_delays_are_to_be_set_is_freed():
    """Its handlers fail, and their delays would be set by the end of the batch, which is cancelled before it begins."""
    started, release = threading.Event(), threading.Event()

    class Message(dict):
        """A message that can be watched."""

    @fanfold.consumer(backoff=STEADY, settler=RecordingSettler())
    def handler(number) -> None:
        started.set()
        release.wait(30)

    message = Message(make_event(1)["Records"][0])
    watched = weakref.ref(message)
    async with handler.session() as session:
        batch = asyncio.ensure_future(session({"Records": [message]}))
        del message
        await asyncio.to_thread(started.wait, 30)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        release.set()
        del batch
        async with asyncio.timeout(30):
            while watched() is not None:  # its thread returns from the handler first
                gc.collect()
                await asyncio.sleep(0.001)
