"""Metrics of a batch in CloudWatch's embedded metric format, and an X-Ray subsegment for each record."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aws_lambda_powertools import Metrics, Tracer
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from aws_lambda_powertools.metrics.provider.datadog import DatadogMetrics

import fanfold
from batches import swallow_until
from fanfold.errors import ConfigurationError, TotalFailureError
from fanfold.powertools import BatchMetrics, RecordTracing
from fanfold.testing import deliver, make_context, make_event, make_fifo_record, make_record
from xray import Emitter, xray_as_in_lambda

SENT_BY = "Root=1-67891233-abcdef012345678912345678;Parent=1122334455667788;Sampled=1"


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    """Powertools' metrics; all instances in a process share one set."""
    metrics = Metrics(namespace="shop", service="orders")
    yield metrics
    metrics.clear_default_dimensions()
    metrics.clear_metrics()


@pytest.fixture
def xray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emitter]:
    with xray_as_in_lambda(monkeypatch) as emitter:
        yield emitter


@pytest.fixture
def tracer(xray: Emitter) -> Tracer:
    return Tracer(service="orders", auto_patch=False)


class OutOfStockError(Exception):
    pass


async def act(action: str) -> None:
    match action:
        case "fail":
            raise OutOfStockError
        case "retry":
            raise fanfold.Retry(after=1)
        case "reject":
            raise fanfold.Reject("no such customer")


def documents(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def units(document: dict[str, Any]) -> dict[str, str]:
    return {metric["Name"]: metric["Unit"] for metric in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]}


# --- metrics


def test_a_batch_writes_one_line_of_metrics_in_the_users_namespace(metrics: Metrics, capsys):
    """Every outcome has a count, including zeros; the counts add up to the records received."""
    metrics.set_default_dimensions(environment="test")
    handler = fanfold.consumer(observers=[BatchMetrics(metrics)], dead_letter_queue_url="")(act)
    deliver(handler, "done", "done", "fail", "retry", "reject", seconds=60)
    (document,) = documents(capsys)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "shop"
    assert directive["Dimensions"] == [["environment", "service"]]
    assert (document["environment"], document["service"]) == ("test", "orders")
    counts = {name: document[name][0] for name, unit in units(document).items() if unit == "Count"}
    assert counts.pop("PeakInFlight") == 1  # no handler awaits
    assert counts == {
        "RecordsReceived": 5, "RecordsDone": 2, "RecordsFailed": 1, "RecordsRetrying": 1, "RecordsRejected": 1,
        "RecordsNotStarted": 0,
    }  # fmt: skip
    assert document["errors"] == {"OutOfStockError": 1}


def test_times_and_memory_are_written_in_their_units(metrics: Metrics, capsys):
    """Milliseconds for the batch, and megabytes for the process."""
    handler = fanfold.consumer(observers=[BatchMetrics(metrics)])(act)
    deliver(handler, "done", seconds=60)
    (document,) = documents(capsys)
    named = {name: unit for name, unit in units(document).items() if unit != "Count"}
    assert named == {"BatchDuration": "Milliseconds", "PeakMemory": "Megabytes", "DeadlineLeft": "Milliseconds"}
    assert 0 < document["BatchDuration"][0] < 60_000 - document["DeadlineLeft"][0] < 60_000
    assert 1 < document["PeakMemory"][0] < 100_000
    assert "errors" not in document


def test_a_limit_that_adjusts_itself_is_written(metrics: Metrics, capsys):
    """A fixed one is not."""

    @fanfold.consumer(concurrency=fanfold.Auto(maximum=3), observers=[BatchMetrics(metrics)])
    async def handler(number: int) -> None: ...

    handler(make_event(1), make_context())
    handler.close()
    (document,) = documents(capsys)
    assert document["ConcurrencyLimit"] == [3.0]


def test_without_a_deadline_no_remaining_time_is_written(metrics: Metrics, capsys):
    """CloudWatch does not accept infinity."""
    handler = fanfold.consumer(observers=[BatchMetrics(metrics)])(act)
    asyncio.run(handler.process(make_event("done")))
    (document,) = documents(capsys)
    assert "DeadlineLeft" not in document


def test_the_metrics_of_the_user_are_written_separately_and_once(metrics: Metrics, capsys):
    """With ``log_metrics`` on top, and a dimension of the handler that would multiply fanfold's metrics."""

    @metrics.log_metrics
    @fanfold.consumer(observers=[BatchMetrics(metrics)])
    def handler(number: int) -> None:
        metrics.add_dimension("customer", "one of a million")
        metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=number)

    for _ in range(2):
        handler(make_event(1, 2), make_context())
        batch, custom = documents(capsys)
        assert batch["RecordsDone"] == [2.0]
        assert "customer" not in batch
        assert "Orders" not in batch
        assert sorted(custom["Orders"]) == [1.0, 2.0]
        assert "RecordsDone" not in custom


