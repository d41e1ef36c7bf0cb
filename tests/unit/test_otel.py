"""OpenTelemetry spans that follow the messaging conventions, as the SDK records them."""

import asyncio
import logging
import threading

import pytest
from opentelemetry import propagate, trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes.aws_attributes import AWS_SQS_QUEUE_URL
from opentelemetry.semconv._incubating.attributes.faas_attributes import FAAS_TRIGGER, FaasTriggerValues
from opentelemetry.semconv._incubating.attributes.messaging_attributes import (
    MESSAGING_BATCH_MESSAGE_COUNT,
    MESSAGING_DESTINATION_NAME,
    MESSAGING_MESSAGE_ID,
    MESSAGING_OPERATION_NAME,
    MESSAGING_OPERATION_TYPE,
    MESSAGING_SYSTEM,
    MessagingOperationTypeValues,
    MessagingSystemValues,
)
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

import fanfold
from batches import swallow_until
from fanfold.otel import BatchSpans
from fanfold.testing import deliver, make_context, make_event, make_fifo_record, make_record

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
XRAY = "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=53995c3f42cd8ad8;Sampled=1"


class Recorded:
    """The SDK, with an exporter that keeps the spans in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def take(self) -> tuple[ReadableSpan, list[ReadableSpan]]:
        """Return the span of the batch and the spans of its records, by message id."""
        spans = self.exporter.get_finished_spans()
        self.exporter.clear()
        (batch,) = [span for span in spans if "fanfold.batch.failure_count" in span.attributes]
        records = [span for span in spans if "messaging.message.id" in span.attributes]
        return batch, sorted(records, key=lambda span: span.attributes["messaging.message.id"])


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


async def choose(action: str) -> None:
    match action:
        case "fail":
            raise LookupError("no such order")
        case "retry":
            raise fanfold.Retry("later", after=1)
        case "reject":
            raise fanfold.Reject("no such customer")


def test_a_batch_is_a_consumer_span_with_a_child_span_per_record(recorded: Recorded):
    """The spans have the attributes of the conventions."""
    with recorded.tracer.start_as_current_span("invocation") as invocation:
        deliver(fanfold.consumer(observers=[BatchSpans(recorded.provider)])(choose), "a", "b")
    batch, records = taken_below(recorded, invocation)
    shared = {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders",
        "aws.sqs.queue.url": "https://sqs.eu-west-1.amazonaws.com/123456789012/orders",
    }
    assert (batch.name, batch.kind) == ("process orders", SpanKind.CONSUMER)
    assert batch.attributes == {**shared, "messaging.batch.message_count": 2, "fanfold.batch.failure_count": 0}
    for number, record in enumerate(records):
        assert (record.name, record.kind) == ("process orders", SpanKind.CONSUMER)
        assert record.parent.span_id == batch.context.span_id
        assert record.attributes == {
            **shared, "messaging.message.id": f"message-{number}", "fanfold.outcome": "Done",
        }  # fmt: skip
        assert record.status.status_code is StatusCode.UNSET
        assert record.links == ()


def test_spans_follow_the_newest_conventions(recorded: Recorded, monkeypatch: pytest.MonkeyPatch):
    """If this fails with a newer SDK, compare the conventions for messaging, SQS, and Lambda with those of 1.44.0."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    deliver(fanfold.consumer(observers=[BatchSpans(recorded.provider)])(choose), "fail")
    batch, (record,) = recorded.take()
    assert batch.instrumentation_scope.schema_url == list(Schemas)[-1].value
    known = {
        MESSAGING_SYSTEM, MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE, MESSAGING_DESTINATION_NAME,
        MESSAGING_MESSAGE_ID, MESSAGING_BATCH_MESSAGE_COUNT, AWS_SQS_QUEUE_URL, FAAS_TRIGGER, ERROR_TYPE,
    }  # fmt: skip
    attributes = {**batch.attributes, **record.attributes}
    assert {name for name in attributes if not name.startswith("fanfold.")} == known
    assert attributes[MESSAGING_SYSTEM] == MessagingSystemValues.AWS_SQS.value
    assert attributes[MESSAGING_OPERATION_TYPE] == MessagingOperationTypeValues.PROCESS.value
    assert attributes[FAAS_TRIGGER] == FaasTriggerValues.PUBSUB.value


@pytest.mark.parametrize(
    ("arn", "url"),
    [
        ("arn:aws-cn:sqs:cn-north-1:1:orders.fifo", "https://sqs.cn-north-1.amazonaws.com.cn/1/orders.fifo"),
        ("arn:aws-us-gov:sqs:us-gov-west-1:1:orders", "https://sqs.us-gov-west-1.amazonaws.com/1/orders"),
        ("arn:aws-iso:sqs:us-iso-east-1:1:orders", None),
        ("arn:aws:sqs:::orders", None),
        ("", None),
    ],
)
def test_the_queue_url_follows_from_the_arn(arn: str, url: str | None, recorded: Recorded):
    """It is left out where it does not."""
    event = make_event(records=[{**make_record("a"), "eventSourceARN": arn}])
    fanfold.consumer(observers=[BatchSpans(recorded.provider)])(choose)(event, make_context())
    assert recorded.take()[0].attributes.get("aws.sqs.queue.url") == url


