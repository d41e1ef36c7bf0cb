"""What Lambda's event source mapping makes of an answer, rule by rule, and that a consumer keeps to each.

(Source of the rules: Lambda developer guide, "Using Lambda with Amazon SQS" and "Reporting batch item failures"; SQS
developer guide on visibility, dead-letter queues, FIFO and fair queues.)
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fanfold
from fanfold import Backoff, Deadline, Record, Reject, Retry
from fanfold._base.outcome import NotStarted
from fanfold._base.record import records_from_event
from fanfold._consumer.admission import Pace
from fanfold._consumer.batch import Batch
from fanfold._consumer.settings import Settings
from fanfold._consumer.settle import Settling
from fanfold._consumer.stages import HandlerCall
from fanfold.testing import ManualClock, make_context, make_event, make_record

STANDARD_ARN = "arn:aws:sqs:eu-west-1:123456789012:orders"
FIFO_ARN = "arn:aws:sqs:eu-west-1:123456789012:orders.fifo"
RESPONSE_BYTES = 6 * 1024 * 1024
"""Most that a function may answer."""


def deleted(handler: Any, event: dict[str, Any], seconds: float = 30.0) -> list[str]:
    """Invoke a handler and return the ids of the messages that the event source mapping then deletes, in batch order.

    Complete success: an empty or null answer or list. Complete failure: an exception, an answer that is not JSON, an
    identifier that is empty, null, missing or not in the batch.
    """
    ids = [record["messageId"] for record in event["Records"]]
    try:
        answer = json.loads(json.dumps(handler(event, make_context(seconds))))
    except Exception:  # noqa: BLE001 - whatever it is, the batch comes back
        return []
    failures = (answer or {}).get("batchItemFailures") or []
    failed = [failure.get("itemIdentifier") for failure in failures]
    return [] if set(failed) - set(ids) else [one for one in ids if one not in failed]


def grouped(*groups: str, queue_arn: str = FIFO_ARN) -> dict[str, Any]:
    """Return a batch of one record for each message group named."""
    attributes = [{"MessageGroupId": group} for group in groups]
    return make_event(
        records=[
            make_record(number, message_id=f"message-{number}", queue_arn=queue_arn, attributes=each)
            for number, each in enumerate(attributes)
        ]
    )


class Visibility:
    """A settler that takes down which messages are hidden, for how long, and refuses what it is told to."""

    def __init__(self, most_seconds: int = 43_200) -> None:
        self.calls: list[list[tuple[str, int]]] = []
        self._most_seconds = most_seconds

    async def open(self) -> Visibility:
        return self

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Collection[int]:
        self.calls.append([(record.message_id, seconds) for record, seconds in changes])
        return [position for position, (_, seconds) in enumerate(changes) if seconds > self._most_seconds]

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Mapping[int, str]:
        raise AssertionError


async def untouched() -> Visibility:
    """Open no settler: nothing may ask for one."""
    raise AssertionError


# --- What is answered.


def test_an_empty_list_is_answered_only_when_every_record_succeeded():
    """It makes Lambda delete the whole batch."""

    @fanfold.consumer
    async def handler(number) -> None: ...

    assert handler(make_event(1, 2), make_context()) == {"batchItemFailures": []}
    assert deleted(handler, make_event(1, 2)) == ["message-0", "message-1"]
    handler.close()


@pytest.mark.parametrize("value", [None, {}, [], "", False, {"batchItemFailures": None}, {"batchItemFailures": []}])
def test_what_a_handler_returns_never_becomes_the_answer(value: object):
    """An empty or null answer would delete the record that failed beside it."""

    @fanfold.consumer
    async def handler(number) -> object:
        if number:
            raise ValueError
        return value

    assert deleted(handler, make_event(0, 1)) == ["message-0"]
    handler.close()


def test_an_answer_is_json_whatever_handlers_return():
    """One that is not JSON makes the whole batch come back."""

    @fanfold.consumer
    async def handler(number) -> object:
        return {object(): b"\xff"}

    assert deleted(handler, make_event(0, 1)) == ["message-0", "message-1"]
    handler.close()


def test_every_id_that_is_answered_stands_in_the_batch():
    """An unknown one makes the whole batch come back, and what a handler raises may look like one."""

    @fanfold.consumer
    async def handler(record: Record) -> None:
        if record.body == "1":
            raise ValueError({"itemIdentifier": "elsewhere", "messageId": ""})

    assert deleted(handler, make_event(0, 1, 2)) == ["message-0", "message-2"]
    handler.close()


def test_an_id_is_answered_once_though_its_message_stands_in_the_batch_twice():
    """Standard queues deliver at least once, FIFO through Lambda too."""

    @fanfold.consumer
    async def handler(record: Record) -> None:
        if record.message_id == "twice":
            raise ValueError

    records = [make_record(message_id=one) for one in ("twice", "once", "twice")]
    assert handler(make_event(records=records), make_context()) == {"batchItemFailures": [{"itemIdentifier": "twice"}]}
    handler.close()


@pytest.mark.parametrize("message_id", ["", None, 5])
def test_a_record_without_a_usable_id_makes_the_whole_batch_come_back(message_id: object):
    """There is no answer that names it, and none that leaves it out may be given."""
    called = []
    handler = fanfold.consumer(called.append)
    event = make_event(records=[make_record(1, message_id="fine"), make_record(2) | {"messageId": message_id}])
    assert deleted(handler, event) == []
    assert called == []


def test_an_exception_makes_the_whole_batch_come_back():
    """So a consumer raises only before anything has run, or where nothing succeeded."""

    @asynccontextmanager
    async def lifespan():
        raise OSError
        yield

    @fanfold.consumer(lifespan=lifespan)
    async def handler(number) -> None: ...

    assert deleted(handler, make_event(0, 1)) == []


def test_a_total_failure_may_be_an_error_and_a_partial_one_never_is():
    """Polling slows down for an error and not for a partial failure; what succeeded is deleted in any case."""

    @fanfold.consumer(raise_on_total_failure=True)
    async def handler(number) -> None:
        if number:
            raise ValueError

    with pytest.raises(fanfold.errors.TotalFailureError):
        handler(make_event(1, 1), make_context())
    assert deleted(handler, make_event(0, 1)) == ["message-0"]
    handler.close()


def test_a_batch_that_takes_too_long_is_answered_and_the_finished_part_deleted():
    """Lambda's timeout answers nothing: the finished part would be delivered again too."""

    @fanfold.consumer(concurrency=2)
    async def handler(number) -> None:
        if number:
            await asyncio.Event().wait()

    assert deleted(handler, make_event(0, 1, 0), seconds=0.5) == ["message-0", "message-2"]
    handler.close()


