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
    """Nothing is reported when every handler returned."""

    @fanfold.consumer
    async def handler(order: dict) -> None:
        assert order == {"id": 1}

    assert deliver(handler, {"id": 1}, {"id": 1}).response == {"batchItemFailures": []}


def test_exactly_what_failed_is_reported_in_batch_order():
    """Of five records, those whose handlers raised come back, and no others."""

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
def test_whatever_a_handler_raises_fails_its_record_alone(error: BaseException):
    """The others carry on."""
    handler = fanfold.consumer(concurrency=1)(raises(error, 1))
    result = deliver(handler, 0, 1, 2)
    assert ids(result.response) == ["message-1"]
    assert [type(outcome) for outcome in result.outcomes] == [Done, Failed, Done]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), StopIteration()])
def test_whatever_a_plain_handler_raises_fails_its_record_alone(error: BaseException):
    """On a worker thread as on the loop."""

    @fanfold.consumer
    def handler(number) -> None:
        if number == 1:
            raise error

    assert ids(deliver(handler, 0, 1, 2).response) == ["message-1"]


def test_a_keyboard_interrupt_is_not_swallowed():
    """Ctrl-C ends the invocation: the whole batch comes back."""
    handler = fanfold.consumer(concurrency=1)(raises(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        deliver(handler, 0, 1)


def test_an_outcome_carries_what_the_handler_chose():
    """The value, the delay and the reasons are there to be looked at."""

    @fanfold.consumer
    async def handler(what: str) -> str:
        if what == "retry":
            raise Retry("busy", after=30)
        if what == "reject":
            raise Reject("no such customer")
        return what.upper()

    result = deliver(handler, "fine", "retry", "reject")
    assert result.outcomes == [Done("FINE"), Retrying(30, "busy"), Rejected("no such customer")]
    assert ids(result.response) == ["message-1", "message-2"]


def test_a_body_that_is_not_json_is_rejected_before_the_handler_runs():
    """It never will be JSON; it comes back until it is a dead letter."""
    handler = fanfold.consumer(raises(AssertionError))
    result = deliver(handler, "{", "[" * 100_000)
    assert [type(outcome) for outcome in result.outcomes] == [Rejected, Rejected]
    assert "not JSON" in result.outcomes[0].reason


def test_a_repeated_message_id_is_reported_once_if_any_of_its_records_failed():
    """Fail closed: done once and failed once is failed."""
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
    """Raising makes Lambda deliver the whole batch again."""
    called = []
    handler = fanfold.consumer(called.append)
    with pytest.raises(EventError):
        handler(event, make_context())
    assert called == []


def test_an_empty_batch_is_answered():
    """No records, no failures."""
    handler = fanfold.consumer(lambda body: None)
    assert deliver(handler).response == {"batchItemFailures": []}


def test_there_are_never_more_handlers_than_the_bound():
    """And with enough records, there are as many."""
    gauge = Gauge()
    handler = fanfold.consumer(concurrency=7)(gauge)
    deliver(handler, *range(100))
    assert gauge.most == 7


def test_plain_handlers_run_at_once_under_the_same_bound():
    """Four of them meet at a barrier, which a fifth would break."""
    barrier = threading.Barrier(4)

    @fanfold.consumer(concurrency=4)
    def handler(number) -> None:
        barrier.wait(10)

    assert deliver(handler, *range(8)).response == {"batchItemFailures": []}


def test_the_result_of_a_large_batch_is_written_in_few_words():
    """The runner of asyncio writes it out, and a log might."""
    result = deliver(fanfold.consumer(lambda body: None), *range(1000))
    assert repr(result) == "<BatchResult of 1000 records, 0 to be redelivered>"


async def test_process_returns_the_outcomes_on_the_callers_loop():
    """For tests and for programs that have a loop already."""

    @fanfold.consumer
    async def handler(record: Record) -> str:
        return record.message_id

    result = await handler.process(make_event(1, 2))
    assert result.outcomes == [Done("message-0"), Done("message-1")]
    assert [record.body for record in result.records] == ["1", "2"]
    assert await handler.handle_batch(make_event(1), make_context()) == {"batchItemFailures": []}


async def test_a_batch_that_is_cancelled_from_outside_cancels_its_handlers():
    """Nothing goes on behind the caller's back, and a rollback may finish."""
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


def test_the_failures_of_a_batch_make_a_short_log(caplog: pytest.LogCaptureFixture):
    """Each kind once, with one traceback, a count and no body."""
    handler = fanfold.consumer(raises(ValueError("broken")))
    deliver(handler, *({"secret": number} for number in range(1000)))
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert errors[0].startswith("1000 x ValueError, first in message message-0, message-1, message-2\nTraceback")
    assert "secret" not in caplog.text


def test_only_the_first_failure_of_a_kind_keeps_its_traceback():
    """A traceback keeps every local of the handler alive."""

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        raise ValueError(number)

    first, second = deliver(handler, 1, 2).outcomes
    assert first.error.__traceback__ is not None
    assert second.error.__traceback__ is None


async def test_a_batch_handled_on_the_callers_loop_ends_by_its_context():
    """The margin begins at once: nothing is started, and all comes back."""
    called = []
    response = await fanfold.consumer(called.append).handle_batch(make_event(1, 2), make_context(0))
    assert (ids(response), called) == (["message-0", "message-1"], [])


@pytest.mark.parametrize(
    ("settings", "margin"), [({}, 3), ({"deadline_margin": 20}, 20), ({"deadline_margin": 50}, 30)]
)
async def test_the_margin_of_the_deadline_is_the_settings(settings: dict, margin: float):
    """On either road; by itself it is a twentieth of the time there is, and it is never more than half of that."""
    margins = []

    @fanfold.consumer(**settings)
    async def handler(body, ctx: Context) -> None:
        margins.append(ctx.deadline.margin)

    handler(make_event(1), make_context(60))
    await handler.process(make_event(1), make_context(60))
    handler.close()
    assert margins == pytest.approx([margin, margin], rel=0.01)


def test_a_reject_says_its_reason():
    """To whoever catches it on its way."""
    assert str(Reject("no such customer")) == "no such customer"


def test_an_invocation_without_time_makes_the_whole_batch_come_back():
    """By an error or by the answer, as far as there is time for one; nothing runs."""
    called = []
    try:
        response = deliver(fanfold.consumer(called.append), 1, 2, seconds=0).response
    except TimeoutError as error:
        assert "did not" in str(error)  # noqa: PT017 - either is right
    else:
        assert ids(response) == ["message-0", "message-1"]
    assert called == []


def test_a_handler_may_take_the_record_itself():
    """For what is neither JSON nor text."""
    seen = []

    @fanfold.consumer
    async def handler(record: Record) -> None:
        seen.append(json.loads(record.body))

    deliver(handler, {"a": 1})
    assert seen == [{"a": 1}]


def test_errors_of_ours_are_public_names():
    """A handler's outcome can be told by its error."""
    assert issubclass(fanfold.errors.DecodeError, fanfold.errors.FanfoldError)
    assert DecodeError.permanent
    assert not AbandonedError.permanent


def test_a_batch_of_which_nothing_succeeded_may_end_in_an_error():
    """Lambda then polls the queue more slowly."""
    handler = fanfold.consumer(raise_on_total_failure=True)(lambda number: 1 / number)
    with pytest.raises(TotalFailureError, match="none of the 2 records of the batch succeeded"):
        deliver(handler, 0, 0)


@pytest.mark.parametrize("bodies", [(0, 1), ()])
def test_a_batch_of_which_something_succeeded_ends_in_no_error(bodies):
    """Nor does an empty one."""
    handler = fanfold.consumer(raise_on_total_failure=True)(lambda number: 1 / number)
    assert len(ids(deliver(handler, *bodies))) == bodies.count(0)


def test_a_forwarded_reject_is_no_total_failure():
    """It was acknowledged."""
    settings = {"raise_on_total_failure": True, "dead_letter_queue_url": DEAD, "settler": Accepting("message-0")}
    handler = fanfold.consumer(**settings)(lambda body: Rejected("never"))
    assert ids(deliver(handler, 0)) == []