def taken_below(recorded: Recorded, parent: trace.Span) -> tuple[ReadableSpan, list[ReadableSpan]]:
    batch, records = recorded.take()
    assert batch.parent.span_id == parent.get_span_context().span_id
    return batch, records


def test_a_record_that_is_not_done_is_an_error_with_a_reason(recorded: Recorded):
    """A failure has its exception; a retry or a reject has the reason of the handler."""
    handler = fanfold.consumer(observers=[BatchSpans(recorded.provider)], dead_letter_queue_url="")(choose)
    deliver(handler, "done", "fail", "retry", "reject")
    batch, records = recorded.take()
    assert [(span.status.description, span.attributes.get("error.type")) for span in records] == [
        (None, None), ("LookupError", "LookupError"), ("later", "Retrying"), ("no such customer", "Rejected"),
    ]  # fmt: skip
    assert [len(span.events) for span in records] == [0, 1, 0, 0]
    assert records[1].events[0].attributes["exception.message"] == "no such order"
    assert batch.attributes["fanfold.batch.failure_count"] == 3
    assert batch.status.status_code is StatusCode.UNSET


def test_a_batch_in_which_every_record_failed_is_an_error(recorded: Recorded):
    """Such spans can trigger an alarm."""
    deliver(fanfold.consumer(observers=[BatchSpans(recorded.provider)])(choose), "fail", "fail")
    assert recorded.take()[0].status.description == "every record of the batch failed"


@pytest.mark.parametrize(
    ("attributes", "header", "linked"),
    [
        ({}, "", []),
        ({"traceparent": TRACEPARENT}, "", ["b7ad6b7169203331"]),
        ({}, XRAY, ["53995c3f42cd8ad8"]),
        ({}, "Parent=53995c3f42cd8ad8;Sampled=1;Root=1-0af76519-16cd43dd8448eb211c80319c", ["53995c3f42cd8ad8"]),
        ({"traceparent": TRACEPARENT}, XRAY, ["b7ad6b7169203331", "53995c3f42cd8ad8"]),
        ({"traceparent": TRACEPARENT}, XRAY.replace("53995c3f42cd8ad8", "b7ad6b7169203331"), ["b7ad6b7169203331"]),
        ({"traceparent": "nonsense"}, "Root=1-0;Parent=x", []),
        ({"other": "attribute"}, "Root=1-0af76519-16cd43dd8448eb211c80319c;Sampled=0", []),
    ],
)
def test_a_record_is_linked_to_the_trace_its_message_was_sent_in(attributes, header, linked, recorded: Recorded):
    """Links come from OpenTelemetry's message attribute and X-Ray's header, each once; invalid ones are ignored."""
    record = make_record(
        "a",
        attributes={"AWSTraceHeader": header} if header else {},
        message_attributes={name: {"stringValue": text, "dataType": "String"} for name, text in attributes.items()},
    )
    handler = fanfold.consumer(observers=[BatchSpans(recorded.provider)])(choose)
    assert handler(make_event(records=[record]), make_context()) == {"batchItemFailures": []}
    _, (span,) = recorded.take()
    assert [format_span_id(link.context.span_id) for link in span.links] == linked
    assert all(format_trace_id(link.context.trace_id) == "0af7651916cd43dd8448eb211c80319c" for link in span.links)
    assert all(link.context.trace_flags.sampled for link in span.links)


@pytest.mark.parametrize("distinct", [True, False])
def test_a_batch_is_linked_to_the_traces_of_its_messages(distinct: bool, recorded: Recorded):
    """Each once, and at most 128, which is what the SDK keeps; a record beyond them has its own link."""
    records = [
        make_record(
            number,
            message_id=f"m-{number}",
            attributes={"AWSTraceHeader": XRAY.replace("53995c3f42cd8ad8", f"{number + 1 if distinct else 1:016x}")},
        )
        for number in range(200)
    ]
    fanfold.consumer(observers=[BatchSpans(recorded.provider)])(choose)(make_event(records=records), make_context())
    batch, spans = recorded.take()
    assert len(batch.links) == (128 if distinct else 1)
    assert batch.dropped_links == 0
    assert all(len(span.links) == 1 for span in spans)


def test_w3c_trace_context_is_read_whatever_the_global_propagator_reads(recorded: Recorded):
    """Here, it reads nothing."""
    attribute = {"stringValue": TRACEPARENT, "dataType": "String"}
    event = make_event(records=[make_record("a", message_attributes={"traceparent": attribute})])
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(CompositePropagator([]))
    try:
        fanfold.consumer(observers=[BatchSpans(recorded.provider)])(choose)(event, make_context())
    finally:
        propagate.set_global_textmap(before)
    _, (span,) = recorded.take()
    assert [format_span_id(link.context.span_id) for link in span.links] == ["b7ad6b7169203331"]


