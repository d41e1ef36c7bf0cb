"""A batch's metrics in CloudWatch's embedded format, and a trace subsegment for each record."""

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
    """Powertools' metrics, of which all of a process share one set."""
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


async def choose(word: str) -> None:
    match word:
        case "fail":
            raise OutOfStockError
        case "retry":
            raise fanfold.Retry(after=1)
        case "reject":
            raise fanfold.Reject("no such customer")


def documents(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def units(document: dict[str, Any]) -> dict[str, str]:
    return {each["Name"]: each["Unit"] for each in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]}


# --- metrics


def test_a_batch_writes_one_line_of_metrics_in_the_users_namespace(metrics: Metrics, capsys):
    """Every kind of ending has its number, zeros included; together they are what was received."""
    metrics.set_default_dimensions(environment="test")
    handler = fanfold.consumer(observers=[BatchMetrics(metrics)], dead_letter_queue_url="")(choose)
    deliver(handler, "done", "done", "fail", "retry", "reject", seconds=60)
    (document,) = documents(capsys)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "shop"
    assert directive["Dimensions"] == [["environment", "service"]]
    assert (document["environment"], document["service"]) == ("test", "orders")
    counts = {name: document[name][0] for name, unit in units(document).items() if unit == "Count"}
    assert counts.pop("PeakInFlight") == 1  # none of them waits
    assert counts == {
        "RecordsReceived": 5, "RecordsDone": 2, "RecordsFailed": 1, "RecordsRetrying": 1, "RecordsRejected": 1,
        "RecordsNotStarted": 0,
    }  # fmt: skip
    assert document["errors"] == {"OutOfStockError": 1}


def test_times_and_memory_are_written_in_their_units(metrics: Metrics, capsys):
    """Milliseconds and megabytes, of this batch and this process."""
    handler = fanfold.consumer(observers=[BatchMetrics(metrics)])(choose)
    deliver(handler, "done", seconds=60)
    (document,) = documents(capsys)
    named = {name: unit for name, unit in units(document).items() if unit != "Count"}
    assert named == {"BatchDuration": "Milliseconds", "PeakMemory": "Megabytes", "DeadlineLeft": "Milliseconds"}
    assert 0 < document["BatchDuration"][0] < 60_000 - document["DeadlineLeft"][0] < 60_000
    assert 1 < document["PeakMemory"][0] < 100_000
    assert "errors" not in document


def test_without_a_deadline_none_is_written_of_it(metrics: Metrics, capsys):
    """Infinity is no metric."""
    handler = fanfold.consumer(observers=[BatchMetrics(metrics)])(choose)
    asyncio.run(handler.process(make_event("done")))
    (document,) = documents(capsys)
    assert "DeadlineLeft" not in document


def test_the_users_own_metrics_are_written_apart_and_once(metrics: Metrics, capsys):
    """With ``log_metrics`` on top, and a dimension of the handler's that would multiply ours."""

    @metrics.log_metrics
    @fanfold.consumer(observers=[BatchMetrics(metrics)])
    def handler(number: int) -> None:
        metrics.add_dimension("customer", "one of a million")
        metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=number)

    for _ in range(2):
        handler(make_event(1, 2), make_context())
        batch, own = documents(capsys)
        assert batch["RecordsDone"] == [2.0]
        assert "customer" not in batch
        assert "Orders" not in batch
        assert sorted(own["Orders"]) == [1.0, 2.0]
        assert "RecordsDone" not in own


def test_metrics_are_written_of_a_batch_that_ends_in_an_error(metrics: Metrics, capsys):
    """That one above all."""
    handler = fanfold.consumer(observers=[BatchMetrics(metrics)], raise_on_total_failure=True)(choose)
    with pytest.raises(TotalFailureError):
        deliver(handler, "fail")
    assert documents(capsys)[0]["RecordsFailed"] == [1.0]


def test_records_of_a_fifo_group_that_wait_for_a_failed_one_count_as_not_started(metrics: Metrics, capsys):
    """Not as failures of their own."""
    handler = fanfold.consumer(observers=[BatchMetrics(metrics)])(choose)
    words = ("done", "fail", "done", "done")
    records = [make_fifo_record(word, message_id=f"m-{number}") for number, word in enumerate(words)]
    handler(make_event(records=records), make_context())
    (document,) = documents(capsys)
    assert [document[f"Records{kind}"] for kind in ("Done", "Failed", "NotStarted")] == [[1.0], [1.0], [2.0]]


