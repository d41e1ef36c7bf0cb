"""The simulator: kinds of handlers, and the effect of their responses."""

import asyncio
import functools
from collections import Counter
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fanfold
from fanfold import Record
from fanfold._replay.mapping import Errored, Returned
from fanfold._replay.simulator import Simulator
from simple_handlers import nothing
from simulated import Event, acknowledged, batch_response, batches, count_of, dead, ids_of, in_groups, simulate, times

# --- Kinds of handlers.


def test_a_fanfold_consumer_is_delivered_to():
    """Only the failed message is redelivered."""
    ran = Counter()

    @fanfold.consumer
    async def handler(record: Record) -> None:
        ran[record.body, record.receive_count] += 1
        if record.body == "1" and record.receive_count < 3:
            raise ValueError

    simulator = simulate(handler, 0, 1, 2)
    assert ran == {("0", 1): 1, ("1", 1): 1, ("2", 1): 1, ("1", 2): 1, ("1", 3): 1}
    assert not simulator.dead_letters


def test_a_consumer_below_a_decorator_reaches_the_simulated_queues():
    """Its delays and its dead letters, as without the decorator, which runs in each invocation."""
    invocations = []

    def counting(function):
        @functools.wraps(function)
        def count(event, context):
            invocations.append(context.aws_request_id)
            return function(event, context)

        return count

    @counting
    @fanfold.consumer(backoff=fanfold.Backoff(base=60, jitter=0))
    async def handler(number: int, ctx: fanfold.Context) -> None:
        if number == 1:
            raise fanfold.Reject("not this one")
        if number == 2 and ctx.record.receive_count == 1:
            raise ValueError

    simulator = simulate(handler, 0, 1, 2)
    assert [begun for begun, _ in times(simulator.deliveries)] == [0.0, 60.0]
    assert len(invocations) == 2
    (letter,) = simulator.dead_letters
    assert letter.body == "1"


def test_a_consumer_with_a_def_handler_is_delivered_to():
    """Its handler runs on threads."""
    ran = []

    @fanfold.consumer
    def handler(number: int) -> None:
        ran.append(number)

    simulate(handler, *range(12))
    assert sorted(ran) == list(range(12))


def test_the_lifespan_of_a_consumer_can_be_ended():
    """By closing the consumer, or the simulator."""
    steps = []

    @asynccontextmanager
    async def lifespan():
        steps.append("begin")
        yield
        steps.append("end")

    handler = fanfold.consumer(lifespan=lifespan)(nothing)
    simulator = simulate(handler, 1)
    handler.close()
    getattr(simulator, "close", lambda: None)()
    assert steps == ["begin", "end"]


def test_the_simulator_does_not_change_the_consumer():
    """It uses a copy with the simulated queues."""
    handler = fanfold.consumer(nothing)
    before = handler.settings
    simulate(handler, 1)
    assert handler.settings == before


def test_powertools_batch_processor_is_delivered_to():
    """Its partial response counts, and so does the error that it raises if all records fail."""
    batch = pytest.importorskip("aws_lambda_powertools.utilities.batch", reason="Powertools is not installed")
    processor = batch.BatchProcessor(event_type=batch.EventType.SQS)

    def record_handler(record: Any) -> None:
        if record.body == "1":
            raise ValueError

    def handler(event: Event, context: Any) -> Any:
        return batch.process_partial_response(event, record_handler, processor, context)

    simulator = simulate(handler, 0, 1, 2, max_receive_count=2)
    deliveries = simulator.deliveries
    assert [delivery.verdict.kind for delivery in deliveries] == ["partial success", "complete failure"]
    assert isinstance(deliveries[1].invocation, Errored)
    assert deliveries[1].invocation.reason.startswith("BatchProcessingError: ")
    assert acknowledged(simulator) == ["message-0", "message-2"]
    assert dead(simulator) == ["message-1"]


