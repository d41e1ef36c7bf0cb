"""A worker on what decorators have made of a consumer."""

import asyncio
import functools
import json
import threading
from typing import Any

import pytest
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

import fanfold
from fanfold.testing import make_fifo_record, make_record
from worker_queue import InMemoryWorkerQueue, running, until


def filled(*bodies: str, **settings: Any) -> InMemoryWorkerQueue:
    queue = InMemoryWorkerQueue(**settings)
    queue.put(*(make_record(body, message_id=body) for body in bodies))
    return queue


def around(consumer: Any, wrap: Any) -> Any:
    """Decorate a consumer; ``wrap`` is called with it, the event and the context."""
    return functools.wraps(consumer)(functools.partial(wrap, consumer))


async def test_decorators_of_powertools_run_around_each_call(capsys):
    """Metrics that a handler adds are written when its call ends; the logger gets a context."""
    metrics = Metrics(namespace="shop", service="orders")

    @fanfold.consumer(concurrency=1)
    async def consumer(body: str) -> None:
        metrics.add_metric(name="Shipped", unit=MetricUnit.Count, value=1)

    decorated = Logger(service="orders").inject_lambda_context(metrics.log_metrics(consumer))
    queue = filled("a", "b", "c")
    async with running(consumer, queue, decorated=decorated) as worker:
        await until(lambda: len(queue.deleted) == 3)
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "Shipped" in line]
    assert [document["Shipped"] for document in documents] == [[1.0]] * 3
    assert worker.summary.done == 3


async def test_the_records_run_in_the_workers_session_and_decorators_on_threads():
    """The lifespan is entered once, on the worker's event loop; decorated calls run concurrently."""
    loops, threads, barrier = set(), set(), asyncio.Barrier(3)

    @fanfold.consumer(concurrency=3)
    async def consumer(body: str) -> None:
        loops.add(asyncio.get_running_loop())
        await barrier.wait()

    def wrap(consumer: Any, event: Any, context: Any) -> Any:
        threads.add(threading.current_thread())
        assert context.get_remaining_time_in_millis() > 40_000_000
        return consumer(event, context)

    queue = filled("a", "b", "c")
    async with running(consumer, queue, decorated=around(consumer, wrap)):
        await until(lambda: len(queue.deleted) == 3)
    assert loops == {asyncio.get_running_loop()}
    assert threading.main_thread() not in threads
    assert len(threads) == 3


def raising(consumer: Any, event: Any, context: Any) -> Any:
    consumer(event, context)
    raise ValueError("after the consumer")


def reporting(consumer: Any, event: Any, context: Any) -> Any:
    consumer(event, context)
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in event["Records"]]}


@pytest.mark.parametrize(
    "wrap",
    [
        raising,
        reporting,
        lambda consumer, event, context: {"batchItemFailures": []},
        lambda consumer, event, context: consumer(event, context) and None,
        lambda consumer, event, context: [consumer(event, context), consumer(event, context)][0],
        lambda consumer, event, context: consumer({"Records": []}, context),
        lambda consumer, event, context: {"batchItemFailures": [consumer(event, context) and "a"]},
    ],
    ids=["raises", "reports", "skips", "returns None", "calls twice", "calls without records", "no identifier"],
)
async def test_a_message_is_acknowledged_only_if_the_decorators_agree(wrap: Any):
    """What they report as failed, or leave unclear, is redelivered; the rest of its group does not start."""
    started: list[str] = []

    @fanfold.consumer(concurrency=2)
    async def consumer(body: str) -> None:
        started.append(body)

    queue = InMemoryWorkerQueue(fifo=True)
    queue.put(*(make_fifo_record(body, group="g", message_id=body) for body in ("a", "b")))
    async with running(consumer, queue, decorated=around(consumer, wrap)) as worker:
        await until(lambda: worker.summary.failed == 2)
    assert queue.deleted == []
    assert "b" not in started


async def test_a_keyboardinterrupt_in_a_decorated_consumer_stops_the_worker():
    """As without decorators; the message is redelivered."""

    @fanfold.consumer
    async def consumer(body: str) -> None:
        raise KeyboardInterrupt

    queue = filled("a")
    decorated = around(consumer, lambda consumer, event, context: consumer(event, context))
    async with asyncio.timeout(20), running(consumer, queue, decorated=decorated) as worker:
        await until(lambda: worker.summary.failed == 1)
        assert worker._stop.is_set()
    assert queue.deleted == []
