"""What Powertools' batch processors promise, asked of theirs and of fanfold's drop-ins."""

from __future__ import annotations

import asyncio
import base64
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_lambda_powertools.utilities import batch as theirs
from aws_lambda_powertools.utilities.batch.exceptions import (
    BatchProcessingError,
    SQSFifoCircuitBreakerError,
    SQSFifoMessageGroupCircuitBreakerError,
    UnexpectedBatchTypeError,
)
from aws_lambda_powertools.utilities.parser.models import DynamoDBStreamRecordModel, SqsRecordModel
from pydantic import BaseModel, Json

from fanfold import powertools as ours
from fanfold.testing import make_context, make_event, make_fifo_record

EventType = theirs.EventType


@pytest.fixture(params=[theirs, ours], ids=["powertools", "fanfold"])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Powertools' batch module, and the module that takes its place."""
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield request.param
    asyncio.set_event_loop(None)
    loop.close()


class Kind:
    """One of the two ways to run records."""

    def __init__(self, batch: Any, name: str) -> None:
        self.is_async = name == "async"
        self.processor: type = batch.AsyncBatchProcessor if self.is_async else batch.BatchProcessor
        self.respond: Callable[..., Any] = (
            batch.async_process_partial_response if self.is_async else batch.process_partial_response
        )
        self.decorate: Callable[..., Any] = batch.async_batch_processor if self.is_async else batch.batch_processor

    def run(self, processor: Any) -> list[tuple[Any, ...]]:
        return processor.async_process() if self.is_async else processor.process()

    def handler(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return a record handler of the kind that does this work."""
        if not self.is_async:
            return work

        async def handle(record):
            await asyncio.sleep(0)
            return work(record)

        return handle


@pytest.fixture(params=["plain", "async"])
def kind(request: pytest.FixtureRequest, batch: Any) -> Kind:
    return Kind(batch, request.param)


def ids(response: Any) -> list[Any]:
    return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


def fails_on(*bodies: str) -> Callable[[Any], str]:
    def work(record: Any) -> str:
        if record.body in bodies:
            raise ValueError(f"no {record.body}")
        return f"did {record.body}"

    return work


def kinesis_event(*payloads: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventSource": "aws:kinesis",
                "kinesis": {"sequenceNumber": f"k-{at}", "data": base64.b64encode(payload.encode()).decode()},
            }
            for at, payload in enumerate(payloads)
        ]
    }


def stream_event(*names: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventID": str(at),
                "eventName": "INSERT",
                "eventVersion": "1.0",
                "eventSource": "aws:dynamodb",
                "awsRegion": "eu-west-1",
                "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/t/stream/s",
                "dynamodb": {
                    "SequenceNumber": f"d-{at}",
                    "SizeBytes": 1,
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                    "ApproximateCreationDateTime": 1767225600,
                    "Keys": {"name": {"S": name}},
                    "NewImage": {"name": {"S": name}},
                },
            }
            for at, name in enumerate(names)
        ]
    }


def fifo_event(*entries: tuple[str, str]) -> dict[str, Any]:
    return make_event(
        records=[
            make_fifo_record(body, group=group, message_id=f"message-{at}") for at, (group, body) in enumerate(entries)
        ]
    )


def test_the_response_names_what_failed(kind: Kind):
    """The others are acknowledged."""
    processor = kind.processor(event_type=EventType.SQS)
    response = kind.respond(make_event("a", "b", "c"), kind.handler(fails_on("b")), processor, make_context())
    assert response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert processor.response() == response


def test_a_batch_that_succeeds_reports_nothing(kind: Kind):
    """An empty list deletes the batch."""
    processor = kind.processor(EventType.SQS)
    assert ids(kind.respond(make_event("a", "b"), kind.handler(fails_on()), processor)) == []


def test_a_batch_of_which_all_failed_raises(kind: Kind):
    """Lambda polls more slowly then; the error carries what each record raised."""
    processor = kind.processor(event_type=EventType.SQS)
    with pytest.raises(BatchProcessingError, match=r"All records failed processing\. 2 individual errors") as error:
        kind.respond(make_event("a", "b"), kind.handler(fails_on("a", "b")), processor, make_context())
    assert [child[0] for child in error.value.child_exceptions] == [ValueError, ValueError]


def test_a_batch_of_which_all_failed_is_reported_when_asked_for(kind: Kind):
    """``raise_on_entire_batch_failure=False`` makes it a response like any other."""
    processor = kind.processor(EventType.SQS, raise_on_entire_batch_failure=False)
    response = kind.respond(make_event("a", "b"), kind.handler(fails_on("a", "b")), processor, make_context())
    assert ids(response) == ["message-0", "message-1"]


def test_what_succeeded_and_failed_is_on_the_processor(kind: Kind):
    """Within the context manager, and after it until the next batch."""
    processor = kind.processor(event_type=EventType.SQS)
    records = make_event("a", "b", "c")["Records"]
    with processor(records, kind.handler(fails_on("b"))):
        results = kind.run(processor)
    assert [(entry[0], entry[1]) for entry in results] == [
        ("success", "did a"),
        ("fail", "<class 'ValueError'>:no b"),
        ("success", "did c"),
    ]
    assert results[0][2] is records[0]
    assert processor.success_messages == [records[0], records[2]]
    assert [record.message_id for record in processor.fail_messages] == ["message-1"]
    assert [str(error[1]) for error in processor.exceptions] == ["no b"]
    with processor(records, kind.handler(fails_on())):
        kind.run(processor)
    assert (processor.fail_messages, processor.exceptions, ids(processor.response())) == ([], [], [])


def test_the_decorator_runs_the_batch_before_the_handler(kind: Kind):
    """The handler returns the processor's response, and may look at it first."""
    processor = kind.processor(event_type=EventType.SQS)

    @kind.decorate(record_handler=kind.handler(fails_on("b")), processor=processor)
    def lambda_handler(event, context):
        return processor.response()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Powertools means to drop the decorator
        assert ids(lambda_handler(make_event("a", "b"), make_context())) == ["message-1"]


def test_kinesis_records_are_told_by_their_sequence_numbers(kind: Kind):
    """The record handler is given Powertools' data class."""

    def work(record: Any) -> None:
        if record.kinesis.data_as_text() == "bad":
            raise ValueError

    processor = kind.processor(event_type=EventType.KinesisDataStreams)
    response = kind.respond(kinesis_event("good", "bad", "good"), kind.handler(work), processor, make_context())
    assert ids(response) == ["k-1"]


def test_stream_records_of_dynamodb_are_told_by_their_sequence_numbers(kind: Kind):
    """The record handler is given Powertools' data class."""

    def work(record: Any) -> None:
        if record.dynamodb.new_image["name"] == "bad":
            raise ValueError

    processor = kind.processor(event_type=EventType.DynamoDBStreams)
    response = kind.respond(stream_event("good", "bad", "bad"), kind.handler(work), processor, make_context())
    assert ids(response) == ["d-1", "d-2"]


def test_records_of_kafka_are_told_by_partition_and_offset(kind: Kind):
    """The event holds them by topic and partition."""

    def work(record: Any) -> None:
        if record.offset == 1:
            raise ValueError

    records = [{"topic": "t", "partition": 0, "offset": offset, "key": None, "value": "eA=="} for offset in range(3)]
    event = {"eventSource": "aws:kafka", "records": {"t-0": records}}
    processor = kind.processor(event_type=EventType.Kafka)
    assert ids(kind.respond(event, kind.handler(work), processor, make_context())) == [
        {"partition": "t-0", "offset": 1}
    ]


class Order(BaseModel):
    number: int


class OrderRecord(SqsRecordModel):
    body: Json[Order]


def test_models_are_validated_and_what_does_not_fit_fails_alone(kind: Kind):
    """The handler is given the model; a poison record is reported by the id of its message."""
    seen = []
    event = make_event({"number": 1}, {"number": "poison"}, {"number": 3})
    processor = kind.processor(EventType.SQS, OrderRecord)
    handler = kind.handler(lambda record: seen.append(record.body.number))
    assert ids(kind.respond(event, handler, processor, make_context())) == ["message-1"]
    assert seen == [1, 3]


def test_a_handler_that_fails_a_valid_model_is_reported_by_its_message(kind: Kind):
    """Models have the event's names where data classes have Python's."""

    def work(record: Any) -> None:
        if record.body.number == 2:
            raise ValueError

    processor = kind.processor(event_type=EventType.SQS, model=OrderRecord)
    response = kind.respond(make_event({"number": 1}, {"number": 2}), kind.handler(work), processor, make_context())
    assert ids(response) == ["message-1"]
    assert isinstance(processor.fail_messages[0], OrderRecord)


def test_models_of_stream_records_are_validated(kind: Kind):
    """DynamoDB's too."""

    def work(record: Any) -> None:
        if record.dynamodb.SequenceNumber == "d-1":
            raise ValueError

    processor = kind.processor(event_type=EventType.DynamoDBStreams, model=DynamoDBStreamRecordModel)
    assert ids(kind.respond(stream_event("a", "b"), kind.handler(work), processor, make_context())) == ["d-1"]


def test_a_record_handler_that_asks_for_it_is_given_the_lambda_context(kind: Kind):
    """By the name of its parameter; it is on the processor too."""
    context, seen = make_context(), []

    def handle(record, lambda_context):
        seen.append(lambda_context)

    async def handle_async(record, lambda_context):
        seen.append(lambda_context)

    processor = kind.processor(event_type=EventType.SQS)
    kind.respond(make_event("a"), handle_async if kind.is_async else handle, processor, context)
    assert seen == [context]
    assert processor.lambda_context is context


@pytest.mark.parametrize("event", [{}, {"Records": []}, {"Records": "x"}])
def test_an_event_without_records_is_refused(kind: Kind, event: dict[str, Any]):
    """Nothing has run."""
    processor = kind.processor(event_type=EventType.SQS)
    with pytest.raises(UnexpectedBatchTypeError, match="Unexpected batch event type"):
        kind.respond(event, kind.handler(fails_on()), processor)


def test_an_event_that_is_no_object_is_refused(kind: Kind):
    """With a word of what it should be."""
    with pytest.raises(ValueError, match="Invalid event format"):
        kind.respond("event", kind.handler(fails_on()), kind.processor(event_type=EventType.SQS))


def test_hooks_of_a_subclass_are_called(kind: Kind):
    """Those users override to count and to log: around the batch, and when a record succeeds or fails."""
    calls: list[Any] = []

    class Watching(kind.processor):
        def _prepare(self):
            calls.append("prepare")
            super()._prepare()

        def _clean(self):
            calls.append("clean")
            super()._clean()

        def success_handler(self, record, result):
            calls.append(result)
            return super().success_handler(record, result)

        def failure_handler(self, record, exception):
            calls.append(exception[0])
            return super().failure_handler(record, exception)

    processor = Watching(event_type=EventType.SQS)
    assert ids(kind.respond(make_event("a", "b"), kind.handler(fails_on("b")), processor, make_context())) == [
        "message-1"
    ]
    assert calls == ["prepare", "did a", ValueError, "clean"]


def test_a_subclass_may_run_a_record_its_own_way(kind: Kind):
    """``_process_record`` and ``_async_process_record`` are the places."""
    seen: list[str] = []

    class Around(kind.processor):
        def _process_record(self, record):
            seen.append(record["messageId"])
            return super()._process_record(record)

        async def _async_process_record(self, record):
            seen.append(record["messageId"])
            return await super()._async_process_record(record)

    processor = Around(event_type=EventType.SQS)
    kind.respond(make_event("a", "b"), kind.handler(fails_on()), processor, make_context())
    assert seen == ["message-0", "message-1"]


def test_hooks_of_a_subclass_may_return_nothing(kind: Kind):
    """What counts is what they hand on to Powertools' own."""

    class Silent(kind.processor):
        def success_handler(self, record, result):
            super().success_handler(record, result)

        def failure_handler(self, record, exception):
            super().failure_handler(record, exception)

    processor = Silent(event_type=EventType.SQS)
    assert ids(kind.respond(make_event("a", "b"), kind.handler(fails_on("b")), processor, make_context())) == [
        "message-1"
    ]
    assert (len(processor.success_messages), len(processor.exceptions)) == (1, 1)


def test_a_subclass_may_hide_a_failure(kind: Kind):
    """What ``failure_handler`` does not hand on is not reported: that is the subclass's own decision."""

    class Forgiving(kind.processor):
        def failure_handler(self, record, exception):
            return self.success_handler(record, "forgiven")

    processor = Forgiving(event_type=EventType.SQS)
    assert ids(kind.respond(make_event("a", "b"), kind.handler(fails_on("b")), processor, make_context())) == []


def test_a_hook_that_raises_brings_the_batch_back(kind: Kind):
    """As users have it who want to stop at the first failure."""

    class Strict(kind.processor):
        def failure_handler(self, record, exception):
            raise LookupError("stop")

    with pytest.raises(LookupError, match="stop"):
        kind.respond(make_event("a", "b"), kind.handler(fails_on("a")), Strict(EventType.SQS), make_context())


def test_fifo_stops_at_the_first_failure(batch: Any):
    """All that comes after it is reported, with the reason."""
    done: list[str] = []

    def handle(record):
        fails_on("b")(record)
        done.append(record.body)

    processor = batch.SqsFifoPartialProcessor()
    event = fifo_event(("g", "a"), ("g", "b"), ("h", "c"), ("g", "d"))
    assert ids(batch.process_partial_response(event, handle, processor, make_context())) == [
        "message-1",
        "message-2",
        "message-3",
    ]
    assert done == ["a"]
    assert [error[0] for error in processor.exceptions] == [ValueError, *[SQSFifoCircuitBreakerError] * 2]


def test_fifo_leaves_the_group_of_a_failure_alone_when_asked_to(batch: Any):
    """Other groups go on."""
    done: list[str] = []

    def handle(record):
        fails_on("b")(record)
        done.append(record.body)

    processor = batch.SqsFifoPartialProcessor(skip_group_on_error=True)
    event = fifo_event(("g", "a"), ("g", "b"), ("h", "c"), ("g", "d"))
    assert ids(batch.process_partial_response(event, handle, processor, make_context())) == ["message-1", "message-3"]
    assert done == ["a", "c"]
    assert [error[0] for error in processor.exceptions] == [ValueError, SQSFifoMessageGroupCircuitBreakerError]


def test_fifo_starts_the_next_batch_afresh(batch: Any):
    """A group that failed is no longer skipped."""
    processor = batch.SqsFifoPartialProcessor(skip_group_on_error=True)
    event = fifo_event(("g", "a"), ("h", "b"))
    assert ids(batch.process_partial_response(event, fails_on("a"), processor)) == ["message-0"]
    assert ids(batch.process_partial_response(event, fails_on(), processor)) == []


def test_the_plain_processor_has_no_async_form_and_the_async_one_no_plain_form(batch: Any):
    """Each says so."""
    with pytest.raises(NotImplementedError):
        batch.process_partial_response(make_event("a"), print, batch.AsyncBatchProcessor(EventType.SQS))


def test_drop_ins_are_what_they_replace():
    """Code that asks ``isinstance`` goes on working, and every name can be imported from the one module."""
    for name in ("AsyncBatchProcessor", "BatchProcessor", "SqsFifoPartialProcessor"):
        assert issubclass(getattr(ours, name), getattr(theirs, name))
    assert set(theirs.__all__) <= set(ours.__all__)
    assert not [name for name in ours.__all__ if not hasattr(ours, name)]
