"""Powertools' logger, metrics, tracer, and idempotency decorators, applied outside and inside a consumer."""

import asyncio
import functools
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.async_context import AsyncContext

import fanfold
from batches import ids
from fanfold.errors import ConfigurationError
from fanfold.powertools import (
    AsyncBatchProcessor,
    BatchMetrics,
    EventType,
    RecordLogging,
    RecordTracing,
    async_process_partial_response,
)
from fanfold.testing import make_context, make_event
from powertools_store import InProcess
from xray import Emitter, xray_as_in_lambda


@pytest.fixture
def xray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emitter]:
    with xray_as_in_lambda(monkeypatch) as emitter:
        yield emitter


@pytest.fixture
def tracer(xray: Emitter) -> Tracer:
    return Tracer(service="orders", auto_patch=False)


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    stream.seek(0)
    stream.truncate()
    return lines


def test_inject_lambda_context_stacks_over_a_consumer():
    """Log lines of the handler contain the request id, also on the event loop, in cold and warm invocations."""
    stream = io.StringIO()
    logger = Logger(service="alone", stream=stream)

    @logger.inject_lambda_context
    @fanfold.consumer
    async def handler(number: int) -> None:
        logger.info("order %d", number)

    for request in ("first", "second"):
        assert ids(handler(make_event(1, 2), make_context(aws_request_id=request))) == []
        lines = logged(stream)
        assert sorted(line["message"] for line in lines) == ["order 1", "order 2"]
        assert {line["function_request_id"] for line in lines} == {request}


def test_log_metrics_stacks_over_a_consumer(capsys: pytest.CaptureFixture[str]):
    """Metrics that handlers add are flushed once per invocation."""
    metrics = Metrics(namespace="shop", service="orders")

    @metrics.log_metrics
    @fanfold.consumer
    def handler(number: int) -> None:
        metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=number)

    for _ in range(2):
        assert ids(handler(make_event(1, 2), make_context())) == []
        assert sorted(json.loads(capsys.readouterr().out)["Orders"]) == [1.0, 2.0]


def test_capture_lambda_handler_stacks_over_a_consumer(tracer: Tracer, xray: Emitter):
    """Each invocation has one subsegment, named after the handler."""

    @tracer.capture_lambda_handler
    @fanfold.consumer
    async def handler(number: int) -> None:
        await asyncio.sleep(0)

    for _ in range(2):
        assert ids(handler(make_event(1, 2), make_context())) == []
        assert xray.take() == [("## handler", "facade")]


@pytest.mark.parametrize("kind", ["async", "def"])
def test_eight_concurrent_records_have_subsegments_under_the_right_parent(kind: str, tracer: Tracer, xray: Emitter):
    """Otherwise, records on one event loop would share the SDK's stack, end each other's subsegments, and fail."""
    met_async, met = asyncio.Barrier(8), threading.Barrier(8, timeout=300)

    async def step() -> None:
        await asyncio.sleep(0)

    async def work(number: int) -> None:
        await met_async.wait()
        await tracer.capture_method(step)()
        for _ in range(number):
            await asyncio.sleep(0)  # they end in a different order than they started

    def work_in_thread(number: int) -> None:
        met.wait()

    def traced(function) -> str:
        """Return Powertools' name for a function's subsegment, without characters that X-Ray does not accept."""
        return f"## {function.__module__}.{function.__qualname__}".replace("<", "").replace(">", "")

    function = tracer.capture_method(work if kind == "async" else work_in_thread)
    handler = tracer.capture_lambda_handler(fanfold.consumer(concurrency=8)(function))
    for _ in range(2):
        assert ids(handler(make_event(*range(8)), make_context())) == []
        own = traced(function)
        records = [(own, f"## {function.__name__}")] * 8
        steps = [(traced(step), own)] * 8 if kind == "async" else []
        assert xray.take() == sorted([(f"## {function.__name__}", "facade"), *records, *steps])


def test_the_drop_in_keeps_subsegments_apart_too(tracer: Tracer, xray: Emitter):
    """The decorators are the same as before the migration."""
    met = asyncio.Barrier(8)

    @tracer.capture_method
    async def record_handler(record) -> None:
        await met.wait()

    @tracer.capture_lambda_handler
    def handler(event, context):
        return async_process_partial_response(event, record_handler, AsyncBatchProcessor(EventType.SQS), context)

    for _ in range(2):
        assert ids(handler(make_event(*range(8)), make_context())) == []
        assert {parent for _, parent in xray.take()} == {"## handler", "facade"}


def test_a_task_based_context_of_the_sdk_is_not_replaced(
    tracer: Tracer, xray: Emitter, monkeypatch: pytest.MonkeyPatch
):
    """A user who has chosen ``AsyncContext`` keeps it."""
    loop = asyncio.new_event_loop()
    context = AsyncContext(use_task_factory=False, loop=loop)
    loop.close()
    monkeypatch.setattr(xray_recorder, "_context", context)
    local = context._local
    handler = fanfold.consumer(lambda number: None)
    assert ids(handler(make_event(1), make_context())) == []
    assert context._local is local