def test_powertools_fifo_processor_keeps_a_group_in_order():
    """After a failure it reports the rest of the batch."""
    batch = pytest.importorskip("aws_lambda_powertools.utilities.batch", reason="Powertools is not installed")
    processor = batch.SqsFifoPartialProcessor(skip_group_on_error=True)

    def record_handler(record: Any) -> None:
        if record.message_id == "a2" and record.attributes.approximate_receive_count == "1":
            raise ValueError

    def handler(event: Event, context: Any) -> Any:
        return batch.process_partial_response(event, record_handler, processor, context)

    simulator = simulate(handler, records=in_groups("abaaba"), fifo=True)
    assert acknowledged(simulator) == ["a0", "b1", "b4", "a2", "a3", "a5"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), asyncio.CancelledError("no")])
def test_if_a_handler_raises_the_whole_batch_is_redelivered(error: BaseException):
    """For any exception: on Lambda, the runtime reports it or exits."""

    def handler(event: Event, context: Any) -> None:
        if count_of(event["Records"][0]) == 1:
            raise error

    deliveries = simulate(handler, 0, 1).deliveries
    assert batches(deliveries) == [["message-0", "message-1"]] * 2
    assert isinstance(deliveries[0].invocation, Errored)
    assert type(error).__name__ in deliveries[0].invocation.reason


def test_an_interrupt_stops_the_run():
    """It is not treated as an error of the function."""

    def handler(event: Event, context: Any) -> None:
        raise KeyboardInterrupt

    simulator = Simulator(handler)
    simulator.send(0)
    with pytest.raises(KeyboardInterrupt):
        simulator.run()


@pytest.mark.parametrize("value", [object(), b"bytes", {"batchItemFailures": {1, 2}}, {(1, 2): 3}])
def test_if_the_response_is_not_json_the_whole_batch_is_redelivered(value: object):
    """Lambda's runtime cannot encode it, after the handler has done its work."""
    simulator = simulate(lambda event, context: value, 0, 1, max_receive_count=2)
    assert all(delivery.invocation.reason.startswith("Runtime.MarshalError: ") for delivery in simulator.deliveries)
    assert dead(simulator) == ["message-0", "message-1"]


def test_if_the_response_contains_itself_the_whole_batch_is_redelivered():
    """It cannot be encoded as JSON."""
    recursive: list[Any] = []
    recursive.append(recursive)
    simulator = simulate(lambda event, context: recursive, 0, max_receive_count=1)
    assert dead(simulator) == ["message-0"]


def test_failures_under_a_misspelled_key_are_lost():
    """As on AWS: the batch is deleted, without an error."""
    simulator = simulate(lambda event, context: {"batchItemFailure": [{"itemIdentifier": "message-0"}]}, 0)
    assert [delivery.verdict.kind for delivery in simulator.deliveries] == ["complete success"]
    assert len(simulator.queue) == 0


def test_if_the_response_names_an_unknown_id_the_whole_batch_is_redelivered():
    """The verdict states why."""
    simulator = simulate(lambda event, context: batch_response(["elsewhere"]), 0, 1, max_receive_count=1)
    (delivery,) = simulator.deliveries
    assert "'elsewhere', which is not in the batch" in delivery.verdict.reason
    assert dead(simulator) == ["message-0", "message-1"]


def test_without_report_batch_item_failures_reported_messages_are_deleted():
    """After an error, the batch is redelivered."""

    def handler(event: Event, context: Any) -> dict[str, Any]:
        if count_of(event["Records"][0]) == 1:
            raise ValueError
        return batch_response(ids_of(event))

    simulator = simulate(handler, 0, 1, report_batch_item_failures=False)
    assert [delivery.verdict.kind for delivery in simulator.deliveries] == ["complete failure", "complete success"]
    assert not simulator.dead_letters


@pytest.mark.parametrize("kind", ["error", "timeout", "killed", "throttled"])
def test_a_function_may_be_invoked_by_a_custom_callable(kind: str):
    """It returns the result as a value; an invocation that times out lasts for the function timeout."""
    results = iter([Errored(kind, "because"), Returned("null")])
    deliveries = simulate(None, 0, invoke=lambda event: next(results), function_timeout=20).deliveries
    assert deliveries[0].invocation == Errored(kind, "because")
    assert times(deliveries) == [(0, 20 if kind == "timeout" else 1), (30, 31)]
