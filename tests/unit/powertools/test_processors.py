"""Differences between fanfold's drop-ins and Powertools' classes; the contract tests cover what they share."""

import asyncio
import functools
import threading
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from aws_lambda_powertools.utilities.parser.models import SqsRecordModel
from aws_lambda_powertools.utilities.typing import LambdaContext

from batches import Gauge, ids
from fanfold._base.deadline import Deadline
from fanfold.errors import AbandonedError, ConfigurationError, NotStartedError
from fanfold.powertools import (
    AsyncBatchProcessor,
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
    _processors,
    async_process_partial_response,
    process_partial_response,
)
from fanfold.testing import ManualClock, make_context, make_event


def test_the_async_processor_is_bounded():
    """Of 10,000 records, never more than ``concurrency`` are in flight."""
    gauge = Gauge()

    async def handle(record):
        await gauge(record)

    processor = AsyncBatchProcessor(event_type=EventType.SQS, concurrency=25)
    response = async_process_partial_response(make_event(*range(10_000)), handle, processor, make_context())
    assert (ids(response), gauge.most, len(processor.success_messages)) == ([], 25, 10_000)


@pytest.mark.parametrize("make", [AsyncBatchProcessor, BatchProcessor])
def test_an_invalid_concurrency_is_refused_at_construction(make: Any):
    """The error states the valid values."""
    with pytest.raises(ConfigurationError, match="concurrency must be an integer of at least 1, not 0"):
        make(EventType.SQS, concurrency=0)


def test_one_cancelled_error_fails_one_record():
    """The records that succeeded are acknowledged."""

    async def handle(record):
        if record.body == "1":
            raise asyncio.CancelledError

    processor = AsyncBatchProcessor(EventType.SQS)
    assert ids(async_process_partial_response(make_event(0, 1, 2), handle, processor, make_context())) == ["message-1"]
    assert [error[0] for error in processor.exceptions] == [asyncio.CancelledError]


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, BaseExceptionGroup("all", [SystemExit()])])
def test_any_error_of_a_def_handler_fails_one_record(error: Any):
    """The invocation continues."""

    def handle(record):
        if record.body == "1":
            raise error

    processor = BatchProcessor(EventType.SQS)
    assert ids(process_partial_response(make_event(0, 1, 2), handle, processor)) == ["message-1"]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_keyboard_interrupt_of_a_def_handler_ends_the_run(concurrency: int):
    """Ctrl-C must end the process."""

    def handle(record):
        raise KeyboardInterrupt

    processor = BatchProcessor(EventType.SQS, concurrency=concurrency)
    with pytest.raises(KeyboardInterrupt):
        process_partial_response(make_event(0, 1), handle, processor)


def test_batch_processor_refuses_an_async_handler():
    """A record that never ran is not acknowledged; the error states the alternative."""

    async def handle(record):
        raise AssertionError

    with pytest.raises(ConfigurationError, match=r"handle is an async def.*use AsyncBatchProcessor"):
        process_partial_response(make_event("a"), handle, BatchProcessor(EventType.SQS))
    with pytest.raises(ConfigurationError, match="never run"):
        process_partial_response(make_event("a"), functools.partial(handle), SqsFifoPartialProcessor())


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_async_handler_behind_a_lambda_is_never_acknowledged(concurrency: int):
    """A lambda around it can only be detected by its return value."""

    async def handle(record):
        raise AssertionError

    processor = BatchProcessor(EventType.SQS, concurrency=concurrency)
    with pytest.raises(BatchProcessingError, match="use AsyncBatchProcessor"):
        process_partial_response(make_event("a", "b"), lambda record: handle(record=record), processor)
    assert processor.success_messages == []


def test_a_def_handler_works_with_the_async_processor():
    """It runs on threads, once for each record; ``processor.handler`` is restored afterward."""
    seen, threads = [], set()

    def handle(record, lambda_context):
        threads.add(threading.current_thread())
        if record.body == "b":
            raise ValueError
        seen.append(record.body)

    processor = AsyncBatchProcessor(EventType.SQS)
    response = async_process_partial_response(make_event("a", "b", "c"), handle, processor, make_context())
    assert (ids(response), sorted(seen)) == (["message-1"], ["a", "c"])
    assert threading.main_thread() not in threads
    assert processor.handler is handle