def test_the_answer_for_ten_thousand_failures_is_far_under_six_megabytes():
    """The largest batch of a standard queue, and the most that a function may answer."""

    @fanfold.consumer(concurrency=100)
    async def handler(body: str) -> None:
        raise ValueError

    records = [make_record("", message_id=str(uuid.UUID(int=number))) for number in range(10_000)]
    answer = handler(make_event(records=records), make_context())
    handler.close()
    assert len(answer["batchItemFailures"]) == 10_000
    assert len(json.dumps(answer).encode()) < RESPONSE_BYTES / 6


def test_a_message_of_one_mebibyte_is_handled():
    """The largest there is."""
    sizes = []
    handler = fanfold.consumer(lambda body: sizes.append(len(body["text"])))
    event = make_event({"text": "x" * (1_048_576 - len('{"text": ""}'))})
    assert len(event["Records"][0]["body"]) == 1_048_576
    assert deleted(handler, event) == ["message-0"]
    assert sizes == [1_048_564]
    handler.close()


# --- FIFO.


def test_a_fifo_batch_answers_the_failed_record_and_all_later_ones_of_its_group():
    """Other groups go on; nothing of the group is deleted behind what failed."""
    ran = []

    @fanfold.consumer(concurrency=10)
    async def handler(number) -> None:
        ran.append(number)
        if number == 1:
            raise ValueError

    assert deleted(handler, grouped("a", "b", "a", "b", "b", "c")) == ["message-0", "message-2", "message-5"]
    assert sorted(ran) == [0, 1, 2, 5]
    handler.close()