def test_metrics_are_written_for_a_batch_that_raises_an_error(metrics: Metrics, capsys):
    """Such a batch needs metrics most."""
    handler = fanfold.consumer(observers=[BatchMetrics(metrics)], raise_on_total_failure=True)(act)
    with pytest.raises(TotalFailureError):
        deliver(handler, "fail")
    assert documents(capsys)[0]["RecordsFailed"] == [1.0]


def test_records_of_a_fifo_group_behind_a_failure_count_as_not_started(metrics: Metrics, capsys):
    """They do not count as failures."""
    handler = fanfold.consumer(observers=[BatchMetrics(metrics)])(act)
    actions = ("done", "fail", "done", "done")
    records = [make_fifo_record(action, message_id=f"m-{number}") for number, action in enumerate(actions)]
    handler(make_event(records=records), make_context())
    (document,) = documents(capsys)
    assert [document[f"Records{kind}"] for kind in ("Done", "Failed", "NotStarted")] == [[1.0], [1.0], [2.0]]


def test_at_most_twenty_error_types_are_written(metrics: Metrics, capsys):
    """They are the most frequent ones; the length of a line is limited."""

    async def fail(number: int) -> None:
        raise type(f"Number{max(number, 5)}Error", (Exception,), {})

    deliver(fanfold.consumer(observers=[BatchMetrics(metrics)])(fail), *range(40))
    (document,) = documents(capsys)
    assert len(document["errors"]) == 20
    assert document["errors"]["Number5Error"] == 6


