"""OpenTelemetry metrics that follow the messaging conventions, as the SDK records them."""

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.semconv._incubating.metrics.messaging_metrics import (
    MESSAGING_CLIENT_CONSUMED_MESSAGES,
    MESSAGING_PROCESS_DURATION,
)
from opentelemetry.semconv.schemas import Schemas

import fanfold
from fanfold.otel import BatchMetrics
from fanfold.testing import deliver, make_context, make_event

SHARED = {
    "messaging.system": "aws_sqs",
    "messaging.operation.name": "process",
    "messaging.destination.name": "orders",
}


class Recorded:
    """The SDK, with a reader that keeps the metrics in memory."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def metrics(self) -> dict[str, Metric]:
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        assert all(scope.schema_url == list(Schemas)[-1].value for scope in scopes)
        return {metric.name: metric for scope in scopes for metric in scope.metrics}


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


async def choose(action: str) -> None:
    match action:
        case "fail":
            raise LookupError
        case "retry":
            raise fanfold.Retry(after=1)


def points(metric: Metric) -> dict[Any, Any]:
    """Return the data points of a metric by their error type."""
    for point in metric.data.data_points:
        assert SHARED.items() <= point.attributes.items()
    return {point.attributes.get("error.type"): point for point in metric.data.data_points}


def test_delivered_messages_are_counted(recorded: Recorded):
    """Once for each delivery, whether their handlers succeed or not."""
    handler = fanfold.consumer(observers=[BatchMetrics(recorded.provider)])(choose)
    deliver(handler, "done", "fail")
    deliver(handler, "fail")
    metric = recorded.metrics()[MESSAGING_CLIENT_CONSUMED_MESSAGES]
    assert metric.unit == "{message}"
    assert points(metric)[None].value == 3


@pytest.mark.parametrize("kind", ["async", "def"])
def test_the_duration_of_each_call_is_recorded_by_its_error(kind: str, recorded: Recorded):
    """In seconds, in the buckets that the conventions recommend."""

    def choose_in_thread(action: str) -> None:
        if action == "fail":
            raise LookupError
        if action == "retry":
            raise fanfold.Retry(after=1)

    function = choose if kind == "async" else choose_in_thread
    handler = fanfold.consumer(observers=[BatchMetrics(recorded.provider)])(function)
    deliver(handler, "done", "done", "fail", "retry")
    metric = recorded.metrics()[MESSAGING_PROCESS_DURATION]
    assert metric.unit == "s"
    by_error = points(metric)
    assert {error: point.count for error, point in by_error.items()} == {None: 2, "LookupError": 1, "Retrying": 1}
    assert by_error[None].explicit_bounds[:3] == (0.005, 0.01, 0.025)
    assert 0 < by_error[None].sum < 60


def test_a_call_of_several_records_is_one_duration(recorded: Recorded):
    """It is an error if any of the records is not done."""

    @fanfold.consumer(chunk_size=2, observers=[BatchMetrics(recorded.provider)])
    async def several(numbers: list[int]) -> list[Any]:
        return [None, ValueError("second")]

    deliver(several, 1, 2)
    metrics = recorded.metrics()
    assert points(metrics[MESSAGING_PROCESS_DURATION])["ValueError"].count == 1
    assert points(metrics[MESSAGING_CLIENT_CONSUMED_MESSAGES])[None].value == 2


def test_an_empty_batch_is_not_measured(recorded: Recorded):
    """Without records, nothing is recorded."""
    fanfold.consumer(observers=[BatchMetrics(recorded.provider)])(choose)(make_event(), make_context())
    assert recorded.metrics() == {}


def test_without_an_sdk_nothing_is_measured_and_the_batch_succeeds():
    """The extra installs only the API."""
    result = deliver(fanfold.consumer(observers=[BatchMetrics()])(choose), "a", "fail")
    assert result.response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
