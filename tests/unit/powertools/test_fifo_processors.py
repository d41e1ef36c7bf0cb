"""The drop-in processors of FIFO queues: groups run at once, and a failure stops its own."""

import asyncio
import threading

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import SQSFifoMessageGroupCircuitBreakerError
from aws_lambda_powertools.utilities.parser.models import SqsRecordModel
from pydantic import BaseModel, Json

from batches import fifo_event, ids
from fanfold.errors import ConfigurationError
from fanfold.powertools import SqsFifoPartialProcessor, async_process_partial_response, process_partial_response
from fanfold.testing import make_context


class Step(BaseModel):
    step: int


class StepRecord(SqsRecordModel):
    body: Json[Step]


def test_an_async_fifo_handler_stops_at_the_first_failure():
    """As the plain form: what comes after it is reported and did not run."""
    done = []

    async def handle(record):
        if record.body == "b":
            raise ValueError
        done.append(record.body)

    processor = SqsFifoPartialProcessor()
    event = fifo_event(("g", "a"), ("g", "b"), ("h", "c"))
    assert ids(async_process_partial_response(event, handle, processor, make_context())) == ["message-1", "message-2"]
    assert done == ["a"]
    assert [error[0].__name__ for error in processor.exceptions] == ["ValueError", "SQSFifoCircuitBreakerError"]


def test_async_fifo_groups_run_at_once_and_a_failure_stops_its_own():
    """In each group one record at a time, in order."""
    both, done = asyncio.Barrier(2), []

    async def handle(record):
        if record.body in {"a", "c"}:
            await both.wait()
        if record.body == "a":
            raise ValueError
        done.append(record.body)

    processor = SqsFifoPartialProcessor(skip_group_on_error=True, concurrency=2)
    event = fifo_event(("g", "a"), ("g", "b"), ("h", "c"), ("h", "d"))
    assert ids(async_process_partial_response(event, handle, processor, make_context())) == ["message-0", "message-1"]
    assert done == ["c", "d"]
    assert [error[0] for error in processor.exceptions] == [ValueError, SQSFifoMessageGroupCircuitBreakerError]


@pytest.mark.parametrize("skip", [False, True])
def test_an_async_fifo_lane_stops_although_a_hook_returns_nothing(skip: bool):
    """What failed is told by what the hook hands on."""
    done = []

    class Silent(SqsFifoPartialProcessor):
        def failure_handler(self, record, exception):
            super().failure_handler(record, exception)

    async def handle(record):
        if record.body == "b":
            raise ValueError
        done.append(record.body)

    event = fifo_event(("g", "a"), ("g", "b"), ("g", "c"))
    processor = Silent(skip_group_on_error=skip)
    assert ids(async_process_partial_response(event, handle, processor, make_context())) == ["message-1", "message-2"]
    assert (done, len(processor.exceptions)) == (["a"], 2)


def test_plain_fifo_groups_run_at_once_on_threads():
    """With a bound above one."""
    both = threading.Barrier(2, timeout=10)

    def handle(record):
        both.wait()
        if record.body == "a":
            raise ValueError

    processor = SqsFifoPartialProcessor(skip_group_on_error=True, concurrency=2)
    event = fifo_event(("g", "a"), ("g", "b"), ("h", "c"))
    assert ids(process_partial_response(event, handle, processor, make_context())) == ["message-0", "message-1"]


def test_fifo_groups_at_once_need_groups_that_fail_alone():
    """Where the batch stops at its first failure there is one order, and nothing to run at once."""
    with pytest.raises(ConfigurationError, match="requires skip_group_on_error=True"):
        SqsFifoPartialProcessor(concurrency=2)


@pytest.mark.parametrize(("skip", "failed"), [(True, [0, 1]), (False, [0, 1, 2])])
def test_poison_records_fail_alone_on_fifo_queues(skip: bool, failed: list[int]):
    """Two of them are no error of the whole batch: what could be done before them is done."""
    poison = [("a", '{"step": "x"}'), ("a", '{"step": "y"}'), ("b", '{"step": 1}')]
    event = fifo_event(("c", '{"step": 0}'), *poison)
    processor = SqsFifoPartialProcessor(model=StepRecord, skip_group_on_error=skip)
    response = process_partial_response(event, lambda record: None, processor)
    assert ids(response) == [f"message-{at + 1}" for at in failed]