def test_batch_processor_runs_on_the_invocations_thread_unless_concurrency_is_set():
    """As in Powertools; with ``concurrency`` above 1, it uses that many threads."""
    barrier, threads = threading.Barrier(2, timeout=300), []

    def handle(record):
        threads.append(threading.current_thread())

    def handle_in_pairs(record):
        barrier.wait()

    process_partial_response(make_event("a", "b"), handle, BatchProcessor(EventType.SQS))
    assert threads == [threading.main_thread()] * 2

    processor = BatchProcessor(EventType.SQS, concurrency=2)
    assert ids(process_partial_response(make_event("a", "b"), handle_in_pairs, processor, make_context())) == []


def test_the_async_processor_responds_before_the_timeout():
    """Running records are cancelled, records that did not start are reported, done records remain done."""

    async def handle(record):
        if record.body != "done":
            await asyncio.Event().wait()

    processor = AsyncBatchProcessor(EventType.SQS, concurrency=1)
    event = make_event("done", "hangs", "waits")
    assert ids(async_process_partial_response(event, handle, processor, make_context(0.5))) == [
        "message-1",
        "message-2",
    ]
    assert [error[0] for error in processor.exceptions] == [asyncio.CancelledError, NotStartedError]


def test_a_handler_that_blocks_the_loop_does_not_block_the_response():
    """The processor's next batch runs on a loop that is not blocked."""
    released = threading.Event()

    async def handle(record):
        if record.body == "blocks":
            released.wait()

    processor = AsyncBatchProcessor(EventType.SQS)
    assert ids(async_process_partial_response(make_event("a", "blocks"), handle, processor, make_context(0.5))) == [
        "message-1"
    ]
    assert [error[0] for error in processor.exceptions] == [AbandonedError]
    assert ids(async_process_partial_response(make_event("b"), handle, processor, make_context())) == []
    released.set()


def test_a_handler_that_returns_although_it_was_cancelled_is_a_failure():
    """It is not in the list of successes either."""

    async def handle(record):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"

    processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    assert ids(async_process_partial_response(make_event("a"), handle, processor, make_context(0.5))) == ["message-0"]
    assert processor.success_messages == []


def test_abandoned_handlers_do_not_change_the_next_response():
    """An ID of another batch in the response would make Lambda redeliver the whole batch."""
    gate, ended = asyncio.Event(), asyncio.Event()

    async def handle(record):
        if record.body == "orphan":
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    continue
            ended.set()
            raise ValueError("too late")
        gate.set()
        await ended.wait()
        await asyncio.sleep(0)

    processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    assert ids(async_process_partial_response(make_event("orphan"), handle, processor, make_context(0.5))) == [
        "message-0"
    ]
    assert ids(async_process_partial_response(make_event("fine"), handle, processor, make_context())) == []
    assert (len(processor.exceptions), len(processor.success_messages)) == (0, 1)


def test_abandoned_def_handlers_do_not_change_the_next_response():
    """The same holds for handlers that still run on threads."""
    gate, ended = threading.Event(), threading.Event()

    class Notifying(BatchProcessor):
        def _process_record(self, record):
            entry = super()._process_record(record)
            if record["body"] == "orphan":
                ended.set()
            return entry

    def handle(record):
        if record.body == "orphan":
            gate.wait()
            raise ValueError("too late")
        gate.set()
        ended.wait()

    processor = Notifying(EventType.SQS, raise_on_entire_batch_failure=False, concurrency=2)
    assert ids(process_partial_response(make_event("orphan"), handle, processor, make_context(0.5))) == ["message-0"]
    assert ids(process_partial_response(make_event("fine"), handle, processor, make_context())) == []
    assert (len(processor.exceptions), len(processor.success_messages)) == (0, 1)


