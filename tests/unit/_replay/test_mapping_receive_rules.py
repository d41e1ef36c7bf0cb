"""AWS's rules for deliveries, visibility and receives: what a consumer makes of them."""

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
from fanfold._consumer.admission import Admission
from fanfold._consumer.batch import Batch
from fanfold._consumer.settings import Settings
from fanfold._consumer.settle import Settling
from fanfold._consumer.stages import HandlerCall
from fanfold.testing import ManualClock, make_context, make_event, make_record
from mapped import deleted
from settlers import NotingSettler
from simple_handlers import notes, raises


async def untouched() -> NotingSettler:
    """Open no settler: nothing may ask for one."""
    raise AssertionError


# --- Deliveries.


def test_a_redelivered_message_runs_again():
    """Nothing is kept by message id: a redriven message has a new one, and a redelivered one must run."""
    ran = []
    handler = fanfold.consumer(notes(ran))
    for _ in range(2):
        assert deleted(handler, make_event(7)) == ["message-0"]
    assert ran == [7, 7]


# --- Visibility.


@pytest.mark.parametrize("error", [ValueError(), Retry(), Reject("never"), asyncio.CancelledError()])
def test_without_a_back_off_the_visibility_of_a_reported_message_is_left_alone(error: BaseException):
    """The queue's own timeout is at work: no call is made, and no client opened."""
    handler = fanfold.consumer(settler=untouched)(raises(error))
    assert deleted(handler, make_event(1)) == []


def test_with_a_back_off_a_reported_message_is_hidden_and_a_deleted_one_is_not():
    """Lambda leaves the visibility of a reported id alone, so the change holds."""
    visibility = NotingSettler()

    @fanfold.consumer(backoff=Backoff(base=40, jitter=0), settler=visibility)
    async def handler(number) -> None:
        if number:
            raise ValueError

    assert deleted(handler, make_event(0, 1)) == ["message-0"]
    assert visibility.visibility_changes == [[("message-1", 40)]]


@pytest.mark.parametrize(("after", "hidden"), [(0, 0), (0.2, 1), (30, 30), (43_200, 43_200), (100_000, 43_200)])
def test_a_retry_hides_its_message_for_whole_seconds_up_to_twelve_hours(after: float, hidden: int):
    """0 is at once, which the queue's visibility timeout is not."""
    visibility = NotingSettler()
    handler = fanfold.consumer(settler=visibility)(raises(Retry(after=after)))
    assert deleted(handler, make_event(1)) == []
    assert visibility.visibility_changes == [[("message-0", hidden)]]


def test_a_visibility_that_is_refused_is_asked_for_by_halves():
    """A message stays hidden twelve hours at most since its first receive; how many are left only a try tells."""
    visibility = NotingSettler(longest=300)

    @fanfold.consumer(settler=visibility)
    async def handler(number) -> None:
        raise Retry(after=[900, 200][number])

    assert deleted(handler, make_event(0, 1)) == []
    first_call = [("message-0", 900), ("message-1", 200)]
    assert visibility.visibility_changes == [first_call, [("message-0", 450)], [("message-0", 225)]]


def test_a_message_whose_handler_still_runs_is_not_hurried_back():
    """A back-off of one second would deliver it beside its own handler."""
    visibility = NotingSettler()
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
    handler._runtime._loop._loop.call_soon_threadsafe(release.set)
    handler.close()


# --- Receives: every delivery uses one up, also for a record that was never started.

Work = Callable[[list[dict[str, Any]]], Awaitable[list[str]]]
"""Works on a batch, as far as the invocation's time goes; returns the ids it has started, which succeed, in order."""
FITS = 60
"""Records that an invocation has the time for, of 100 in its batch."""


async def in_batch_order(records: list[dict[str, Any]]) -> list[str]:
    """Start records as they come, as consumers commonly do."""
    return [record["messageId"] for record in records[:FITS]]


async def by_fanfold(records: list[dict[str, Any]]) -> list[str]:
    """Start records as fanfold does, each taking a second of the invocation."""
    clock, started = ManualClock(), list[str]()

    async def call(record: Record) -> None:
        clock.advance(1)
        started.append(record.message_id)

    batch = Batch(
        records_from_event(make_event(records=records)),
        HandlerCall(call, takes_list=False),
        Settings(),
        concurrency=10,
        deadline=Deadline(ends_at=FITS + 5, margin=5, clock=clock),
        admission=Admission(starts_per_second=None, guard=None, now=0),
        settling=Settling(untouched, backoff=None, dead_letters=False),
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
    """Drain a backlog of 6,000 messages by batches of 100; return how many were dead-lettered without ever starting.

    A standard queue, in short: it hands out what it likes, counts receives, and moves what would be received for the
    sixth time to its dead-letter queue.
    """
    chance = random.Random(5)
    receives = {f"message-{number}": 0 for number in range(6_000)}
    dead = 0
    while receives:
        handed_out = chance.sample(list(receives), min(100, len(receives)))
        batch = []
        for message_id in handed_out:
            if receives[message_id] == 5:
                del receives[message_id]
                dead += 1
                continue
            receives[message_id] += 1
            batch.append(make_record(0, message_id=message_id, receive_count=receives[message_id]))
        for message_id in await work(batch):
            del receives[message_id]
    return dead


async def test_a_backlog_that_does_not_fit_makes_no_dead_letter_of_what_was_never_started():
    """The most-received start first; started in batch order, the same backlog loses records that never ran."""
    logging.disable(logging.WARNING)
    try:
        assert await dead_letters_of(by_fanfold) == 0
        assert await dead_letters_of(in_batch_order) > 20
    finally:
        logging.disable(logging.NOTSET)


async def test_records_received_equally_often_start_in_batch_order():
    """The oldest first."""
    records = [make_record(0, message_id=f"message-{number}", receive_count=2) for number in range(100)]
    assert (await by_fanfold(records))[:60] == [f"message-{number}" for number in range(60)]


async def test_a_record_received_more_often_starts_before_all_others():
    """Wherever in the batch it stands."""
    records = [make_record(0, message_id=f"message-{number}") for number in range(99)]
    records.append(make_record(0, message_id="last", receive_count=4))
    assert (await by_fanfold(records))[0] == "last"


async def test_no_more_records_start_than_the_invocation_has_time_for():
    """Also when each keeps the event loop to itself: what starts in the margin is cut off and used up a receive."""
    records = [make_record(0, message_id=f"message-{number}") for number in range(100)]
    assert len(await by_fanfold(records)) == 60
