"""What Lambda's event source mapping makes of an answer, rule by rule, and that a consumer keeps to each.

(Source of the rules: Lambda developer guide, "Using Lambda with Amazon SQS" and "Reporting batch item failures"; SQS
developer guide on visibility, dead-letter queues, FIFO and fair queues.)
"""

import asyncio
import json
import uuid
from contextlib import asynccontextmanager

import pytest

import fanfold
from batches import grouped
from fanfold import Record
from fanfold.testing import make_context, make_event, make_record
from mapped import deleted
from simple_handlers import nothing, raises

STANDARD_ARN = "arn:aws:sqs:eu-west-1:123456789012:orders"
RESPONSE_BYTES = 6 * 1024 * 1024
"""Most that a function may answer."""


# --- What is answered.


def test_an_empty_list_is_answered_only_when_every_record_succeeded():
    """It makes Lambda delete the whole batch."""
    handler = fanfold.consumer(nothing)
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


def test_an_answer_is_json_whatever_handlers_return():
    """One that is not JSON makes the whole batch come back."""

    @fanfold.consumer
    async def handler(number) -> object:
        return {object(): b"\xff"}

    assert deleted(handler, make_event(0, 1)) == ["message-0", "message-1"]


def test_every_id_that_is_answered_stands_in_the_batch():
    """An unknown one makes the whole batch come back, and what a handler raises may look like one."""

    @fanfold.consumer
    async def handler(record: Record) -> None:
        if record.body == "1":
            raise ValueError({"itemIdentifier": "elsewhere", "messageId": ""})

    assert deleted(handler, make_event(0, 1, 2)) == ["message-0", "message-2"]


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

    handler = fanfold.consumer(lifespan=lifespan)(nothing)
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


@pytest.mark.parametrize("groups", [["tenant"] * 3, ["tenant", "", "other"]])
def test_message_groups_of_a_fair_queue_are_tenants_and_no_order(groups: list[str]):
    """A queue is FIFO by the end of its ARN alone; behind a failure on a fair queue everything goes on."""
    handler = fanfold.consumer(concurrency=1)(raises(ValueError, 0))
    assert deleted(handler, grouped(*groups, queue_arn=STANDARD_ARN)) == ["message-1", "message-2"]


@pytest.mark.parametrize("arn", [f"{STANDARD_ARN}fifo", f"{STANDARD_ARN}.fifo-2", f"{STANDARD_ARN}.fifo.dead"])
def test_a_queue_is_fifo_only_if_its_arn_ends_so(arn: str):
    """Names that merely hold the word are of standard queues."""
    handler = fanfold.consumer(concurrency=1)(raises(ValueError, 0))
    assert deleted(handler, grouped("a", "a", queue_arn=arn)) == ["message-1"]
