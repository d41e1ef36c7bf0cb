"""What fanfold's drop-ins do that Powertools' classes do not; what they share is in the contract."""

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
    """Ten thousand records, never more than the bound in flight."""
    gauge = Gauge()

    async def handle(record):
        await gauge(record)

    processor = AsyncBatchProcessor(event_type=EventType.SQS, concurrency=25)
    response = async_process_partial_response(make_event(*range(10_000)), handle, processor, make_context())
    assert (ids(response), gauge.most, len(processor.success_messages)) == ([], 25, 10_000)


@pytest.mark.parametrize("make", [AsyncBatchProcessor, BatchProcessor])
def test_an_impossible_bound_is_refused_at_construction(make: Any):
    """With a word of what it should be."""
    with pytest.raises(ConfigurationError, match="concurrency must be an integer of at least 1, not 0"):
        make(EventType.SQS, concurrency=0)


def test_one_cancelled_error_fails_one_record():
    """What succeeded beside it is acknowledged."""

    async def handle(record):
        if record.body == "1":
            raise asyncio.CancelledError

    processor = AsyncBatchProcessor(EventType.SQS)
    assert ids(async_process_partial_response(make_event(0, 1, 2), handle, processor, make_context())) == ["message-1"]
    assert [error[0] for error in processor.exceptions] == [asyncio.CancelledError]


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, BaseExceptionGroup("all", [SystemExit()])])
def test_whatever_a_plain_handler_raises_fails_one_record(error: Any):
    """The invocation goes on."""

    def handle(record):
        if record.body == "1":
            raise error

    processor = BatchProcessor(EventType.SQS)
    assert ids(process_partial_response(make_event(0, 1, 2), handle, processor)) == ["message-1"]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_interrupt_of_a_plain_handler_ends_the_run(concurrency: int):
    """Ctrl-C is the user's."""

    def handle(record):
        raise KeyboardInterrupt

    processor = BatchProcessor(EventType.SQS, concurrency=concurrency)
    with pytest.raises(KeyboardInterrupt):
        process_partial_response(make_event(0, 1), handle, processor)


def test_an_async_handler_is_refused_by_the_plain_processor():
    """Nothing is acknowledged that never ran; the error names the way out."""

    async def handle(record):
        raise AssertionError

    with pytest.raises(ConfigurationError, match=r"handle is an async def.*use AsyncBatchProcessor"):
        process_partial_response(make_event("a"), handle, BatchProcessor(EventType.SQS))
    with pytest.raises(ConfigurationError, match="never run"):
        process_partial_response(make_event("a"), functools.partial(handle), SqsFifoPartialProcessor())


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_async_handler_in_disguise_is_never_acknowledged(concurrency: int):
    """A lambda around it is only told by what it returns."""

    async def handle(record):
        raise AssertionError

    processor = BatchProcessor(EventType.SQS, concurrency=concurrency)
    with pytest.raises(BatchProcessingError, match="use AsyncBatchProcessor"):
        process_partial_response(make_event("a", "b"), lambda record: handle(record=record), processor)
    assert processor.success_messages == []


def test_a_plain_handler_works_with_the_async_processor():
    """It runs on threads, once for each record; the handler is the user's own again afterwards."""
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


def test_the_plain_processor_runs_on_the_invocations_thread_unless_asked_for_more():
    """As Powertools does; with a bound above one, that many threads."""
    barrier, threads = threading.Barrier(2, timeout=10), []

    def handle(record):
        threads.append(threading.current_thread())

    def handle_in_pairs(record):
        barrier.wait()

    process_partial_response(make_event("a", "b"), handle, BatchProcessor(EventType.SQS))
    assert threads == [threading.main_thread()] * 2

    processor = BatchProcessor(EventType.SQS, concurrency=2)
    assert ids(process_partial_response(make_event("a", "b"), handle_in_pairs, processor, make_context())) == []


def test_the_async_processor_answers_before_the_end():
    """What ran is cancelled, what did not start is reported; what was done stays done."""

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


def test_the_answer_comes_although_a_handler_blocks_the_loop():
    """The processor's next batch runs on a loop that turns."""
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
    """It is in no list of successes either."""

    async def handle(record):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"

    processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    assert ids(async_process_partial_response(make_event("a"), handle, processor, make_context(0.5))) == ["message-0"]
    assert processor.success_messages == []