def test_binary_message_attributes_are_not_a_trace_context(recorded: Recorded):
    """They have no string value."""
    record = make_record("a", message_attributes={"traceparent": {"binaryValue": "AAAA", "dataType": "Binary"}})
    fanfold.consumer(observers=[BatchSpans(recorded.provider)])(choose)(make_event(records=[record]), make_context())
    assert recorded.take()[1][0].links == ()


@pytest.mark.parametrize("kind", ["async", "def"])
def test_spans_of_eight_concurrent_handlers_are_children_of_their_records(kind: str, recorded: Recorded):
    """This holds on one event loop and on threads; the next batch has no parent span."""
    async_barrier, barrier = asyncio.Barrier(8), threading.Barrier(8, timeout=300)

    async def work(number: int) -> None:
        with recorded.tracer.start_as_current_span(f"work {number}"):
            await async_barrier.wait()
            for _ in range(number):
                await asyncio.sleep(0)

    def work_in_thread(number: int) -> None:
        with recorded.tracer.start_as_current_span(f"work {number}"):
            barrier.wait()

    handler = fanfold.consumer(concurrency=8, observers=[BatchSpans(recorded.provider)])(
        work if kind == "async" else work_in_thread
    )
    for _ in range(2):
        handler(make_event(*range(8)), make_context())
        spans = {span.context.span_id: span for span in recorded.exporter.get_finished_spans()}
        handler_spans = [
            (span.name, spans[span.parent.span_id].attributes["messaging.message.id"])
            for span in spans.values()
            if span.name.startswith("work")
        ]
        assert sorted(handler_spans) == [(f"work {number}", f"message-{number}") for number in range(8)]
        batch, records = recorded.take()
        assert batch.parent is None
        assert {record.parent.span_id for record in records} == {batch.context.span_id}


def test_in_a_fifo_group_a_record_that_was_not_started_has_no_span(recorded: Recorded):
    """The span of the batch still counts it."""
    actions = ("done", "fail", "done")
    event = make_event(records=[make_fifo_record(action, message_id=f"m-{n}") for n, action in enumerate(actions)])
    fanfold.consumer(observers=[BatchSpans(recorded.provider)])(choose)(event, make_context())
    batch, records = recorded.take()
    assert [record.attributes["messaging.message.id"] for record in records] == ["m-0", "m-1"]
    assert (batch.attributes["messaging.batch.message_count"], batch.attributes["fanfold.batch.failure_count"]) == (
        3,
        2,
    )


def test_the_span_of_an_abandoned_record_ends_once_with_the_batch_response(recorded: Recorded, caplog):
    """Its handler keeps running in its context; its later end logs no warning."""
    release, ended, current = asyncio.Event(), threading.Event(), []

    @fanfold.consumer(observers=[BatchSpans(recorded.provider)])
    async def stuck(number: int) -> None:
        if number == 2:
            release.set()
        await swallow_until(release)
        current.append(trace.get_current_span().get_span_context().span_id)
        if number == 1:
            ended.set()

    stuck(make_event(1), make_context(seconds=0.2))
    _, (span,) = recorded.take()
    assert (span.attributes["error.type"], span.status.status_code) == ("AbandonedError", StatusCode.ERROR)
    with caplog.at_level(logging.WARNING, "opentelemetry"):
        stuck(make_event(2), make_context())
        assert ended.wait(300)
        stuck.close()
    _, (other,) = recorded.take()
    assert set(current) == {span.context.span_id, other.context.span_id}
    assert not [line for line in caplog.records if line.name.startswith("opentelemetry")]


def test_a_call_of_several_records_is_one_span_linked_to_all_of_their_traces(recorded: Recorded):
    """The span is an error if any of the records is not done."""

    @fanfold.consumer(chunk_size=2, observers=[BatchSpans(recorded.provider)])
    async def several(numbers: list[int]) -> list:
        return [None, ValueError("second")]

    headers = (XRAY, XRAY.replace("53995c3f42cd8ad8", "1111111111111111"))
    records = [make_record(n, message_id=f"m-{n}", attributes={"AWSTraceHeader": headers[n]}) for n in (0, 1)]
    several(make_event(records=records), make_context())
    call, _ = recorded.exporter.get_finished_spans()
    assert call.attributes["messaging.batch.message_count"] == 2
    assert call.attributes["error.type"] == "ValueError"
    assert len(call.links) == 2


def test_an_empty_batch_has_no_span(recorded: Recorded):
    """Without records, no span is opened."""
    fanfold.consumer(observers=[BatchSpans(recorded.provider)])(choose)(make_event(), make_context())
    assert recorded.exporter.get_finished_spans() == ()


def test_without_an_sdk_no_span_is_recorded_and_the_batch_succeeds():
    """The extra installs only the API."""
    result = deliver(fanfold.consumer(observers=[BatchSpans()])(choose), "a", "fail")
    assert result.response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert BatchSpans().batch_started(result.records, None) is None
