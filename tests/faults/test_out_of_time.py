"""Handlers that do not end in time: the answer is given all the same, and says nothing that is not known."""

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
from settlers import NotingSettler
from simple_handlers import hangs

SECONDS = 1.6
"""What an invocation has: its margin is half of it, so an answer is due 150 ms before the end."""


def in_time(handler, *bodies):
    """Deliver a batch and tell whether the answer was there before the end."""
    context = make_context(SECONDS)
    result = handler.invoke(make_event(*bodies), context)
    return result, context.get_remaining_time_in_millis() > 0


def test_a_handler_that_sleeps_past_the_end_is_cancelled_and_its_rollback_finishes():
    """What succeeded before is not reported."""
    ended = []

    @fanfold.consumer(concurrency=2)
    async def handler(number) -> None:
        if number:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(number)

    result, answered = in_time(handler, 0, 1)
    handler.close()
    assert kinds(result) == [Done, Failed]
    assert answered
    assert ended == [1]


def test_a_record_that_was_cancelled_failed_even_if_its_handler_then_returned():
    """Whether it did its work is not known."""

    @fanfold.consumer
    async def handler(number) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    assert kinds(deliver(handler, 1, seconds=SECONDS)) == [Failed]


def test_no_further_record_starts_when_the_margin_begins():
    """One that was under way fails, those behind it are not started."""
    handler = fanfold.consumer(concurrency=1)(hangs)
    result = deliver(handler, 1, 2, 3, seconds=SECONDS)
    assert kinds(result) == [Failed, NotStarted, NotStarted]
    assert result.outcomes[2].reason == "the invocation was about to time out"


def test_a_record_cut_off_by_the_end_did_not_take_too_long():
    """Its error is that the time was over, although a timeout is set, too."""
    handler = fanfold.consumer(timeout=60)(hangs)
    [outcome] = deliver(handler, 1, seconds=SECONDS).outcomes
    assert repr(outcome.error) == "CancelledError('cancelled: the invocation was about to time out')"


def test_a_hundred_handlers_that_swallow_their_cancellation_are_abandoned(caplog: pytest.LogCaptureFixture):
    """The answer does not wait for them, and what they do later changes nothing, in this batch or the next."""
    release = threading.Event()

    @fanfold.consumer(concurrency=100)
    async def handler(number) -> None:
        while number and not release.is_set():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if not release.is_set():
                    await asyncio.get_running_loop().run_in_executor(None, release.wait)

    result, answered = in_time(handler, 0, *range(1, 101))
    assert answered
    assert kinds(result) == [Done] + [Failed] * 100
    assert "100 handlers were still running" in caplog.text
    release.set()
    assert handler(make_event(0, 0), make_context()) == {"batchItemFailures": []}
    handler.close()


def test_a_handler_that_sits_in_a_thread_does_not_keep_the_answer():
    """Its record is a failure, those that returned are not."""
    release = threading.Event()

    @fanfold.consumer(concurrency=2)
    def handler(number) -> None:
        if number:
            release.wait()

    result, answered = in_time(handler, 0, 1)
    release.set()
    handler.close()
    assert answered
    assert kinds(result) == [Done, Failed]


def test_a_handler_that_blocks_the_event_loop_does_not_keep_the_answer():
    """The invocation's thread answers from what is known; what succeeded before is not reported."""
    release = threading.Event()

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number == 1:
            release.wait()

    result, answered = in_time(handler, 0, 1, 2)
    release.set()
    assert answered
    assert kinds(result) == [Done, Failed, NotStarted]
    assert isinstance(result.outcomes[1].error, AbandonedError)
    handler.close()


def test_after_a_blocked_loop_the_next_batch_is_right():
    """On the same loop if it turns again, else on a new one."""
    release = threading.Event()
    loops = []

    @fanfold.consumer
    async def handler(number) -> None:
        loops.append(asyncio.get_running_loop())
        if number == 1:
            release.wait()

    first, _ = in_time(handler, 1)
    second = handler(make_event(0, 2), make_context())
    release.set()
    assert kinds(first) == [Failed]
    assert second == {"batchItemFailures": []}
    assert loops[0] is not loops[1]
    handler.close()


def test_a_loop_that_was_blocked_and_turns_again_is_kept():
    """With its lifespan: one that was only late is not left behind."""
    release, loops = threading.Event(), []

    @fanfold.consumer
    async def handler(number) -> None:
        loops.append(asyncio.get_running_loop())
        if number:
            release.wait()

    in_time(handler, 1)
    release.set()
    handler(make_event(0), make_context())
    handler.close()
    assert loops[0] is loops[1]


def test_a_lifespan_that_hangs_makes_the_whole_batch_come_back():
    """Raising, before a record has started."""

    @asynccontextmanager
    async def lifespan():
        await asyncio.Event().wait()
        yield

    handler = fanfold.consumer(lifespan=lifespan)(lambda body: None)
    with pytest.raises(TimeoutError, match="lifespan did not start"):
        handler(make_event(1), make_context(SECONDS))


def test_a_handler_that_cancels_its_own_task_fails_its_record_alone():
    """A cancellation left pending does not hit the next record."""

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number == 1:
            asyncio.current_task().cancel()
        elif number == 3:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    assert kinds(deliver(handler, 0, 1, 2, 3, 4)) == [Done, Failed, Done, Failed, Done]


def test_handlers_that_never_wait_leave_the_loop_its_turn():
    """Other tasks on the loop go on while a long batch is worked through."""
    turned = []

    @asynccontextmanager
    async def lifespan():
        async def turn():
            while True:
                turned.append(1)
                await asyncio.sleep(0)

        task = asyncio.ensure_future(turn())
        yield
        task.cancel()

    @fanfold.consumer(concurrency=1, lifespan=lifespan)
    async def handler(number) -> None:
        if not number:
            turned.clear()
        until = time.monotonic() + 0.03
        while time.monotonic() < until:
            pass

    deliver(handler, *range(4))
    assert len(turned) >= 2


def test_the_commit_of_what_is_done_does_not_wait_for_what_hangs():
    """Done is committed when the margin begins; a hanging handler is still given its time."""
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


def test_a_handler_that_ends_after_the_answer_does_not_hurry_its_message_back():
    """It may still have had side effects: the message stays hidden as long as the queue says."""
    release, settler = threading.Event(), NotingSettler()

    @fanfold.consumer(settler=settler)
    async def handler(number) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.get_running_loop().run_in_executor(None, release.wait)
            raise fanfold.Retry(after=0) from None

    in_time(handler, 1)
    release.set()
    handler.close()
    assert settler.visibility_changes == []


def test_a_rollback_after_the_deadlines_cancellation_is_not_cancelled_again_by_a_timeout():
    """Each handler is cancelled once."""
    ended = []

    @fanfold.consumer(timeout=1.55)
    async def handler(number) -> None:
        try:
            await asyncio.Event().wait()  # cancelled after 1.5 s
        finally:
            await asyncio.sleep(0.08)  # the timeout falls into the rollback
            ended.append(number)

    result = deliver(handler, 1, seconds=2)
    assert ended == [1]
    assert kinds(result) == [Failed]


def test_a_handler_that_answers_its_cancellation_with_the_worst_error_fails_its_record():
    """Its worker ends with it, and is not started again when the time is over."""

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise GeneratorExit from None

    assert kinds(deliver(handler, 1, 2, seconds=SECONDS)) == [Failed, NotStarted]
