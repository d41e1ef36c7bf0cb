"""The lifespan, which outlasts a batch, and the context of a handler."""

import asyncio
import contextvars
from contextlib import asynccontextmanager

import pytest

import fanfold
from fanfold import Context, Done
from fanfold.testing import deliver, make_context, make_event, make_record
from simple_handlers import nothing


def test_the_lifespan_is_entered_once_and_kept_across_invocations():
    """An execution environment has one loop and one lifespan, which ends when the consumer is closed."""
    events = []

    @asynccontextmanager
    async def lifespan():
        events.append("enter")
        yield asyncio.get_running_loop()
        events.append("exit")

    @fanfold.consumer(lifespan=lifespan)
    async def handler(number, ctx: Context) -> None:
        assert ctx.state is asyncio.get_running_loop()
        events.append(number)

    for number in range(3):
        handler(make_event(number), make_context())
    handler.close()
    assert events == ["enter", 0, 1, 2, "exit"]


def test_a_closed_consumer_starts_again_at_the_next_invocation():
    """A closed consumer can be used again."""
    handler = fanfold.consumer(nothing)
    for _ in range(2):
        assert deliver(handler, 1).response == {"batchItemFailures": []}


def test_after_a_lifespan_fails_the_batch_is_redelivered_and_the_lifespan_is_retried():
    """The lifespan's error is raised; the next invocation enters it again."""
    attempts = []

    @asynccontextmanager
    async def lifespan():
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("no connection")
        yield

    handler = fanfold.consumer(lifespan=lifespan)(nothing)
    with pytest.raises(OSError, match="no connection"):
        handler(make_event(1), make_context())
    assert deliver(handler, 1).response == {"batchItemFailures": []}


def test_the_context_contains_the_record_and_the_invocation():
    """A handler can use them in addition to the body."""
    seen = []

    @fanfold.consumer
    async def handler(body: str, ctx: Context) -> None:
        seen.append((body, ctx.record.message_id, ctx.receive_count, ctx.lambda_context.function_name))
        seen.append((ctx.state, 20 < ctx.deadline.remaining() <= 30))

    handler(make_event(records=[make_record("text", message_id="m", receive_count=4)]), make_context(30))
    assert seen == [("text", "m", 4, "function"), (None, True)]


def test_every_record_starts_with_the_context_variables_of_the_invocation():
    """A variable that a handler sets does not reach other records."""
    variable = contextvars.ContextVar("variable")
    variable.set("the invocation's")
    seen = []

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        seen.append(variable.get())
        variable.set(number)

    deliver(handler, 0, 1, 2)
    assert seen == ["the invocation's"] * 3


def test_context_variables_that_cannot_be_compared_are_supported():
    """A caller and a handler can both set such values."""

    class Array:
        def __eq__(self, other):
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = None

    variable = contextvars.ContextVar("variable")
    variable.set(Array())

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        variable.set(Array())

    assert [type(outcome) for outcome in deliver(handler, 0, 1, 2).outcomes] == [Done, Done, Done]
