"""Record handlers of Powertools' processors in worker processes."""

import functools
import logging
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from aws_lambda_powertools.utilities.parser.models import SqsRecordModel

import powertools_process_app as app
from batches import fifo_event, ids
from fanfold.errors import ConfigurationError, NotStartedError
from fanfold.powertools import (
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
    _processors,
    async_process_partial_response,
    process_partial_response,
)
from fanfold.testing import make_context, make_event

NOTHING = {"do": "nothing"}


def do(what: str, value: object = None) -> dict[str, object]:
    """Return a body that asks for something."""
    return {"do": what, "value": value}


@pytest.fixture(autouse=True, scope="module")
def _ends_processes() -> Iterator[None]:
    """End the worker processes."""
    yield
    _processors._RUNTIME.close()


def entries(processor: Any, handler: Any, *bodies: object, seconds: float = 60) -> list[tuple[Any, ...]]:
    """Process a batch, and return the first two values of each entry."""
    with processor(make_event(*bodies)["Records"], handler, lambda_context=make_context(seconds)):
        return [entry[:2] for entry in processor.process()]


def errors(processor: Any) -> list[BaseException]:
    """Return the errors of the last batch."""
    return [error[1] for error in processor.exceptions]


def test_records_run_in_worker_processes_which_the_next_batch_uses_again():
    """None runs in this process; values are in the entries, as in Powertools."""
    pids = {
        value
        for _ in range(2)
        for kind, value in entries(BatchProcessor(EventType.SQS, processes=1), app.act, *[do("pid")] * 20)
        if kind == "success"
    }
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_the_processor_of_the_module_responds_and_its_handler_stays_the_same():
    """A drop-in: only ``processes`` is new."""
    response = process_partial_response(make_event(NOTHING, do("raise")), app.act, app.processor, make_context(60))
    assert response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert app.processor.handler is app.act
    (error,) = errors(app.processor)
    assert (type(error), str(error)) == (ValueError, "bad order")
    assert 'raise ValueError("bad order")' in error.__notes__[0]


def test_a_stuck_record_and_a_crash_fail_alone():
    """The process is ended at the timeout, although the handler holds the interpreter lock."""
    processor = BatchProcessor(EventType.SQS, processes=2, timeout=0.5)
    event = make_event(NOTHING, do("stick"), NOTHING, do("crash"), *[NOTHING] * 10)
    response = process_partial_response(event, app.act, processor, make_context(60))
    assert ids(response) == ["message-1", "message-3"]
    texts = sorted(str(error) for error in errors(processor))
    assert texts == [
        "the handler took longer than 0.5 s",
        "the worker process ended while it ran the handler: signal SIGSEGV",
    ]


def test_what_runs_at_the_deadline_is_ended_and_the_rest_has_not_started():
    """The processor has no timeout."""
    processor = BatchProcessor(EventType.SQS, processes=1)
    entries(processor, app.act, NOTHING)  # the process is ready
    event = make_event(NOTHING, do("stick"), NOTHING)
    response = process_partial_response(event, app.act, processor, make_context(3))
    assert ids(response) == ["message-1", "message-2"]
    assert NotStartedError in map(type, errors(processor))
    assert entries(processor, app.act, NOTHING) == [("success", None)]


def test_what_a_handler_returns_or_raises_means_what_it_means_on_threads():
    """Any error is a failure, also one that a consumer would take for a decision; so is work that has not run."""
    processor = BatchProcessor(EventType.SQS, processes=1, raise_on_entire_batch_failure=False)
    actions = ["raise Retry", "exit", "return a coroutine", "return a function", "raise unpicklable"]
    kinds = [kind for kind, _ in entries(processor, app.act, *map(do, actions), do("return", []))]
    assert kinds == ["fail"] * 5 + ["success"]
    texts = sorted(f"{type(error).__name__}: {error}" for error in errors(processor))
    beginnings = [
        "Retry: ",
        "SystemExit: usage",
        "TypeError: the handler returned a value that cannot be sent to the consumer",
        "TypeError: the handler returned an un-awaited coroutine",
        "WorkerProcessError: UnpicklableError: one and two",
    ]
    assert [text.startswith(beginning) for text, beginning in zip(texts, beginnings, strict=True)] == [True] * 5


def test_the_context_reaches_a_handler_that_takes_it():
    """As in Powertools, by its name."""
    processor = BatchProcessor(EventType.SQS, processes=1)
    assert entries(processor, app.with_context, "a") == [("success", ("a", make_context().aws_request_id))]


def test_log_records_have_the_id_of_their_message():
    """They go to the log handlers of this process."""
    from fanfold._base.log_context import record_keys

    seen: list[Any] = []

    def note(_: logging.LogRecord) -> bool:
        seen.append(dict(record_keys()))
        return True

    app.log.addFilter(note)
    try:
        entries(BatchProcessor(EventType.SQS, processes=1), app.act, do("log here"))
    finally:
        app.log.removeFilter(note)
    assert seen == [{"message_id": "message-0"}]