def test_idempotent_function_works_inside_a_consumer_of_a_def_handler():
    """The body is passed by keyword, as it requires; a repeated call returns the stored result."""
    ran, config = [], IdempotencyConfig(event_key_jmespath="id")

    @fanfold.consumer(concurrency=1)  # the first call configures Powertools' store, which is not safe for threads
    @idempotent_function(data_keyword_argument="order", config=config, persistence_store=InProcess())
    def handler(order: dict) -> str:
        ran.append(order["id"])
        return f"shipped {order['id']}"

    event = make_event({"id": 1}, {"id": 2})
    for _ in range(2):
        config.register_lambda_context(make_context())
        result = handler.invoke(event, make_context())
        assert result.outcomes == [fanfold.Done("shipped 1"), fanfold.Done("shipped 2")]
    assert sorted(ran) == [1, 2]


def test_idempotent_function_over_an_async_handler_is_refused_at_decoration(tracer: Tracer):
    """It would store the coroutine. The error states the fix, however deep the decorator is in the stack."""
    idempotent = idempotent_function(data_keyword_argument="order", persistence_store=InProcess())

    async def handler(order: dict) -> None: ...

    for decorated in (idempotent(handler), tracer.capture_method(idempotent(handler))):
        with pytest.raises(ConfigurationError, match=r"idempotent_function cannot wrap an async def.*make .* a def"):
            fanfold.consumer(decorated)


def test_a_decorator_that_returns_the_coroutine_is_accepted():
    """Only decorators that store the coroutine are refused."""
    seen = []

    def passing_on(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    @fanfold.consumer
    @passing_on
    async def handler(number: int) -> None:
        seen.append(number)

    assert ids(handler(make_event(1), make_context())) == []
    assert seen == [1]


def test_all_of_them_stack_together(tracer: Tracer, xray: Emitter, capsys: pytest.CaptureFixture[str]):
    """In cold and warm invocations; a failure affects only its record."""
    stream = io.StringIO()
    logger, metrics = Logger(service="together", stream=stream), Metrics(namespace="shop", service="orders")
    config = IdempotencyConfig()

    @logger.inject_lambda_context(correlation_id_path="Records[0].messageId")
    @metrics.log_metrics(capture_cold_start_metric=False)
    @tracer.capture_lambda_handler
    @fanfold.consumer(concurrency=4)
    @tracer.capture_method
    @idempotent_function(data_keyword_argument="order", config=config, persistence_store=InProcess())
    def handler(order: dict) -> None:
        logger.info("order")
        if order["id"] == 2:
            raise ValueError(order)
        metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=1)

    for invocation in range(2):
        event = make_event({"id": 1, "i": invocation}, {"id": 2, "i": invocation}, {"id": 3, "i": invocation})
        config.register_lambda_context(make_context())
        assert ids(handler(event, make_context())) == ["message-1"]
        assert {line["correlation_id"] for line in logged(stream) if line["message"] == "order"} == {"message-0"}
        assert json.loads(capsys.readouterr().out)["Orders"] == [1.0, 1.0]
        assert len(xray.take()) == 4


def test_observers_stack_under_the_decorators(tracer: Tracer, xray: Emitter, capsys: pytest.CaptureFixture[str]):
    """Logger, metrics, and tracer wrap a consumer with their observers, cold and warm, with eight records at a time."""
    stream, met = io.StringIO(), asyncio.Barrier(8)
    logger, metrics = Logger(service="observed", stream=stream), Metrics(namespace="shop", service="orders")

    @logger.inject_lambda_context
    @metrics.log_metrics
    @tracer.capture_lambda_handler
    @fanfold.consumer(concurrency=8, observers=[RecordLogging(logger), BatchMetrics(metrics), RecordTracing(tracer)])
    @tracer.capture_method
    async def handler(number: int) -> None:
        await met.wait()
        logger.info("order %d", number)
        metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=1)
        if number == 2:
            raise ValueError(number)

    for _ in range(2):
        assert ids(handler(make_event(*range(8)), make_context(aws_request_id="request"))) == ["message-2"]
        lines = [line for line in logged(stream) if line["message"].startswith("order")]
        assert {(line["message"], line["message_id"]) for line in lines} == {
            (f"order {number}", f"message-{number}") for number in range(8)
        }
        assert {line["function_request_id"] for line in lines} == {"request"}
        batch, own = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert (batch["RecordsDone"], batch["RecordsFailed"], batch["PeakInFlight"]) == ([7.0], [1.0], [8.0])
        assert own["Orders"] == [1.0] * 8
        taken = xray.take()
        assert taken.count(("## record", "## handler")) == 8
        assert len([parent for _, parent in taken if parent == "## record"]) == 8
        assert len(taken) == 17
