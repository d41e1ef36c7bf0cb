"""The rules of Lambda's event source mapping for responses, and that a consumer follows each of them.

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
"""Maximum size of a function's response."""


# --- Responses.


def test_an_empty_list_is_returned_only_if_every_record_succeeded():
    """Lambda then deletes the whole batch."""
    handler = fanfold.consumer(nothing)
    assert handler(make_event(1, 2), make_context()) == {"batchItemFailures": []}
    assert deleted(handler, make_event(1, 2)) == ["message-0", "message-1"]
    handler.close()


@pytest.mark.parametrize("value", [None, {}, [], "", False, {"batchItemFailures": None}, {"batchItemFailures": []}])
def test_the_value_that_a_handler_returns_never_becomes_the_response(value: object):
    """An empty or null response would delete the failed record of the batch."""

    @fanfold.consumer
    async def handler(number) -> object:
        if number:
            raise ValueError
        return value

    assert deleted(handler, make_event(0, 1)) == ["message-0"]


def test_the_response_is_json_whatever_the_handlers_return():
    """Otherwise the whole batch would be redelivered."""

    @fanfold.consumer
    async def handler(number) -> object:
        return {object(): b"\xff"}

    assert deleted(handler, make_event(0, 1)) == ["message-0", "message-1"]


def test_every_id_in_the_response_is_in_the_batch():
    """Otherwise the whole batch would be redelivered; the error of a handler may contain such an id."""

    @fanfold.consumer
    async def handler(record: Record) -> None:
        if record.body == "1":
            raise ValueError({"itemIdentifier": "elsewhere", "messageId": ""})

    assert deleted(handler, make_event(0, 1, 2)) == ["message-0", "message-2"]


def test_an_id_is_reported_once_even_if_its_message_is_in_the_batch_twice():
    """Standard queues, and FIFO queues through Lambda, deliver at least once."""

    @fanfold.consumer
    async def handler(record: Record) -> None:
        if record.message_id == "twice":
            raise ValueError

    records = [make_record(message_id=message_id) for message_id in ("twice", "once", "twice")]
    assert handler(make_event(records=records), make_context()) == {"batchItemFailures": [{"itemIdentifier": "twice"}]}
    handler.close()


@pytest.mark.parametrize("message_id", ["", None, 5])
def test_if_a_record_has_no_valid_id_the_whole_batch_is_redelivered(message_id: object):
    """No response can name it, and a response without it would delete it."""
    called = []
    handler = fanfold.consumer(called.append)
    event = make_event(records=[make_record(1, message_id="fine"), make_record(2) | {"messageId": message_id}])
    assert deleted(handler, event) == []
    assert called == []


def test_after_an_exception_the_whole_batch_is_redelivered():
    """So a consumer raises only before any record has run, or if no record succeeded."""

    @asynccontextmanager
    async def lifespan():
        raise OSError
        yield

    handler = fanfold.consumer(lifespan=lifespan)(nothing)
    assert deleted(handler, make_event(0, 1)) == []


def test_a_total_failure_may_be_an_error_and_a_partial_one_never_is():
    """Lambda slows down polling after an error, but not after a partial failure; completed messages are deleted."""

    @fanfold.consumer(raise_on_total_failure=True)
    async def handler(number) -> None:
        if number:
            raise ValueError

    with pytest.raises(fanfold.errors.TotalFailureError):
        handler(make_event(1, 1), make_context())
    assert deleted(handler, make_event(0, 1)) == ["message-0"]
    handler.close()


def test_a_batch_that_takes_too_long_gets_a_response_and_its_completed_messages_are_deleted():
    """After a timeout of the function, completed messages would be redelivered too."""

    @fanfold.consumer(concurrency=2)
    async def handler(number) -> None:
        if number:
            await asyncio.Event().wait()

    assert deleted(handler, make_event(0, 1, 0), seconds=0.5) == ["message-0", "message-2"]


def test_the_response_for_ten_thousand_failures_is_far_below_six_megabytes():
    """The largest batch of a standard queue, and the maximum size of a response."""

    @fanfold.consumer(concurrency=100)
    async def handler(body: str) -> None:
        raise ValueError

    records = [make_record("", message_id=str(uuid.UUID(int=number))) for number in range(10_000)]
    response = handler(make_event(records=records), make_context())
    handler.close()
    assert len(response["batchItemFailures"]) == 10_000
    assert len(json.dumps(response).encode()) < RESPONSE_BYTES / 6


def test_a_message_of_one_mebibyte_is_handled():
    """The maximum message size."""
    sizes = []
    handler = fanfold.consumer(lambda body: sizes.append(len(body["text"])))
    event = make_event({"text": "x" * (1_048_576 - len('{"text": ""}'))})
    assert len(event["Records"][0]["body"]) == 1_048_576
    assert deleted(handler, event) == ["message-0"]
    assert sizes == [1_048_564]


# --- FIFO.


def test_a_fifo_batch_reports_the_failed_record_and_all_later_ones_of_its_group():
    """Other groups continue; no later message of the group is deleted."""
    ran = []

    @fanfold.consumer(concurrency=10)
    async def handler(number) -> None:
        ran.append(number)
        if number == 1:
            raise ValueError

    assert deleted(handler, grouped("a", "b", "a", "b", "b", "c")) == ["message-0", "message-2", "message-5"]
    assert sorted(ran) == [0, 1, 2, 5]


def test_the_records_of_a_fifo_group_run_one_after_another_in_batch_order():
    """At any concurrency."""
    steps = []

    @fanfold.consumer(concurrency=10)
    async def handler(number) -> None:
        steps.append(("begin", number))
        await asyncio.sleep(0)
        steps.append(("end", number))

    assert len(deleted(handler, grouped("a", "a", "a"))) == 3
    assert steps == [(step, number) for number in range(3) for step in ("begin", "end")]


@pytest.mark.parametrize("groups", [["tenant"] * 3, ["tenant", "", "other"]])
def test_message_groups_of_a_fair_queue_do_not_imply_an_order(groups: list[str]):
    """Only the suffix of the ARN makes a queue FIFO; on a fair queue, later messages continue after a failure."""
    handler = fanfold.consumer(concurrency=1)(raises(ValueError, 0))
    assert deleted(handler, grouped(*groups, queue_arn=STANDARD_ARN)) == ["message-1", "message-2"]


@pytest.mark.parametrize("arn", [f"{STANDARD_ARN}fifo", f"{STANDARD_ARN}.fifo-2", f"{STANDARD_ARN}.fifo.dead"])
def test_a_queue_is_fifo_only_if_its_arn_ends_with_fifo(arn: str):
    """Names that contain the suffix elsewhere are those of standard queues."""
    handler = fanfold.consumer(concurrency=1)(raises(ValueError, 0))
    assert deleted(handler, grouped("a", "a", queue_arn=arn)) == ["message-1"]
