"""A consumer, from the event to the response."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
import threading
from contextlib import asynccontextmanager

import pytest

import fanfold
from fanfold import Context, Done, Failed, Record, Reject, Rejected, Retry, Retrying
from fanfold.errors import AbandonedError, CommitError, ConfigurationError, DecodeError, EventError
from fanfold.testing import deliver, make_context, make_event, make_record


def ids(response: dict) -> list[str]:
    return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


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

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number == 1:
            raise error

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

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        raise KeyboardInterrupt

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

    @fanfold.consumer
    async def handler(order: dict) -> None:
        raise AssertionError

    result = deliver(handler, "{", "[" * 100_000)
    assert [type(outcome) for outcome in result.outcomes] == [Rejected, Rejected]
    assert "not JSON" in result.outcomes[0].reason


def test_a_repeated_message_id_is_reported_once_if_any_of_its_records_failed():
    """Fail closed: done once and failed once is failed."""

    @fanfold.consumer
    async def handler(number) -> None:
        if number == 1:
            raise ValueError

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
    running, most = 0, 0

    @fanfold.consumer(concurrency=7)
    async def handler(number) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    deliver(handler, *range(100))
    assert most == 7


def test_plain_handlers_run_at_once_under_the_same_bound():
    """Four of them meet at a barrier, which a fifth would break."""
    barrier = threading.Barrier(4)

    @fanfold.consumer(concurrency=4)
    def handler(number) -> None:
        barrier.wait(10)

    assert deliver(handler, *range(8)).response == {"batchItemFailures": []}


def test_the_environment_overrides_the_concurrency(monkeypatch: pytest.MonkeyPatch):
    """So that a benchmark can sweep it without touching the code."""
    handler = fanfold.consumer(concurrency=3)(lambda body: None)
    assert handler.concurrency == 3
    monkeypatch.setenv("FANFOLD_CONCURRENCY", "250")
    assert handler.concurrency == 250


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_an_impossible_concurrency_in_the_environment_is_named(value: str, monkeypatch: pytest.MonkeyPatch):
    """One clear line names the variable."""
    monkeypatch.setenv("FANFOLD_CONCURRENCY", value)
    with pytest.raises(ConfigurationError, match="FANFOLD_CONCURRENCY must be a whole number from 1"):
        deliver(fanfold.consumer(lambda body: None), 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"concurrency": 0},
        {"concurrency": True},
        {"concurrency": "10"},
        {"deadline_margin": -1},
        {"deadline_margin": "1"},
        {"lifespan": 5},
        {"commit": 5},
        {"concurency": 10},
    ],
)
def test_impossible_settings_are_refused_at_decoration(settings: dict):
    """Before anything is deployed."""
    with pytest.raises(ConfigurationError):
        fanfold.consumer(**settings)


def test_a_consumer_looks_like_its_function_to_decorators_and_like_a_lambda_handler_to_lambda():
    """Powertools' decorators and the runtime both find what they look for."""

    @fanfold.consumer
    async def ship(order: dict) -> None:
        """Ship an order."""

    assert (ship.__name__, ship.__doc__, ship.function) == ("ship", "Ship an order.", ship.__wrapped__)
    assert str(inspect.signature(ship)) == "(event, context)"
    assert repr(ship).startswith("<fanfold.Consumer test_a_consumer_looks_like")


def test_with_settings_leaves_the_original_as_it_was():
    """Settings are values."""
    handler = fanfold.consumer(concurrency=3)(lambda body: None)
    changed = handler.with_settings(concurrency=5, deadline_margin=2)
    assert (handler.concurrency, changed.concurrency, changed.settings.deadline_margin) == (3, 5, 2)
    with pytest.raises(ConfigurationError, match="unknown setting concurency"):
        handler.with_settings(concurency=1)


def test_the_lifespan_is_entered_once_and_kept_across_invocations():
    """One loop and one lifespan per sandbox, left when the consumer is closed."""
    events = []

    @asynccontextmanager
    async def lifespan():
        events.append("enter")
        yield asyncio.get_running_loop()
        events.append("leave")

    @fanfold.consumer(lifespan=lifespan)
    async def handler(number, ctx: Context) -> None:
        assert ctx.state is asyncio.get_running_loop()
        events.append(number)

    for number in range(3):
        handler(make_event(number), make_context())
    handler.close()
    assert events == ["enter", 0, 1, 2, "leave"]


def test_a_closed_consumer_starts_again_at_the_next_invocation():
    """Closing is no end."""

    @fanfold.consumer
    async def handler(number) -> None: ...

    for _ in range(2):
        assert deliver(handler, 1).response == {"batchItemFailures": []}


def test_a_lifespan_that_fails_makes_the_whole_batch_come_back_and_is_tried_again():
    """The error is the lifespan's own; the next invocation starts a new one."""
    tries = []

    @asynccontextmanager
    async def lifespan():
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no connection")
        yield

    @fanfold.consumer(lifespan=lifespan)
    async def handler(number) -> None: ...

    with pytest.raises(OSError, match="no connection"):
        handler(make_event(1), make_context())
    assert deliver(handler, 1).response == {"batchItemFailures": []}