def test_the_records_of_a_fifo_group_run_one_after_another_in_batch_order():
    """However many handlers may run at once."""
    steps = []

    @fanfold.consumer(concurrency=10)
    async def handler(number) -> None:
        steps.append(("begin", number))
        await asyncio.sleep(0)
        steps.append(("end", number))

    assert len(deleted(handler, grouped("a", "a", "a"))) == 3
    assert steps == [(step, number) for number in range(3) for step in ("begin", "end")]
    handler.close()


@pytest.mark.parametrize("groups", [["tenant"] * 3, ["tenant", "", "other"]])
def test_message_groups_of_a_fair_queue_are_tenants_and_no_order(groups: list[str]):
    """A queue is FIFO by the end of its ARN alone; behind a failure on a fair queue everything goes on."""

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number == 0:
            raise ValueError

    assert deleted(handler, grouped(*groups, queue_arn=STANDARD_ARN)) == ["message-1", "message-2"]
    handler.close()


@pytest.mark.parametrize("arn", [f"{STANDARD_ARN}fifo", f"{STANDARD_ARN}.fifo-2", f"{STANDARD_ARN}.fifo.dead"])
def test_a_queue_is_fifo_only_if_its_arn_ends_so(arn: str):
    """Names that merely hold the word are of standard queues."""

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number == 0:
            raise ValueError

    assert deleted(handler, grouped("a", "a", queue_arn=arn)) == ["message-1"]
    handler.close()


# --- Deliveries.


def test_a_redelivered_message_runs_again():
    """Nothing is kept by message id: a redriven message has a new one, and a redelivered one must run."""
    ran = []

    @fanfold.consumer
    async def handler(number) -> None:
        ran.append(number)

    for _ in range(2):
        assert deleted(handler, make_event(7)) == ["message-0"]
    assert ran == [7, 7]
    handler.close()


# --- Visibility.


@pytest.mark.parametrize("error", [ValueError(), Retry(), Reject("never"), asyncio.CancelledError()])
def test_without_a_back_off_the_visibility_of_a_reported_message_is_left_alone(error: BaseException):
    """The queue's own timeout is at work: no call is made, and no client opened."""

    @fanfold.consumer(settler=untouched)
    async def handler(number) -> None:
        raise error

    assert deleted(handler, make_event(1)) == []
    handler.close()


def test_with_a_back_off_a_reported_message_is_hidden_and_a_deleted_one_is_not():
    """Lambda leaves the visibility of a reported id alone, so the change holds."""
    visibility = Visibility()

    @fanfold.consumer(backoff=Backoff(base=40, jitter=0), settler=visibility.open)
    async def handler(number) -> None:
        if number:
            raise ValueError

    assert deleted(handler, make_event(0, 1)) == ["message-0"]
    assert visibility.calls == [[("message-1", 40)]]
    handler.close()


@pytest.mark.parametrize(("after", "hidden"), [(0, 0), (0.2, 1), (30, 30), (43_200, 43_200), (100_000, 43_200)])
def test_a_retry_hides_its_message_for_whole_seconds_up_to_twelve_hours(after: float, hidden: int):
    """0 is at once, which the queue's visibility timeout is not."""
    visibility = Visibility()

    @fanfold.consumer(settler=visibility.open)
    async def handler(number) -> None:
        raise Retry(after=after)

    assert deleted(handler, make_event(1)) == []
    assert visibility.calls == [[("message-0", hidden)]]
    handler.close()


def test_a_visibility_that_is_refused_is_asked_for_by_halves():
    """A message stays hidden twelve hours at most since its first receive; how many are left only a try tells."""
    visibility = Visibility(most_seconds=300)

    @fanfold.consumer(settler=visibility.open)
    async def handler(number) -> None:
        raise Retry(after=[900, 200][number])

    assert deleted(handler, make_event(0, 1)) == []
    handler.close()
    assert visibility.calls == [
        [("message-0", 900), ("message-1", 200)],
        [("message-0", 450)],
        [("message-0", 225)],
    ]


def test_a_message_whose_handler_still_runs_is_not_hurried_back():
    """A back-off of one second would deliver it beside its own handler."""
    visibility = Visibility()
    release = asyncio.Event()

    @fanfold.consumer(backoff=Backoff(base=1, jitter=0), settler=visibility.open)
    async def handler(number) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    assert deleted(handler, make_event(1), seconds=0.5) == []
    assert visibility.calls == []
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
        pace=Pace(starts_per_second=None, guard=None, now=0),
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
