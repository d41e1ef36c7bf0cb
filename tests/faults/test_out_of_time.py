"""Handlers that do not end before the deadline: the response is returned, with only what is known."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager

import pytest

import fanfold
from batches import kinds
from fanfold import Done, Failed, NotStarted
from fanfold.errors import AbandonedError
from fanfold.testing import deliver, make_context, make_event
from settlers import RecordingSettler
from simple_handlers import hangs

SECONDS = 1.6
"""Duration of an invocation. Its margin is half of it, so the response is due 150 ms before the timeout."""


def invoke(handler, *bodies, seconds=SECONDS):
    """Deliver a batch; return the result, and whether it was there before the timeout."""
    context = make_context(seconds)
    result = handler.invoke(make_event(*bodies), context)
    return result, context.get_remaining_time_in_millis() > 0


def test_a_handler_that_waits_past_the_deadline_is_cancelled_and_its_rollback_finishes():
    """A record that succeeded before is not reported."""
    ended = []

    @fanfold.consumer(concurrency=2)
    async def handler(number) -> None:
        if number:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(number)

    result, responded_in_time = invoke(handler, 0, 1)
    handler.close()
    assert kinds(result) == [Done, Failed]
    assert responded_in_time
    assert ended == [1]


def test_a_cancelled_record_fails_even_if_its_handler_then_returns():
    """It is unknown whether its work is complete."""

    @fanfold.consumer
    async def handler(number) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    assert kinds(deliver(handler, 1, seconds=SECONDS)) == [Failed]


def test_no_more_records_start_once_the_margin_begins():
    """The record in flight fails, and later records are not started."""
    handler = fanfold.consumer(concurrency=1)(hangs)
    result = deliver(handler, 1, 2, 3, seconds=SECONDS)
    assert kinds(result) == [Failed, NotStarted, NotStarted]
    assert result.outcomes[2].reason == "the invocation was about to time out"


def test_the_error_of_a_record_cancelled_at_the_deadline_is_not_a_timeout():
    """It is a cancellation, although a timeout is set, too."""
    handler = fanfold.consumer(timeout=60)(hangs)
    [outcome] = deliver(handler, 1, seconds=SECONDS).outcomes
    assert repr(outcome.error) == "CancelledError('cancelled: the invocation was about to time out')"


# Slow: a batch that uses up its time.
@pytest.mark.slow
def test_a_hundred_handlers_that_suppress_their_cancellation_are_abandoned(caplog: pytest.LogCaptureFixture):
    """The response does not wait for them, and they do not affect this batch or the next."""
    release = threading.Event()

    @fanfold.consumer(concurrency=100, deadline_margin=3)  # enough to cancel a hundred tasks on a busy machine
    async def handler(number) -> None:
        while number and not release.is_set():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if not release.is_set():
                    await asyncio.get_running_loop().run_in_executor(None, release.wait)

    result, responded_in_time = invoke(handler, 0, *range(1, 101), seconds=6)
    assert responded_in_time
    assert kinds(result) == [Done] + [Failed] * 100
    assert "100 handlers were still running" in caplog.text
    release.set()
    assert handler(make_event(0, 0), make_context()) == {"batchItemFailures": []}
    handler.close()


def test_a_handler_that_blocks_a_thread_does_not_delay_the_response():
    """Its record is a failure; handlers that returned succeeded."""
    release = threading.Event()

    @fanfold.consumer(concurrency=2)
    def handler(number) -> None:
        if number:
            release.wait()

    result, responded_in_time = invoke(handler, 0, 1)
    release.set()
    handler.close()
    assert responded_in_time
    assert kinds(result) == [Done, Failed]


def test_a_handler_that_blocks_the_event_loop_does_not_delay_the_response():
    """The invocation's thread responds with what is known: a record that succeeded before is not reported."""
    release = threading.Event()

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number == 1:
            release.wait()

    result, responded_in_time = invoke(handler, 0, 1, 2)
    release.set()
    assert responded_in_time
    assert kinds(result) == [Done, Failed, NotStarted]
    assert isinstance(result.outcomes[1].error, AbandonedError)
    handler.close()