def test_batch_processor_starts_no_more_records_near_the_deadline(monkeypatch: pytest.MonkeyPatch):
    """A handler on the invocation's thread cannot be interrupted, but the next one does not start."""
    clock = ManualClock()
    monkeypatch.setattr(_processors, "deadline_of", lambda context, margin: Deadline.after(30, clock=clock))

    def handle(record):
        clock.advance(20)

    processor = BatchProcessor(EventType.SQS)
    assert ids(process_partial_response(make_event("a", "b", "c"), handle, processor, make_context())) == ["message-2"]
    assert [error[0] for error in processor.exceptions] == [NotStartedError]


class InvalidTime:
    """A context with an invalid remaining time, as in users' tests."""

    def get_remaining_time_in_millis(self) -> str:
        return "a while"


@pytest.mark.parametrize("context", [LambdaContext(), None, object(), InvalidTime()])
def test_a_context_without_a_remaining_time_means_no_deadline(context: Any):
    """Users' tests call handlers with Powertools' context, whose remaining time is 0."""

    async def handle(record):
        pass

    processor = AsyncBatchProcessor(EventType.SQS)
    assert ids(async_process_partial_response(make_event("a"), handle, processor, context)) == []
    assert ids(process_partial_response(make_event("a"), lambda record: None, BatchProcessor(EventType.SQS))) == []


def test_the_deadline_of_the_last_batch_does_not_apply_to_a_batch_without_a_context():
    """As in Powertools, the processor keeps the last invocation's context; its deadline does not apply."""

    async def handle(record):
        await asyncio.sleep(0)

    processor = AsyncBatchProcessor(EventType.SQS)
    context = make_context(30, clock=(clock := ManualClock()))
    async_process_partial_response(make_event("a"), handle, processor, context)
    clock.advance(29.9)
    assert ids(async_process_partial_response(make_event("a"), handle, processor)) == []
    assert processor.lambda_context is context


def test_the_response_contains_each_id_once_in_batch_order():
    """The order in which records end does not matter."""
    gates = [asyncio.Event() for _ in range(3)]

    async def handle(record):
        at = int(record.body)
        if at < 2:
            await gates[at + 1].wait()
        gates[at].set()
        raise ValueError(at)

    processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    event = make_event("0", "1", "2")
    event["Records"].append(dict(event["Records"][2]))
    response = async_process_partial_response(event, handle, processor, make_context())
    assert ids(response) == ["message-0", "message-1", "message-2"]


def test_an_id_that_is_not_in_the_batch_is_reported():
    """A subclass can change the IDs: Lambda then redelivers the whole batch, and no message is lost."""

    class Renaming(BatchProcessor):
        def _collect_sqs_failures(self):
            return [{"itemIdentifier": f"other-{record.messageId}"} for record in self.fail_messages]

    def handle(record):
        if record.body == "1":
            raise ValueError

    processor = Renaming(EventType.SQS, model=SqsRecordModel)
    assert ids(process_partial_response(make_event(0, 1), handle, processor)) == ["other-message-1"]


def test_all_processors_of_an_execution_environment_share_one_event_loop():
    """Creating a processor in each invocation does not leak threads."""

    async def handle(record):
        loops.add(asyncio.get_running_loop())

    loops: set[Any] = set()
    for _ in range(5):
        async_process_partial_response(make_event(1), handle, AsyncBatchProcessor(EventType.SQS), make_context())
    assert len(loops) == 1


@pytest.mark.parametrize("make", [AsyncBatchProcessor, BatchProcessor])
def test_a_missing_await_fails_its_record(make: Any):
    """So do errors that ``gather`` returned."""

    async def ship() -> None:
        raise AssertionError("it was awaited")

    def handle(record):
        return [OSError("down")] if record.body == "0" else ship()

    async def handle_async(record):
        return handle(record)

    processor = make(EventType.SQS, raise_on_entire_batch_failure=False)
    is_async = make is AsyncBatchProcessor
    process = async_process_partial_response if is_async else process_partial_response
    response = process(make_event(0, 1, 2), handle_async if is_async else handle, processor, make_context())
    assert ids(response) == ["message-0", "message-1", "message-2"]
