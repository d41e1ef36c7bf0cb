"""A consumer, from the event to the response."""

import asyncio
import json
import threading

import pytest

import fanfold
from batches import Gauge, ids
from fanfold import Context, Done, Failed, Record, Reject, Rejected, Retry, Retrying
from fanfold.errors import AbandonedError, DecodeError, EventError, TotalFailureError
from fanfold.testing import deliver, make_context, make_event, make_record
from settlers import DEAD, Accepting
from simple_handlers import raises


def test_a_handler_that_returns_acknowledges_its_message():
    """The batch response is empty if every handler returned."""

    @fanfold.consumer
    async def handler(order: dict) -> None:
        assert order == {"id": 1}

    assert deliver(handler, {"id": 1}, {"id": 1}).response == {"batchItemFailures": []}


def test_exactly_the_failed_records_are_reported_in_batch_order():
    """Of five records, only those whose handlers raised are reported."""

    @fanfold.consumer(concurrency=3)
    async def odd_fails(number) -> None:
        await asyncio.sleep(0)
        if number % 2:
            raise ValueError(number)

    assert ids(deliver(odd_fails, 3, 2, 1, 0, 5).response) == ["message-0", "message-2", "message-4"]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        asyncio.CancelledError(),
        SystemExit(1),
        ExceptionGroup("g", [OSError()]),
        StopIteration(),
        GeneratorExit(),
    ],
)
def test_any_error_of_a_handler_fails_only_its_record(error: BaseException):
    """The other records are processed."""
    handler = fanfold.consumer(concurrency=1)(raises(error, 1))
    result = deliver(handler, 0, 1, 2)
    assert ids(result.response) == ["message-1"]
    assert [type(outcome) for outcome in result.outcomes] == [Done, Failed, Done]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), StopIteration()])
def test_any_error_of_a_def_handler_fails_only_its_record(error: BaseException):
    """The same holds on a worker thread."""

    @fanfold.consumer
    def handler(number) -> None:
        if number == 1:
            raise error

    assert ids(deliver(handler, 0, 1, 2).response) == ["message-1"]


def test_a_keyboard_interrupt_is_not_swallowed():
    """Ctrl-C ends the invocation, and the whole batch is redelivered."""
    handler = fanfold.consumer(concurrency=1)(raises(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        deliver(handler, 0, 1)


def test_an_outcome_contains_the_value_the_delay_and_the_reason():
    """The caller can inspect what the handler returned or raised."""

    @fanfold.consumer
    async def handler(action: str) -> str:
        if action == "retry":
            raise Retry("busy", after=30)
        if action == "reject":
            raise Reject("no such customer")
        return action.upper()

    result = deliver(handler, "fine", "retry", "reject")
    assert result.outcomes == [Done("FINE"), Retrying(30, "busy"), Rejected("no such customer")]
    assert ids(result.response) == ["message-1", "message-2"]


def test_a_body_that_is_not_json_is_rejected_before_the_handler_runs():
    """Without a dead-letter queue, the message is redelivered until the redrive policy moves it."""
    handler = fanfold.consumer(raises(AssertionError))
    result = deliver(handler, "{", "[" * 100_000)
    assert [type(outcome) for outcome in result.outcomes] == [Rejected, Rejected]
    assert "not JSON" in result.outcomes[0].reason


def test_a_repeated_message_id_is_reported_once_if_any_of_its_records_failed():
    """A message that is done once and failed once is reported as failed."""
    handler = fanfold.consumer(raises(ValueError, 1))
    twice = [make_record(number, message_id="same") for number in (0, 1, 1)]
    assert ids(handler(make_event(records=twice), make_context())) == ["same"]


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        {"Records": None},
        {"Records": [None]},
        {"Records": [make_record(1) | {"eventSource": "aws:kinesis"}]},
        {"Records": [make_record(1), make_record(1) | {"messageId": ""}]},
        {"Records": [make_record(1), make_record(1) | {"messageId": None}]},
        {"Records": [make_record(1), make_record(1) | {"body": None}]},
    ],
)
def test_a_malformed_event_is_refused_before_any_handler_runs(event):
    """The error makes Lambda redeliver the whole batch."""
    called = []
    handler = fanfold.consumer(called.append)
    with pytest.raises(EventError):
        handler(event, make_context())
    assert called == []


def test_an_empty_batch_has_an_empty_response():
    """Without records, there are no failures."""
    handler = fanfold.consumer(lambda body: None)
    assert deliver(handler).response == {"batchItemFailures": []}


def test_concurrency_is_the_maximum_number_of_handlers_in_flight():
    """With enough records, the maximum is reached."""
    gauge = Gauge()
    handler = fanfold.consumer(concurrency=7)(gauge)
    deliver(handler, *range(100))
    assert gauge.most == 7


def test_def_handlers_run_concurrently_with_the_same_limit():
    """Four handlers meet at a barrier, which a fifth would break."""
    barrier = threading.Barrier(4)

    @fanfold.consumer(concurrency=4)
    def handler(number) -> None:
        barrier.wait(300)

    assert deliver(handler, *range(8)).response == {"batchItemFailures": []}