def test_ephemeral_metrics_are_supported(capsys):
    """Powertools provides them for several namespaces in one function."""
    metrics = EphemeralMetrics(namespace="other", service="orders")
    deliver(fanfold.consumer(observers=[BatchMetrics(metrics)])(act), "done")
    (document,) = documents(capsys)
    assert document["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "other"


def test_metrics_that_could_not_be_written_are_refused_immediately(monkeypatch: pytest.MonkeyPatch):
    """They have no namespace, or are for a service other than CloudWatch."""
    monkeypatch.delenv("POWERTOOLS_METRICS_NAMESPACE", raising=False)
    with pytest.raises(ConfigurationError, match=r"no namespace; use Metrics\(namespace=…\)"):
        BatchMetrics(EphemeralMetrics())
    with pytest.raises(ConfigurationError, match="requires Powertools' Metrics for CloudWatch"):
        BatchMetrics(DatadogMetrics())


# --- traces


def test_each_record_has_a_subsegment_under_that_of_the_invocation(tracer: Tracer, xray: Emitter):
    """It has the message ID, the outcome, and the trace of the sender; failures are faults or errors."""
    consumer = fanfold.consumer(observers=[RecordTracing(tracer)], dead_letter_queue_url="")(act)
    handler = tracer.capture_lambda_handler(consumer)
    actions = ("done", "fail", "retry", "reject")
    records = [make_record(action, message_id=f"m-{action}") for action in actions]
    records[0]["attributes"]["AWSTraceHeader"] = SENT_BY
    handler(make_event(records=records), make_context())
    by_message = {segment.annotations.get("message_id"): segment for segment in xray.sent}
    assert xray.take() == [("## act", "facade"), *[("## record", "## act")] * 4]
    assert [by_message[f"m-{action}"].annotations["outcome"] for action in actions] == [
        "Done", "Failed", "Retrying", "Rejected",
    ]  # fmt: skip
    assert by_message["m-done"].annotations["message_trace_id"] == "1-67891233-abcdef012345678912345678"
    assert "message_trace_id" not in by_message["m-fail"].annotations
    documents = {action: by_message[f"m-{action}"].to_dict() for action in actions}
    assert {action: (document.get("fault"), document.get("error")) for action, document in documents.items()} == {
        "done": (None, None), "fail": (True, None), "retry": (None, True), "reject": (None, True),
    }  # fmt: skip
    assert documents["fail"]["cause"]["exceptions"][0]["type"] == "OutOfStockError"


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_subsegments_of_eight_concurrent_handlers_are_children_of_their_records(
    kind: str, tracer: Tracer, xray: Emitter
):
    """Handler under record, record under invocation, in any order of ends; the next batch is not affected."""
    met_async, met = asyncio.Barrier(8), threading.Barrier(8, timeout=300)

    @tracer.capture_method
    async def work(number: int) -> None:
        tracer.put_annotation("number", number)
        await met_async.wait()
        for _ in range(number):
            await asyncio.sleep(0)

    @tracer.capture_method
    def work_on_thread(number: int) -> None:
        tracer.put_annotation("number", number)
        met.wait()

    function = work if kind == "async def" else work_on_thread
    handler = tracer.capture_lambda_handler(
        fanfold.consumer(concurrency=8, observers=[RecordTracing(tracer)])(function)
    )
    for _ in range(2):
        assert handler(make_event(*range(8)), make_context()) == {"batchItemFailures": []}
        tree = {segment.id: segment for segment in flat(xray.sent)}
        pairs = [
            (segment.annotations["number"], tree[segment.parent_id].annotations["message_id"])
            for segment in tree.values()
            if "number" in segment.annotations
        ]
        assert sorted(pairs) == [(number, f"message-{number}") for number in range(8)]
        records = [segment for segment in tree.values() if segment.name == "## record"]
        assert {tree[record.parent_id].name for record in records} == {f"## {function.__name__}"}
        xray.sent.clear()


def flat(entities: list[Any]) -> list[Any]:
    return [segment for entity in entities for segment in (entity, *flat(entity.subsegments))]


def test_without_a_subsegment_around_the_consumer_records_are_children_of_the_invocation(tracer: Tracer, xray: Emitter):
    """The consumer is used without ``capture_lambda_handler``."""
    handler = fanfold.consumer(observers=[RecordTracing(tracer, name="## order")])(act)
    for _ in range(2):
        handler(make_event("done", "fail"), make_context())
        assert xray.take() == [("## order", "facade")] * 2


def test_the_subsegment_of_an_abandoned_record_is_closed_as_a_fault(tracer: Tracer, xray: Emitter):
    """With its children: an open subsegment would prevent that of the invocation from being sent."""
    release, ended = asyncio.Event(), threading.Event()

    @tracer.capture_method
    async def stuck(number: int) -> None:
        if number == 2:
            release.set()
        await swallow_until(release)
        if number == 1:
            ended.set()

    consumer = fanfold.consumer(observers=[RecordTracing(tracer)])(stuck)
    handler = tracer.capture_lambda_handler(consumer)
    assert handler(make_event(1), make_context(seconds=0.2))["batchItemFailures"]
    (record,) = [segment for segment in flat(xray.sent) if segment.name == "## record"]
    assert record.fault
    assert record.annotations["outcome"] == "Failed"
    assert "## stuck" in {segment.name for segment in xray.sent}
    assert not any(segment.in_progress for segment in flat(xray.sent))
    xray.sent.clear()
    assert handler(make_event(2), make_context()) == {"batchItemFailures": []}
    assert ended.wait(300)
    consumer.close()
    records = [segment for segment in flat(xray.sent) if segment.name == "## record"]
    assert {record.annotations.get("message_id") for record in records} == {"message-0"}
    xray.sent.clear()


def test_a_subsegment_that_a_handler_left_open_is_closed_with_its_record(tracer: Tracer, xray: Emitter):
    """The subsegment of the next record of the same worker has the right parent."""

    async def forgetful(number: int) -> None:
        tracer.provider.begin_subsegment("forgotten")

    handler = tracer.capture_lambda_handler(
        fanfold.consumer(concurrency=1, observers=[RecordTracing(tracer)])(forgetful)
    )
    handler(make_event(1, 2), make_context())
    sent = flat(xray.sent)
    names = {segment.id: segment.name for segment in sent}
    assert sorted((segment.name, names.get(segment.parent_id)) for segment in sent) == [
        ("## forgetful", None), ("## record", "## forgetful"), ("## record", "## forgetful"),
        ("forgotten", "## record"), ("forgotten", "## record"),
    ]  # fmt: skip
    xray.sent.clear()


def test_a_call_of_several_records_is_one_subsegment(tracer: Tracer, xray: Emitter):
    """It has the number of records; one failed record makes it a fault."""

    @fanfold.consumer(chunk_size=2, observers=[RecordTracing(tracer)])
    async def several(numbers: list[int]) -> list:
        return [None, ValueError("second")]

    several(make_event(1, 2), make_context())
    (sent,) = xray.sent
    assert sent.annotations == {"message_id": "message-0", "records": 2, "outcome": "Failed"}
    assert sent.fault
    xray.sent.clear()


def test_a_trace_that_is_not_sampled_is_not_sent(tracer: Tracer, xray: Emitter, monkeypatch: pytest.MonkeyPatch):
    """No record fails because of it."""
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root=1-5759e988-bd862e3fe1be46a994272794;Parent={'0' * 16};Sampled=0")
    handler = fanfold.consumer(observers=[RecordTracing(tracer)])(act)
    assert handler(make_event("done", "fail"), make_context())["batchItemFailures"] == [{"itemIdentifier": "message-1"}]
    assert xray.sent == []


def test_a_disabled_tracer_needs_no_callbacks(monkeypatch: pytest.MonkeyPatch):
    """Outside Lambda, or with ``POWERTOOLS_TRACE_DISABLED``."""
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    Tracer._reset_config()
    observer = RecordTracing(Tracer(service="orders", auto_patch=False))
    assert observer.batch_started([], None) is None
    assert deliver(fanfold.consumer(observers=[observer])(act), "done").response == {"batchItemFailures": []}
    Tracer._reset_config()


def test_an_object_that_is_not_a_tracer_is_refused_immediately():
    """The error occurs before any record runs."""
    with pytest.raises(ConfigurationError, match="RecordTracing requires Powertools' Tracer"):
        RecordTracing("orders")
