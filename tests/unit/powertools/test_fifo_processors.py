"""Drop-in processors of FIFO queues: groups run concurrently, and a failure stops only its group."""

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
    """As with a ``def`` handler, later records do not run and are reported."""
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


def test_async_fifo_groups_run_concurrently_and_a_failure_stops_only_its_group():
    """In each group, one record runs at a time, in order."""
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
def test_an_async_fifo_group_stops_although_failure_handler_returns_none(skip: bool):
    """The call of Powertools' ``failure_handler`` decides, not its return value."""
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


def test_fifo_groups_of_a_def_handler_run_concurrently_on_threads():
    """With a ``concurrency`` above 1."""
    both = threading.Barrier(2, timeout=300)

    def handle(record):
        both.wait()
        if record.body == "a":
            raise ValueError

    processor = SqsFifoPartialProcessor(skip_group_on_error=True, concurrency=2)
    event = fifo_event(("g", "a"), ("g", "b"), ("h", "c"))
    assert ids(process_partial_response(event, handle, processor, make_context())) == ["message-0", "message-1"]


def test_concurrent_fifo_groups_require_skip_group_on_error():
    """Without it, the batch stops at its first failure, so groups cannot run concurrently."""
    with pytest.raises(ConfigurationError, match="requires skip_group_on_error=True"):
        SqsFifoPartialProcessor(concurrency=2)


@pytest.mark.parametrize(("skip", "failed"), [(True, [0, 1]), (False, [0, 1, 2])])
def test_invalid_records_fail_alone_on_fifo_queues(skip: bool, failed: list[int]):
    """Two of them do not fail the whole batch: the records before them are done."""
    invalid = [("a", '{"step": "x"}'), ("a", '{"step": "y"}'), ("b", '{"step": 1}')]
    event = fifo_event(("c", '{"step": 0}'), *invalid)
    processor = SqsFifoPartialProcessor(model=StepRecord, skip_group_on_error=skip)
    response = process_partial_response(event, lambda record: None, processor)
    assert ids(response) == [f"message-{at + 1}" for at in failed]