def test_the_repr_of_a_large_result_is_short():
    """The asyncio runner formats it, and a log might."""
    result = deliver(fanfold.consumer(lambda body: None), *range(1000))
    assert repr(result) == "<BatchResult of 1000 records, 0 to be redelivered>"


async def test_process_returns_the_outcomes_on_the_callers_loop():
    """It is for tests, and for programs that have an event loop already."""

    @fanfold.consumer
    async def handler(record: Record) -> str:
        return record.message_id

    result = await handler.process(make_event(1, 2))
    assert result.outcomes == [Done("message-0"), Done("message-1")]
    assert [record.body for record in result.records] == ["1", "2"]
    assert await handler.handle_batch(make_event(1), make_context()) == {"batchItemFailures": []}


async def test_cancelling_a_batch_cancels_its_handlers():
    """No handler continues to run, and a rollback can finish."""
    ended = []
    started = asyncio.Event()

    @fanfold.consumer
    async def handler(number) -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    task = asyncio.ensure_future(handler.process(make_event(1, 2)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [1, 2]


def test_the_log_of_failures_is_short(caplog: pytest.LogCaptureFixture):
    """Each kind of error is logged once, with a count, one traceback, and no body."""
    handler = fanfold.consumer(raises(ValueError("broken")))
    deliver(handler, *({"secret": number} for number in range(1000)))
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert errors[0].startswith("1000 x ValueError, first in message message-0, message-1, message-2\nTraceback")
    assert "secret" not in caplog.text


def test_only_the_first_failure_of_a_kind_keeps_its_traceback():
    """A traceback keeps every local variable of the handler alive."""

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        raise ValueError(number)

    first, second = deliver(handler, 1, 2).outcomes
    assert first.error.__traceback__ is not None
    assert second.error.__traceback__ is None


async def test_a_batch_on_the_callers_loop_observes_the_deadline_of_its_context():
    """With no time left, no record starts, and all are reported."""
    called = []
    response = await fanfold.consumer(called.append).handle_batch(make_event(1, 2), make_context(0))
    assert (ids(response), called) == (["message-0", "message-1"], [])


@pytest.mark.parametrize(
    ("settings", "margin"), [({}, 3), ({"deadline_margin": 20}, 20), ({"deadline_margin": 50}, 30)]
)
async def test_the_deadline_margin_is_the_setting(settings: dict, margin: float):
    """For ``__call__`` and ``process``; the default is 5% of the remaining time, and the maximum is half of it."""
    margins = []

    @fanfold.consumer(**settings)
    async def handler(body, ctx: Context) -> None:
        margins.append(ctx.deadline.margin)

    handler(make_event(1), make_context(60))
    await handler.process(make_event(1), make_context(60))
    handler.close()
    assert margins == pytest.approx([margin, margin], rel=0.01)


def test_the_text_of_a_reject_is_its_reason():
    """Code that catches it can log it."""
    assert str(Reject("no such customer")) == "no such customer"


def test_an_invocation_without_remaining_time_causes_redelivery_of_the_whole_batch():
    """By an error, or by the batch response if there is time for it; no handler runs."""
    called = []
    try:
        response = deliver(fanfold.consumer(called.append), 1, 2, seconds=0).response
    except TimeoutError as error:
        assert "did not" in str(error)  # noqa: PT017 - both are correct
    else:
        assert ids(response) == ["message-0", "message-1"]
    assert called == []


def test_a_handler_can_take_the_record():
    """This is for bodies that are neither JSON nor text."""
    seen = []

    @fanfold.consumer
    async def handler(record: Record) -> None:
        seen.append(json.loads(record.body))

    deliver(handler, {"a": 1})
    assert seen == [{"a": 1}]


def test_the_errors_of_outcomes_are_public():
    """Code can classify an outcome by its error."""
    assert issubclass(fanfold.errors.DecodeError, fanfold.errors.FanfoldError)
    assert DecodeError.permanent
    assert not AbandonedError.permanent


def test_a_batch_without_a_success_can_raise_an_error():
    """Lambda then polls the queue less often."""
    handler = fanfold.consumer(raise_on_total_failure=True)(lambda number: 1 / number)
    with pytest.raises(TotalFailureError, match="none of the 2 records of the batch succeeded"):
        deliver(handler, 0, 0)


@pytest.mark.parametrize("bodies", [(0, 1), ()])
def test_a_batch_with_a_success_raises_no_error(bodies):
    """An empty batch raises no error either."""
    handler = fanfold.consumer(raise_on_total_failure=True)(lambda number: 1 / number)
    assert len(ids(deliver(handler, *bodies))) == bodies.count(0)


def test_a_forwarded_reject_is_not_a_total_failure():
    """It was acknowledged."""
    settings = {"raise_on_total_failure": True, "dead_letter_queue_url": DEAD, "settler": Accepting("message-0")}
    handler = fanfold.consumer(**settings)(lambda body: Rejected("never"))
    assert ids(deliver(handler, 0)) == []