def test_at_most_twenty_types_of_error_are_named(metrics: Metrics, capsys):
    """The most frequent ones; a line of metrics has an end."""

    async def fail(number: int) -> None:
        raise type(f"Number{max(number, 5)}Error", (Exception,), {})

    deliver(fanfold.consumer(observers=[BatchMetrics(metrics)])(fail), *range(40))
    (document,) = documents(capsys)
    assert len(document["errors"]) == 20
    assert document["errors"]["Number5Error"] == 6


def test_an_ephemeral_set_of_metrics_does_as_well(capsys):
    """It is what Powertools has for several namespaces in one function."""
    metrics = EphemeralMetrics(namespace="other", service="orders")
    deliver(fanfold.consumer(observers=[BatchMetrics(metrics)])(choose), "done")
    (document,) = documents(capsys)
    assert document["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "other"


def test_metrics_that_could_not_be_written_are_refused_at_once(monkeypatch: pytest.MonkeyPatch):
    """Without a namespace, or for another service than CloudWatch."""
    monkeypatch.delenv("POWERTOOLS_METRICS_NAMESPACE", raising=False)
    with pytest.raises(ConfigurationError, match=r"no namespace; use Metrics\(namespace=…\)"):
        BatchMetrics(EphemeralMetrics())
    with pytest.raises(ConfigurationError, match="requires Powertools' Metrics for CloudWatch"):
        BatchMetrics(DatadogMetrics())


# --- traces


def test_each_record_has_a_subsegment_under_the_invocations_own(tracer: Tracer, xray: Emitter):
    """Annotated with its message, its outcome and the trace it was sent in; failures are flagged as what they are."""
    consumer = fanfold.consumer(observers=[RecordTracing(tracer)], dead_letter_queue_url="")(choose)
    handler = tracer.capture_lambda_handler(consumer)
    words = ("done", "fail", "retry", "reject")
    records = [make_record(word, message_id=f"m-{word}") for word in words]
    records[0]["attributes"]["AWSTraceHeader"] = SENT_BY
    handler(make_event(records=records), make_context())
    by_message = {each.annotations.get("message_id"): each for each in xray.sent}
    assert xray.take() == [("## choose", "facade"), *[("## record", "## choose")] * 4]
    assert [by_message[f"m-{word}"].annotations["outcome"] for word in words] == [
        "Done", "Failed", "Retrying", "Rejected",
    ]  # fmt: skip
    assert by_message["m-done"].annotations["message_trace_id"] == "1-67891233-abcdef012345678912345678"
    assert "message_trace_id" not in by_message["m-fail"].annotations
    documents = {word: by_message[f"m-{word}"].to_dict() for word in words}
    assert {word: (each.get("fault"), each.get("error")) for word, each in documents.items()} == {
        "done": (None, None), "fail": (True, None), "retry": (None, True), "reject": (None, True),
    }  # fmt: skip
    assert documents["fail"]["cause"]["exceptions"][0]["type"] == "OutOfStockError"


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_what_eight_concurrent_handlers_open_stands_under_their_own_records(kind: str, tracer: Tracer, xray: Emitter):
    """Handler under record, record under invocation, whatever order they end in; the next batch is clean."""
    met_async, met = asyncio.Barrier(8), threading.Barrier(8, timeout=10)

    @tracer.capture_method
    async def work(number: int) -> None:
        tracer.put_annotation("number", number)
        await met_async.wait()
        for _ in range(number):
            await asyncio.sleep(0)

    @tracer.capture_method
    def work_plainly(number: int) -> None:
        tracer.put_annotation("number", number)
        met.wait()

    function = work if kind == "async" else work_plainly
    handler = tracer.capture_lambda_handler(
        fanfold.consumer(concurrency=8, observers=[RecordTracing(tracer)])(function)
    )
    for _ in range(2):
        assert handler(make_event(*range(8)), make_context()) == {"batchItemFailures": []}
        tree = {each.id: each for each in flat(xray.sent)}
        pairs = [
            (each.annotations["number"], tree[each.parent_id].annotations["message_id"])
            for each in tree.values()
            if "number" in each.annotations
        ]
        assert sorted(pairs) == [(number, f"message-{number}") for number in range(8)]
        records = [each for each in tree.values() if each.name == "## record"]
        assert {tree[each.parent_id].name for each in records} == {f"## {function.__name__}"}
        xray.sent.clear()


def flat(entities: list[Any]) -> list[Any]:
    return [each for entity in entities for each in (entity, *flat(entity.subsegments))]


def test_without_a_subsegment_around_it_records_stand_under_the_invocation(tracer: Tracer, xray: Emitter):
    """The consumer alone, with no ``capture_lambda_handler`` on top."""
    handler = fanfold.consumer(observers=[RecordTracing(tracer, name="## order")])(choose)
    for _ in range(2):
        handler(make_event("done", "fail"), make_context())
        assert xray.take() == [("## order", "facade")] * 2


def test_an_abandoned_record_is_closed_as_a_fault_and_the_trace_is_whole(tracer: Tracer, xray: Emitter):
    """With what it had open below; a subsegment left open would keep the invocation's from being sent at all."""
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
    (record,) = [each for each in flat(xray.sent) if each.name == "## record"]
    assert record.fault
    assert record.annotations["outcome"] == "Failed"
    assert "## stuck" in {each.name for each in xray.sent}
    assert not any(each.in_progress for each in flat(xray.sent))
    xray.sent.clear()
    assert handler(make_event(2), make_context()) == {"batchItemFailures": []}
    assert ended.wait(10)
    consumer.close()
    assert {each.annotations.get("message_id") for each in flat(xray.sent) if each.name == "## record"} == {"message-0"}
    xray.sent.clear()


def test_what_a_handler_left_open_is_closed_with_its_record(tracer: Tracer, xray: Emitter):
    """And the next record of the same worker stands where it should."""

    async def forgetful(number: int) -> None:
        tracer.provider.begin_subsegment("forgotten")

    handler = tracer.capture_lambda_handler(
        fanfold.consumer(concurrency=1, observers=[RecordTracing(tracer)])(forgetful)
    )
    handler(make_event(1, 2), make_context())
    sent = flat(xray.sent)
    names = {each.id: each.name for each in sent}
    assert sorted((each.name, names.get(each.parent_id)) for each in sent) == [
        ("## forgetful", None), ("## record", "## forgetful"), ("## record", "## forgetful"),
        ("forgotten", "## record"), ("forgotten", "## record"),
    ]  # fmt: skip
    xray.sent.clear()


def test_a_call_of_several_records_is_one_subsegment(tracer: Tracer, xray: Emitter):
    """It says how many; one that failed among them makes it a fault."""

    @fanfold.consumer(chunk_size=2, observers=[RecordTracing(tracer)])
    async def several(numbers: list[int]) -> list:
        return [None, ValueError("second")]

    several(make_event(1, 2), make_context())
    (sent,) = xray.sent
    assert sent.annotations == {"message_id": "message-0", "records": 2, "outcome": "Failed"}
    assert sent.fault
    xray.sent.clear()


def test_what_is_not_sampled_is_not_sent(tracer: Tracer, xray: Emitter, monkeypatch: pytest.MonkeyPatch):
    """And no record fails for it."""
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root=1-5759e988-bd862e3fe1be46a994272794;Parent={'0' * 16};Sampled=0")
    handler = fanfold.consumer(observers=[RecordTracing(tracer)])(choose)
    assert handler(make_event("done", "fail"), make_context())["batchItemFailures"] == [{"itemIdentifier": "message-1"}]
    assert xray.sent == []


def test_a_tracer_that_is_turned_off_wants_nothing(monkeypatch: pytest.MonkeyPatch):
    """Outside Lambda, or by ``POWERTOOLS_TRACE_DISABLED``."""
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    Tracer._reset_config()
    observer = RecordTracing(Tracer(service="orders", auto_patch=False))
    assert observer.batch_started([], None) is None
    assert deliver(fanfold.consumer(observers=[observer])(choose), "done").response == {"batchItemFailures": []}
    Tracer._reset_config()


def test_what_is_no_tracer_is_refused_at_once():
    """Before any record runs."""
    with pytest.raises(ConfigurationError, match="RecordTracing requires Powertools' Tracer"):
        RecordTracing("orders")