def test_the_context_tells_of_the_record_and_the_invocation():
    """What a handler may ask for besides the body."""
    seen = []

    @fanfold.consumer
    async def handler(body: str, ctx: Context) -> None:
        seen.append((body, ctx.record.message_id, ctx.receive_count, ctx.lambda_context.function_name))
        seen.append((ctx.state, 20 < ctx.deadline.remaining() <= 30))

    handler(make_event(records=[make_record("text", message_id="m", receive_count=4)]), make_context(30))
    assert seen == [("text", "m", 4, "function"), (None, True)]


def test_context_variables_of_the_invocation_reach_every_record_and_none_leaks_to_the_next():
    """A handler that sets a variable sets it for itself alone."""
    variable = contextvars.ContextVar("variable")
    variable.set("the invocation's")
    seen = []

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        seen.append(variable.get())
        variable.set(number)

    deliver(handler, 0, 1, 2)
    assert seen == ["the invocation's"] * 3


def test_context_variables_that_cannot_be_compared_spoil_nothing():
    """Whatever a caller or a handler has set."""

    class Array:
        def __eq__(self, other):
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = None

    theirs = contextvars.ContextVar("theirs")
    theirs.set(Array())

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        theirs.set(Array())

    assert [type(outcome) for outcome in deliver(handler, 0, 1, 2).outcomes] == [Done, Done, Done]


def test_the_result_of_a_large_batch_is_written_in_few_words():
    """The runner of asyncio writes it out, and a log might."""
    result = deliver(fanfold.consumer(lambda body: None), *range(1000))
    assert repr(result) == "<BatchResult of 1000 records, 0 come back>"


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


def test_what_is_not_committed_is_not_acknowledged():
    """The commit step has the last word on every record whose handler returned."""

    async def commit(done, batch):
        assert [value for _, value in done] == ["a", "b"]
        return {1}

    @fanfold.consumer(commit=commit)
    async def handler(text: str) -> str:
        return text

    result = deliver(handler, "a", "b")
    assert ids(result.response) == ["message-0"]
    assert isinstance(result.outcomes[0].error, CommitError)


@pytest.mark.parametrize("error", [OSError("down"), asyncio.CancelledError()])
def test_a_commit_that_fails_acknowledges_nothing(error: BaseException):
    """All that was done comes back: a repeat is harmless, a loss is not."""

    async def commit(done, batch):
        raise error

    handler = fanfold.consumer(commit=commit)(lambda body: None)
    assert ids(deliver(handler, 1, 2).response) == ["message-0", "message-1"]


def test_a_commit_that_is_not_async_acknowledges_nothing(caplog):
    """The batch is answered, and the log says what is wrong."""
    handler = fanfold.consumer(commit=lambda done, batch: {0, 1})(lambda body: None)
    assert ids(deliver(handler, 1, 2).response) == ["message-0", "message-1"]
    assert "can't be used in 'await' expression" in caplog.text


def test_a_commit_that_hangs_acknowledges_nothing_and_does_not_keep_the_answer():
    """It is cancelled when the answer is due."""
    cancelled = []

    async def commit(done, batch):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    handler = fanfold.consumer(commit=commit)(lambda body: None)
    assert ids(deliver(handler, 1, seconds=0.4).response) == ["message-0"]
    assert cancelled == [1]


def test_nothing_to_commit_means_no_commit():
    """A batch of failures does not touch the ledger."""

    async def commit(done, batch):
        raise AssertionError

    @fanfold.consumer(commit=commit)
    async def handler(number) -> None:
        raise ValueError

    assert ids(deliver(handler, 1).response) == ["message-0"]


def test_the_failures_of_a_batch_make_a_short_log(caplog: pytest.LogCaptureFixture):
    """Each kind once, with one traceback, a count and no body."""

    @fanfold.consumer
    async def handler(body: dict) -> None:
        raise ValueError("broken")

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


def test_a_consumer_is_shown_by_its_function():
    """By what it has for a name."""

    def handle(kind: str, number) -> None: ...

    assert "handle concurrency=3>" in repr(fanfold.consumer(concurrency=3)(handle))
    nameless = functools.partial(handle, "orders")
    assert repr(fanfold.consumer(nameless)) == f"<fanfold.Consumer {nameless} concurrency=10>"


def test_settings_count_however_the_decorator_is_called(monkeypatch):
    """With the function beside them, too; and a consumer is shown though the environment's number is none."""
    handler = fanfold.consumer(lambda body: None, concurrency=3)
    assert handler.concurrency == 3
    with pytest.raises(ConfigurationError, match="concurency"):
        fanfold.consumer(lambda body: None, concurency=3)
    monkeypatch.setenv("FANFOLD_CONCURRENCY", "many")
    assert "concurrency=3>" in repr(handler)


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
