"""AWS's rules for deliveries, visibility timeouts, and receives, and how a consumer follows them."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import fanfold
from batches import ids
from fanfold import Backoff, Deadline, Record, Reject, Retry
from fanfold._base.outcome import NotStarted
from fanfold._base.record import records_from_event
from fanfold._base.threads import Threads
from fanfold._consumer.admission import Admission
from fanfold._consumer.environment import ExecutionEnvironment
from fanfold._consumer.settings import Settings
from fanfold._consumer.stages import HandlerCall
from fanfold._consumer.task_batch import TaskBatch
from fanfold.testing import ManualClock, make_context, make_event, make_record
from mapped import deleted
from settlers import RecordingSettler
from simple_handlers import notes, raises


async def unopened() -> RecordingSettler:
    """Fail if a settler is opened."""
    raise AssertionError


# --- Deliveries.


def test_a_redelivered_message_runs_again():
    """A consumer does not deduplicate by message id: a redelivered message must run again."""
    ran = []
    handler = fanfold.consumer(notes(ran))
    for _ in range(2):
        assert deleted(handler, make_event(7)) == ["message-0"]
    assert ran == [7, 7]


# --- Visibility.


@pytest.mark.parametrize("error", [ValueError(), Retry(), Reject("never"), asyncio.CancelledError()])
def test_without_a_backoff_the_visibility_timeout_of_a_reported_message_is_not_changed(error: BaseException):
    """The visibility timeout of the queue applies: no call is made, and no client opened."""
    handler = fanfold.consumer(settler=unopened)(raises(error))
    assert deleted(handler, make_event(1)) == []


def test_with_a_backoff_the_visibility_timeout_of_reported_messages_is_changed():
    """Lambda does not change the visibility timeout of a reported message, so the change remains in effect."""
    visibility = RecordingSettler()

    @fanfold.consumer(backoff=Backoff(base=40, jitter=0), settler=visibility)
    async def handler(number) -> None:
        if number:
            raise ValueError

    assert deleted(handler, make_event(0, 1)) == ["message-0"]
    assert visibility.visibility_changes == [[("message-1", 40)]]


@pytest.mark.parametrize(("after", "timeout"), [(0, 0), (0.2, 1), (30, 30), (43_200, 43_200), (100_000, 43_200)])
def test_a_retry_sets_the_visibility_timeout_to_whole_seconds_up_to_twelve_hours(after: float, timeout: int):
    """0 makes the message visible immediately, unlike the visibility timeout of the queue."""
    visibility = RecordingSettler()
    handler = fanfold.consumer(settler=visibility)(raises(Retry(after=after)))
    assert deleted(handler, make_event(1)) == []
    assert visibility.visibility_changes == [[("message-0", timeout)]]


def test_a_rejected_visibility_timeout_is_retried_with_half_the_time():
    """The limit is twelve hours since the receive; the consumer does not know how much of that is left."""
    visibility = RecordingSettler(longest=300)

    @fanfold.consumer(settler=visibility)
    async def handler(number) -> None:
        raise Retry(after=[900, 200][number])

    assert deleted(handler, make_event(0, 1)) == []
    first_call = [("message-0", 900), ("message-1", 200)]
    assert visibility.visibility_changes == [first_call, [("message-0", 450)], [("message-0", 225)]]


def test_the_visibility_timeout_of_a_message_whose_handler_still_runs_is_not_changed():
    """A backoff of one second would redeliver it while its handler still runs."""
    visibility = RecordingSettler()
    release = asyncio.Event()

    @fanfold.consumer(backoff=Backoff(base=1, jitter=0), settler=visibility)
    async def handler(number) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    assert ids(handler(make_event(1), make_context(0.5))) == ["message-0"]
    assert visibility.visibility_changes == []
    handler._runtime._loop.loop.call_soon_threadsafe(release.set)
    handler.close()


# --- Receives: every delivery counts, even for a record that was never started.

Work = Callable[[list[dict[str, Any]]], Awaitable[list[str]]]
"""A function that processes a batch until the deadline, and returns the ids of the started records in order."""
FITS = 60
"""Records that an invocation has time for, of 100 in its batch."""


async def in_batch_order(records: list[dict[str, Any]]) -> list[str]:
    """Start records in batch order, as most consumers do."""
    return [record["messageId"] for record in records[:FITS]]


async def by_fanfold(records: list[dict[str, Any]]) -> list[str]:
    """Start records as fanfold does, each taking a second of the invocation."""
    clock, started = ManualClock(), list[str]()

    async def call(record: Record) -> None:
        clock.advance(1)
        started.append(record.message_id)

    batch = TaskBatch(
        records_from_event(make_event(records=records)),
        HandlerCall(call, takes_list=False),
        Settings(),
        ExecutionEnvironment(None, Threads(), unopened, unopened, unopened, unopened),
        concurrency=10,
        deadline=Deadline(ends_at=FITS + 5, margin=5, clock=clock),
        admission=Admission(),
    )
    await batch.run()
    not_started = {
        record.message_id
        for record, outcome in zip(batch.records, batch.outcomes(), strict=True)
        if isinstance(outcome, NotStarted)
    }
    assert not_started.isdisjoint(started)
    assert len(started) + len(not_started) == len(records)
    return started


async def dead_letters_of(work: Work) -> int:
    """Process a backlog of 6,000 messages in batches of 100; return how many were dead-lettered without being started.

    This models a standard queue: it delivers messages in any order, counts receives, and moves a message to the
    dead-letter queue instead of a sixth receive.
    """
    chance = random.Random(5)
    receives = {f"message-{number}": 0 for number in range(6_000)}
    dead = 0
    while receives:
        received = chance.sample(list(receives), min(100, len(receives)))
        batch = []
        for message_id in received:
            if receives[message_id] == 5:
                del receives[message_id]
                dead += 1
                continue
            receives[message_id] += 1
            batch.append(make_record(0, message_id=message_id, receive_count=receives[message_id]))
        for message_id in await work(batch):
            del receives[message_id]
    return dead


async def test_with_a_large_backlog_no_message_is_dead_lettered_without_being_started():
    """The messages with the most receives start first; in batch order, some would be dead-lettered without running."""
    logging.disable(logging.WARNING)
    try:
        assert await dead_letters_of(by_fanfold) == 0
        assert await dead_letters_of(in_batch_order) > 20
    finally:
        logging.disable(logging.NOTSET)


async def test_records_with_equal_receive_counts_start_in_batch_order():
    """The oldest record starts first."""
    records = [make_record(0, message_id=f"message-{number}", receive_count=2) for number in range(100)]
    assert (await by_fanfold(records))[:60] == [f"message-{number}" for number in range(60)]


async def test_the_record_with_the_highest_receive_count_starts_first():
    """At any position in the batch."""
    records = [make_record(0, message_id=f"message-{number}") for number in range(99)]
    records.append(make_record(0, message_id="last", receive_count=4))
    assert (await by_fanfold(records))[0] == "last"


async def test_no_more_records_start_than_the_invocation_has_time_for():
    """Even if each record blocks the event loop: a record started in the safety margin would waste a receive."""
    records = [make_record(0, message_id=f"message-{number}") for number in range(100)]
    assert len(await by_fanfold(records)) == 60
