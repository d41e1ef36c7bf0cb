"""Contract of batch processors: subclasses and FIFO queues, for Powertools' own and for fanfold's drop-ins."""

from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import (
    SQSFifoCircuitBreakerError,
    SQSFifoMessageGroupCircuitBreakerError,
)

from batches import fifo_event, ids
from fanfold.testing import make_context, make_event
from powertools_kinds import EventType, Kind, fails_on


def test_hooks_of_a_subclass_are_called(kind: Kind):
    """Users override them for metrics and logs: around the batch, and when a record succeeds or fails."""
    calls: list[Any] = []

    class Watching(kind.processor):
        def _prepare(self):
            calls.append("prepare")
            super()._prepare()

        def _clean(self):
            calls.append("clean")
            super()._clean()

        def success_handler(self, record, result):
            calls.append(result)
            return super().success_handler(record, result)

        def failure_handler(self, record, exception):
            calls.append(exception[0])
            return super().failure_handler(record, exception)

    processor = Watching(event_type=EventType.SQS)
    assert ids(kind.respond(make_event("a", "b"), kind.handler(fails_on("b")), processor, make_context())) == [
        "message-1"
    ]
    assert calls == ["prepare", "did a", ValueError, "clean"]


def test_a_subclass_can_override_how_a_record_is_processed(kind: Kind):
    """It overrides ``_process_record`` and ``_async_process_record``."""
    seen: list[str] = []

    class Around(kind.processor):
        def _process_record(self, record):
            seen.append(record["messageId"])
            return super()._process_record(record)

        async def _async_process_record(self, record):
            seen.append(record["messageId"])
            return await super()._async_process_record(record)

    processor = Around(event_type=EventType.SQS)
    kind.respond(make_event("a", "b"), kind.handler(fails_on()), processor, make_context())
    assert seen == ["message-0", "message-1"]


def test_hooks_of_a_subclass_can_return_none(kind: Kind):
    """Only the arguments that they pass to Powertools' hooks count."""

    class Silent(kind.processor):
        def success_handler(self, record, result):
            super().success_handler(record, result)

        def failure_handler(self, record, exception):
            super().failure_handler(record, exception)

    processor = Silent(event_type=EventType.SQS)
    assert ids(kind.respond(make_event("a", "b"), kind.handler(fails_on("b")), processor, make_context())) == [
        "message-1"
    ]
    assert (len(processor.success_messages), len(processor.exceptions)) == (1, 1)


def test_a_subclass_can_suppress_a_failure(kind: Kind):
    """A failure that ``failure_handler`` does not pass on is not reported."""

    class Forgiving(kind.processor):
        def failure_handler(self, record, exception):
            return self.success_handler(record, "forgiven")

    processor = Forgiving(event_type=EventType.SQS)
    assert ids(kind.respond(make_event("a", "b"), kind.handler(fails_on("b")), processor, make_context())) == []


def test_a_hook_that_raises_fails_the_batch(kind: Kind):
    """Users raise there to stop at the first failure."""

    class Strict(kind.processor):
        def failure_handler(self, record, exception):
            raise LookupError("stop")

    with pytest.raises(LookupError, match="stop"):
        kind.respond(make_event("a", "b"), kind.handler(fails_on("a")), Strict(EventType.SQS), make_context())


@pytest.mark.parametrize(
    ("settings", "reported", "completed", "errors"),
    [
        ({}, [1, 2, 3], ["a"], [SQSFifoCircuitBreakerError] * 2),
        ({"skip_group_on_error": True}, [1, 3], ["a", "c"], [SQSFifoMessageGroupCircuitBreakerError]),
    ],
)
def test_fifo_stops_at_the_first_failure(batch: Any, settings, reported, completed, errors):
    """All later records are reported with the reason; with ``skip_group_on_error``, only those of the same group."""
    done: list[str] = []

    def handle(record):
        fails_on("b")(record)
        done.append(record.body)

    processor = batch.SqsFifoPartialProcessor(**settings)
    event = fifo_event(("g", "a"), ("g", "b"), ("h", "c"), ("g", "d"))
    response = batch.process_partial_response(event, handle, processor, make_context())
    assert ids(response) == [f"message-{number}" for number in reported]
    assert done == completed
    assert [error[0] for error in processor.exceptions] == [ValueError, *errors]


def test_fifo_state_does_not_carry_over_to_the_next_batch(batch: Any):
    """A failed group is not skipped in the next batch."""
    processor = batch.SqsFifoPartialProcessor(skip_group_on_error=True)
    event = fifo_event(("g", "a"), ("h", "b"))
    assert ids(batch.process_partial_response(event, fails_on("a"), processor)) == ["message-0"]
    assert ids(batch.process_partial_response(event, fails_on(), processor)) == []