def test_orphans_never_reach_the_next_response():
    """A handler that outlives its batch says nothing that counts: an id of another batch brings back the whole one."""
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


def test_orphans_on_threads_never_reach_the_next_response():
    """Nor do plain handlers that sit in their threads."""
    gate, ended = threading.Event(), threading.Event()

    class Telling(BatchProcessor):
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

    processor = Telling(EventType.SQS, raise_on_entire_batch_failure=False, concurrency=2)
    assert ids(process_partial_response(make_event("orphan"), handle, processor, make_context(0.5))) == ["message-0"]
    assert ids(process_partial_response(make_event("fine"), handle, processor, make_context())) == []
    assert (len(processor.exceptions), len(processor.success_messages)) == (0, 1)


def test_the_plain_processor_starts_nothing_more_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch):
    """A handler on the invocation's thread cannot be interrupted; the next one is not called."""
    clock = ManualClock()
    monkeypatch.setattr(_processors, "deadline_of", lambda context, margin: Deadline.after(30, clock=clock))

    def handle(record):
        clock.advance(20)

    processor = BatchProcessor(EventType.SQS)
    assert ids(process_partial_response(make_event("a", "b", "c"), handle, processor, make_context())) == ["message-2"]
    assert [error[0] for error in processor.exceptions] == [NotStartedError]


class TellsNoTime:
    """A context as users' tests make one up."""

    def get_remaining_time_in_millis(self) -> str:
        return "a while"


@pytest.mark.parametrize("context", [LambdaContext(), None, object(), TellsNoTime()])
def test_a_made_up_context_without_a_time_is_no_deadline(context: Any):
    """Users' tests call handlers with Powertools' own context, whose time left is 0."""

    async def handle(record):
        pass

    processor = AsyncBatchProcessor(EventType.SQS)
    assert ids(async_process_partial_response(make_event("a"), handle, processor, context)) == []
    assert ids(process_partial_response(make_event("a"), lambda record: None, BatchProcessor(EventType.SQS))) == []


def test_a_deadline_is_not_carried_over_to_a_batch_without_a_context():
    """The last invocation's context stays on the processor, as in Powertools; its time does not."""

    async def handle(record):
        await asyncio.sleep(0)

    processor = AsyncBatchProcessor(EventType.SQS)
    context = make_context(30, clock=(clock := ManualClock()))
    async_process_partial_response(make_event("a"), handle, processor, context)
    clock.advance(29.9)
    assert ids(async_process_partial_response(make_event("a"), handle, processor)) == []
    assert processor.lambda_context is context


def test_the_response_is_in_batch_order_each_id_once():
    """Whatever ended first."""
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


def test_an_id_that_is_not_of_the_batch_is_reported_too():
    """A subclass may name records its own way: Lambda delivers all again, where a guess would lose a message."""

    class Renaming(BatchProcessor):
        def _collect_sqs_failures(self):
            return [{"itemIdentifier": f"other-{record.messageId}"} for record in self.fail_messages]

    def handle(record):
        if record.body == "1":
            raise ValueError

    processor = Renaming(EventType.SQS, model=SqsRecordModel)
    assert ids(process_partial_response(make_event(0, 1), handle, processor)) == ["other-message-1"]


def test_all_processors_of_an_execution_environment_share_one_event_loop():
    """A processor made in each invocation leaves no thread behind."""

    async def handle(record):
        loops.add(asyncio.get_running_loop())

    loops: set[Any] = set()
    for _ in range(5):
        async_process_partial_response(make_event(1), handle, AsyncBatchProcessor(EventType.SQS), make_context())
    assert len(loops) == 1


@pytest.mark.parametrize("make", [AsyncBatchProcessor, BatchProcessor])
def test_a_forgotten_await_is_reported(make: Any):
    """And so are errors that gather gave back."""

    async def ship() -> None:
        raise AssertionError("nobody awaits it")

    def handle(record):
        return [OSError("down")] if record.body == "0" else ship()

    async def handle_async(record):
        return handle(record)

    processor = make(EventType.SQS, raise_on_entire_batch_failure=False)
    is_async = make is AsyncBatchProcessor
    process = async_process_partial_response if is_async else process_partial_response
    response = process(make_event(0, 1, 2), handle_async if is_async else handle, processor, make_context())
    assert ids(response) == ["message-0", "message-1", "message-2"]
