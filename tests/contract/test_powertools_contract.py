"""Contract of batch processors, for Powertools' own and for fanfold's drop-ins."""

import base64
import warnings
from typing import Any

import pytest
from aws_lambda_powertools.utilities import batch as theirs
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError, UnexpectedBatchTypeError
from aws_lambda_powertools.utilities.parser.models import DynamoDBStreamRecordModel, SqsRecordModel
from pydantic import BaseModel, Json

from batches import ids
from fanfold import powertools as ours
from fanfold.testing import make_context, make_event
from powertools_kinds import EventType, Kind, fails_if, fails_on


def kinesis_event(*payloads: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventSource": "aws:kinesis",
                "kinesis": {"sequenceNumber": f"k-{position}", "data": base64.b64encode(payload.encode()).decode()},
            }
            for position, payload in enumerate(payloads)
        ]
    }


def stream_event(*names: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventID": str(position),
                "eventName": "INSERT",
                "eventVersion": "1.0",
                "eventSource": "aws:dynamodb",
                "awsRegion": "eu-west-1",
                "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/t/stream/s",
                "dynamodb": {
                    "SequenceNumber": f"d-{position}",
                    "SizeBytes": 1,
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                    "ApproximateCreationDateTime": 1767225600,
                    "Keys": {"name": {"S": name}},
                    "NewImage": {"name": {"S": name}},
                },
            }
            for position, name in enumerate(names)
        ]
    }


def test_the_response_lists_the_failed_records(kind: Kind):
    """All other records are acknowledged."""
    processor = kind.processor(event_type=EventType.SQS)
    response = kind.respond(make_event("a", "b", "c"), kind.handler(fails_on("b")), processor, make_context())
    assert response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert processor.response() == response


def test_a_batch_that_succeeds_reports_nothing(kind: Kind):
    """An empty list acknowledges the whole batch."""
    processor = kind.processor(EventType.SQS)
    assert ids(kind.respond(make_event("a", "b"), kind.handler(fails_on()), processor)) == []


def test_a_batch_in_which_all_records_failed_raises(kind: Kind):
    """The exception makes Lambda poll more slowly, and has the exception of each record."""
    processor = kind.processor(event_type=EventType.SQS)
    with pytest.raises(BatchProcessingError, match=r"All records failed processing\. 2 individual errors") as error:
        kind.respond(make_event("a", "b"), kind.handler(fails_on("a", "b")), processor, make_context())
    assert [child[0] for child in error.value.child_exceptions] == [ValueError, ValueError]


def test_a_batch_in_which_all_records_failed_can_be_reported(kind: Kind):
    """With ``raise_on_entire_batch_failure=False``, the response lists all records."""
    processor = kind.processor(EventType.SQS, raise_on_entire_batch_failure=False)
    response = kind.respond(make_event("a", "b"), kind.handler(fails_on("a", "b")), processor, make_context())
    assert ids(response) == ["message-0", "message-1"]


def test_the_processor_has_the_results_of_the_batch(kind: Kind):
    """They are available inside the context manager, and afterwards until the next batch."""
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
    """The handler can read the processor's response before it returns it."""
    processor = kind.processor(event_type=EventType.SQS)

    @kind.decorate(record_handler=kind.handler(fails_on("b")), processor=processor)
    def lambda_handler(event, context):
        return processor.response()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Powertools has deprecated the decorator
        assert ids(lambda_handler(make_event("a", "b"), make_context())) == ["message-1"]


def test_kinesis_records_are_identified_by_sequence_number(kind: Kind):
    """The record handler receives Powertools' data class."""
    work = fails_if(lambda record: record.kinesis.data_as_text() == "bad")
    processor = kind.processor(event_type=EventType.KinesisDataStreams)
    response = kind.respond(kinesis_event("good", "bad", "good"), kind.handler(work), processor, make_context())
    assert ids(response) == ["k-1"]


def test_dynamodb_stream_records_are_identified_by_sequence_number(kind: Kind):
    """The record handler receives Powertools' data class."""
    work = fails_if(lambda record: record.dynamodb.new_image["name"] == "bad")
    processor = kind.processor(event_type=EventType.DynamoDBStreams)
    response = kind.respond(stream_event("good", "bad", "bad"), kind.handler(work), processor, make_context())
    assert ids(response) == ["d-1", "d-2"]


def test_kafka_records_are_identified_by_partition_and_offset(kind: Kind):
    """The event groups them by topic and partition."""
    work = fails_if(lambda record: record.offset == 1)
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


def test_only_records_that_do_not_fit_the_model_fail(kind: Kind):
    """The handler receives the model; an invalid record is reported by its message ID."""
    seen = []
    event = make_event({"number": 1}, {"number": "poison"}, {"number": 3})
    processor = kind.processor(EventType.SQS, OrderRecord)
    handler = kind.handler(lambda record: seen.append(record.body.number))
    assert ids(kind.respond(event, handler, processor, make_context())) == ["message-1"]
    assert seen == [1, 3]


def test_a_failed_record_with_a_model_is_reported_by_its_message_id(kind: Kind):
    """Models have the field names of the event; data classes have Python names."""
    work = fails_if(lambda record: record.body.number == 2)
    processor = kind.processor(event_type=EventType.SQS, model=OrderRecord)
    response = kind.respond(make_event({"number": 1}, {"number": 2}), kind.handler(work), processor, make_context())
    assert ids(response) == ["message-1"]
    assert isinstance(processor.fail_messages[0], OrderRecord)


def test_models_of_stream_records_are_validated(kind: Kind):
    """This works for DynamoDB stream records, too."""
    work = fails_if(lambda record: record.dynamodb.SequenceNumber == "d-1")
    processor = kind.processor(event_type=EventType.DynamoDBStreams, model=DynamoDBStreamRecordModel)
    assert ids(kind.respond(stream_event("a", "b"), kind.handler(work), processor, make_context())) == ["d-1"]


def test_a_record_handler_can_receive_the_lambda_context(kind: Kind):
    """It receives the context as a parameter of this name; the processor has it, too."""
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
    """No handler runs."""
    processor = kind.processor(event_type=EventType.SQS)
    with pytest.raises(UnexpectedBatchTypeError, match="Unexpected batch event type"):
        kind.respond(event, kind.handler(fails_on()), processor)


def test_an_event_that_is_not_a_json_object_is_refused(kind: Kind):
    """The error states the expected format."""
    with pytest.raises(ValueError, match="Invalid event format"):
        kind.respond("event", kind.handler(fails_on()), kind.processor(event_type=EventType.SQS))


def test_an_async_processor_cannot_process_synchronously(batch: Any):
    """``process_partial_response`` raises NotImplementedError."""
    with pytest.raises(NotImplementedError):
        batch.process_partial_response(make_event("a"), print, batch.AsyncBatchProcessor(EventType.SQS))


def test_drop_ins_are_subclasses_of_the_classes_they_replace():
    """``isinstance`` checks still work, and ``fanfold.powertools`` exports every name of Powertools' module."""
    for name in ("AsyncBatchProcessor", "BatchProcessor", "SqsFifoPartialProcessor"):
        assert issubclass(getattr(ours, name), getattr(theirs, name))
    assert set(theirs.__all__) <= set(ours.__all__)
    assert not [name for name in ours.__all__ if not hasattr(ours, name)]