def test_the_batch_after_a_blocked_loop_is_processed():
    """It runs on a new loop, because the old one is still blocked."""
    release = threading.Event()
    loops = []

    @fanfold.consumer
    async def handler(number) -> None:
        loops.append(asyncio.get_running_loop())
        if number == 1:
            release.wait()

    first, _ = invoke(handler, 1)
    second = handler(make_event(0, 2), make_context())
    release.set()
    assert kinds(first) == [Failed]
    assert second == {"batchItemFailures": []}
    assert loops[0] is not loops[1]
    handler.close()


def test_a_blocked_loop_that_runs_again_is_kept():
    """A loop that was only late is not replaced, and its lifespan is kept."""
    release, loops = threading.Event(), []

    @fanfold.consumer
    async def handler(number) -> None:
        loops.append(asyncio.get_running_loop())
        if number:
            release.wait()

    invoke(handler, 1)
    release.set()
    handler(make_event(0), make_context())
    handler.close()
    assert loops[0] is loops[1]


@pytest.mark.counted
def test_a_lifespan_that_hangs_causes_redelivery_of_the_whole_batch():
    """An error is raised before a record starts."""

    @asynccontextmanager
    async def lifespan():
        await asyncio.Event().wait()
        yield

    handler = fanfold.consumer(lifespan=lifespan)(lambda body: None)
    with pytest.raises(TimeoutError, match="lifespan did not start"):
        handler(make_event(1), make_context(SECONDS))


def test_a_handler_that_cancels_its_own_task_fails_only_its_record():
    """A pending cancellation does not affect the next record."""

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number == 1:
            asyncio.current_task().cancel()
        elif number == 3:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    assert kinds(deliver(handler, 0, 1, 2, 3, 4)) == [Done, Failed, Done, Failed, Done]


def test_handlers_that_never_await_let_the_loop_run_other_tasks():
    """Other tasks on the loop run while a long batch is processed."""
    iterations = []

    @asynccontextmanager
    async def lifespan():
        async def count_iterations():
            while True:
                iterations.append(1)
                await asyncio.sleep(0)

        task = asyncio.ensure_future(count_iterations())
        yield
        task.cancel()

    @fanfold.consumer(concurrency=1, lifespan=lifespan)
    async def handler(number) -> None:
        if not number:
            iterations.clear()
        until = time.monotonic() + 0.03
        while time.monotonic() < until:
            pass

    deliver(handler, *range(4))
    assert len(iterations) >= 2


def test_the_commit_of_done_records_does_not_wait_for_a_handler_that_hangs():
    """Done records are committed when the margin begins; other handlers can still finish."""
    committed = []

    async def commit(done, batch):
        committed.append([record.body for record, _ in done])
        return range(len(done))

    @fanfold.consumer(commit=commit)
    async def handler(number) -> None:
        if number:
            await asyncio.Event().wait()

    result = deliver(handler, 0, 1, seconds=SECONDS)
    assert committed == [["0"]]
    assert kinds(result) == [Done, Failed]


def test_a_handler_that_ends_after_the_response_does_not_change_its_visibility_timeout():
    """Its side effects may not be complete, so the queue's visibility timeout applies."""
    release, settler = threading.Event(), RecordingSettler()

    @fanfold.consumer(settler=settler)
    async def handler(number) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.get_running_loop().run_in_executor(None, release.wait)
            raise fanfold.Retry(after=0) from None

    invoke(handler, 1)
    release.set()
    handler.close()
    assert settler.visibility_changes == []


def test_a_rollback_after_the_deadlines_cancellation_is_not_cancelled_again_by_a_timeout():
    """Each handler is cancelled only once."""
    ended = []

    @fanfold.consumer(timeout=1.55)
    async def handler(number) -> None:
        try:
            await asyncio.Event().wait()  # cancelled after 1.5 s
        finally:
            await asyncio.sleep(0.08)  # the timeout expires during the rollback
            ended.append(number)

    result = deliver(handler, 1, seconds=2)
    assert ended == [1]
    assert kinds(result) == [Failed]


def test_a_handler_that_raises_generator_exit_when_cancelled_fails_its_record():
    """Its worker ends with this error, and is not restarted near the deadline."""

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise GeneratorExit from None

    assert kinds(deliver(handler, 1, 2, seconds=SECONDS)) == [Failed, NotStarted]
