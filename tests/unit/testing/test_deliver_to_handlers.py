"""``deliver`` to what decorators make of a consumer, to Lambda handlers, and to what is neither."""

import functools
import json
from typing import Any

import pytest
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

import fanfold
from fanfold.errors import ConfigurationError
from fanfold.powertools import (
    AsyncBatchProcessor,
    BatchProcessor,
    EventType,
    async_process_partial_response,
    process_partial_response,
)
from fanfold.testing import deliver, make_event, make_fair_record, make_fifo_record, make_record


@fanfold.consumer(backoff=fanfold.Backoff(), dead_letter_queue_url="https://127.0.0.1:1/dead")
async def consumer(body: str) -> str:
    if body == "fail":
        raise ValueError(body)
    if body == "reject":
        raise fanfold.Reject(body)
    return body


def kinds(result: fanfold.BatchResult) -> list[str]:
    return [type(outcome).__name__ for outcome in result.outcomes]


def test_decorators_of_powertools_around_a_consumer_run(capsys, monkeypatch):
    """The outcomes are those of the consumer; the metrics are written at the end of the batch."""
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    metrics = Metrics(namespace="shop", service="orders")

    @fanfold.consumer
    def count(body: str) -> None:
        metrics.add_metric(name="Shipped", unit=MetricUnit.Count, value=1)

    handler = Logger(service="orders").inject_lambda_context(
        metrics.log_metrics(Tracer(service="orders", auto_patch=False).capture_lambda_handler(count))
    )
    result = deliver(handler, "a", "b")
    assert kinds(result) == ["Done", "Done"]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["Shipped"] == [1.0, 1.0]
    metrics.clear_metrics()


def test_the_outcomes_of_a_wrapped_consumer_are_its_own_and_no_queue_is_called():
    """Delays and dead letters count as accepted, as for the consumer itself."""

    @functools.wraps(consumer)
    def handler(event: Any, context: Any) -> Any:
        return consumer(event, context)

    bodies = ("a", "fail", "reject")
    assert deliver(handler, *bodies).response == deliver(consumer, *bodies).response
    outcomes = deliver(handler, *bodies).outcomes
    assert outcomes[0] == fanfold.Done("a")
    assert isinstance(outcomes[1], fanfold.Failed)
    assert outcomes[2] == fanfold.Rejected("reject", forwarded=True)


def test_a_lambda_handler_that_calls_a_consumer_is_delivered_to():
    """Without ``functools.wraps``, too; the handler may change the response."""

    def handler(event: Any, context: Any) -> Any:
        assert context.get_remaining_time_in_millis() <= 5_000
        failures = consumer(event, context)["batchItemFailures"]
        return {"batchItemFailures": [*failures, {"itemIdentifier": "message-0"}]}

    result = deliver(handler, "a", "fail", "b", seconds=5)
    assert kinds(result) == ["Failed", "Failed", "Done"]
    assert "reports this message as a failure" in str(result.outcomes[0].error)
    assert result.outcomes[2] == fanfold.Done("b")
    assert kinds(deliver(lambda event, context: {"batchItemFailures": []}, "fail")) == ["Done"]


async def work(record: Any) -> None:
    if record.body == "fail":
        raise ValueError(record.body)


def test_the_drop_ins_are_delivered_to():
    """Their handlers return a batch response, which states the outcomes."""
    processor = AsyncBatchProcessor(event_type=EventType.SQS)
    assert kinds(
        deliver(lambda event, context: async_process_partial_response(event, work, processor, context), "a", "fail")
    ) == ["Done", "Failed"]
    sync = BatchProcessor(event_type=EventType.SQS)

    def ship(record: Any) -> None:
        assert record.body != "fail"

    assert kinds(deliver(lambda event, context: process_partial_response(event, ship, sync, context), "fail", "a")) == [
        "Failed",
        "Done",
    ]


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (BatchProcessor(event_type=EventType.SQS), "a batch processor of Powertools; pass the function that calls it"),
        (BatchProcessor, "it is not a function"),
        ("handler", "it is not a function"),
        (work, "Lambda does not await an async def"),
        (lambda body: None, "it does not take an event and a context"),
    ],
)
def test_what_lambda_could_not_call_is_refused(handler: Any, reason: str):
    """Nothing has run; the error names the reason."""
    with pytest.raises(ConfigurationError, match=f"deliver needs a handler decorated with.*{reason}"):
        deliver(handler, "a")


@pytest.mark.parametrize("response", [None, {}, [], "done", {"batchItemFailures": None}])
def test_a_handler_that_returns_no_batch_response_is_an_error(response: Any):
    """It may be a handler of one message without its decorator, and must not seem to succeed."""
    with pytest.raises(ConfigurationError, match=r"not a batch response .* needs @fanfold\.consumer"):
        deliver(lambda event, context: response, "a")


@pytest.mark.parametrize("failure", [{}, "message-0", {"itemIdentifier": "other"}, {"itemIdentifier": None}])
def test_a_failure_that_is_not_of_the_batch_is_an_error(failure: Any):
    """Lambda would redeliver the whole batch."""
    with pytest.raises(ConfigurationError, match="with the id of a message of this batch"):
        deliver(lambda event, context: {"batchItemFailures": [failure]}, "a")


def test_a_handler_that_raises_raises():
    """As Lambda reports a function error."""
    with pytest.raises(ZeroDivisionError):
        deliver(lambda event, context: 1 / 0, "a")


def test_whole_records_are_delivered():
    """In the order of the arguments, after the bodies; a FIFO group ends at its first failure."""
    records = [make_fifo_record(body, message_id=f"m{n}") for n, body in enumerate(("fail", "a"))]
    assert kinds(deliver(consumer, records=records)) == ["Failed", "NotStarted"]
    assert len(deliver(consumer, "a", records=[make_fair_record("b", tenant="t", message_id="m")]).records) == 2


@pytest.mark.parametrize("record", [make_record("a"), make_fair_record("a", tenant="t"), make_fifo_record("a")])
def test_a_record_is_not_taken_for_a_body(record: dict[str, Any]):
    """The error names the argument for records."""
    with pytest.raises(ConfigurationError, match=r"argument 1 is a record, not a body; .*records=\[make_fair_record"):
        make_event("a", record)
    with pytest.raises(ConfigurationError, match=r"argument 0 is a record"):
        deliver(consumer, record)
    assert len(make_event({"messageId": 1}, records=[record])["Records"]) == 2