@pytest.mark.parametrize(
    ("event_type", "record", "model", "name"),
    [
        (EventType.SQS, make_event("a")["Records"][0], SqsRecordModel, "SqsRecordModel"),
        (EventType.KinesisDataStreams, {"kinesis": {"sequenceNumber": "1"}}, None, "KinesisStreamRecord"),
        (EventType.DynamoDBStreams, {"dynamodb": {"SequenceNumber": "1"}}, None, "DynamoDBRecord"),
        (EventType.Kafka, {"topic": "orders", "partition": 0, "offset": 1}, None, "KafkaEventRecord"),
    ],
)
def test_records_of_every_kind_of_event_reach_the_processes(event_type, record, model, name):
    """As Powertools' data classes, or as a model."""
    processor = BatchProcessor(event_type, model=model, processes=1)
    with processor([record], app.of_any_event):
        assert [entry[:2] for entry in processor.process()] == [("success", name)]


@pytest.mark.parametrize("respond", [process_partial_response, async_process_partial_response])
def test_a_group_of_a_fifo_queue_stops_at_its_failure(respond):
    """The other group goes on."""
    event = fifo_event(("a", NOTHING), ("a", do("die")), ("a", NOTHING), ("b", NOTHING))
    processor = SqsFifoPartialProcessor(skip_group_on_error=True, processes=2)
    assert ids(respond(event, app.act, processor, make_context(60))) == ["message-1", "message-2"]


def test_a_record_that_cannot_be_sent_fails_alone():
    """A subclass passes the handler what cannot be pickled."""

    class Passing(BatchProcessor):
        def _to_batch_type(self, record: Any, event_type: Any, model: Any = None) -> Any:
            data = super()._to_batch_type(record, event_type)
            if record["body"] == "bad":
                data.extra = lambda: None
            return data

    processor = Passing(EventType.SQS, processes=1)
    event = make_event("good", "bad")
    assert ids(process_partial_response(event, app.of_any_event, processor, make_context(60))) == ["message-1"]
    assert str(errors(processor)[0]).startswith("the record cannot be sent to a worker process: ")


def local_to_a_test() -> Any:
    return lambda record: None


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (local_to_a_test(), r"<lambda> cannot run in worker processes: they cannot find a local function"),
        (app.unnamed, "act cannot run in worker processes: they cannot find it by its name in powertools_process_app"),
        (app.method, r"Handlers.act cannot run .* Define it with def at the top of the module"),
        (functools.partial(app.act), "cannot run in worker processes"),
        (app.asynchronous, "asynchronous is an async def"),
    ],
)
def test_handlers_that_a_process_cannot_import_are_refused(handler, message):
    """In one line, before any record has run."""
    processor = BatchProcessor(EventType.SQS, processes=1)
    with pytest.raises(ConfigurationError, match=message):
        process_partial_response(make_event(1), handler, processor, make_context())


def test_a_handler_of_main_is_refused(monkeypatch):
    """A process has another ``__main__``."""
    monkeypatch.setattr(app.act, "__module__", "__main__")
    with pytest.raises(ConfigurationError, match="act cannot run in worker processes: they cannot import __main__"):
        process_partial_response(make_event(1), app.act, BatchProcessor(EventType.SQS, processes=1), make_context())


def test_a_module_that_processes_a_batch_at_its_import_does_not_start_processes_in_processes(monkeypatch):
    """The record fails there, in one line."""
    monkeypatch.setitem(sys.modules, "fanfold._consumer.process_child", ModuleType("process_child"))
    with pytest.raises(ConfigurationError, match="act is called in a worker process, which cannot start others"):
        process_partial_response(make_event(1), app.act, BatchProcessor(EventType.SQS, processes=1), make_context())


class Overriding(BatchProcessor):
    """Overrides what processes do not call."""

    def _process_record(self, record: Any) -> Any:
        return super()._process_record(record)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchProcessor(EventType.SQS, processes=0), 'processes must be an integer of at least 1 or "auto"'),
        (lambda: BatchProcessor(EventType.SQS, processes=2, timeout=0), "timeout must be"),
        (lambda: BatchProcessor(EventType.SQS, timeout=1), "timeout requires processes"),
        (lambda: BatchProcessor(EventType.SQS, processes=2, concurrency=5), "processes=2 is the concurrency: remove"),
        (lambda: SqsFifoPartialProcessor(processes="auto"), "processes='auto' requires skip_group_on_error=True"),
        (lambda: Overriding(EventType.SQS, processes=1), "Overriding overrides _process_record"),
    ],
)
def test_settings_that_are_invalid_or_contradict_each_other_are_refused(make, message):
    """At construction, in one line that names them."""
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_auto_is_the_number_of_vcpus(monkeypatch):
    """As for a consumer."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "3538")
    processes = BatchProcessor(EventType.SQS, processes="auto")._processes
    assert processes is not None
    assert (processes.count, processes.records) == (2, 128)
