"""Handlers that take lists of bodies."""

import asyncio
import threading
from typing import Any

import pytest

import fanfold
from batches import ids, kinds
from fanfold import Context, Done, Failed, Reject, Rejected, Retry, Retrying
from fanfold.testing import make_event
from settlers import Accepting


async def test_a_handler_of_lists_gets_up_to_chunk_size_bodies():
    """The last list is shorter; returning None means that all records are done."""
    seen = []

    @fanfold.consumer(chunk_size=3, concurrency=1)
    async def handler(numbers: list[int]) -> None:
        seen.append(numbers)

    assert kinds(await handler.process(make_event(*range(7)))) == [Done] * 7
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]


async def test_a_handler_of_lists_can_return_a_value_for_each_record():
    """Each is a value, an error, or an outcome."""

    @fanfold.consumer(chunk_size=6)
    async def handler(numbers: list) -> list[Any]:
        return [None, 5, error, Retry(after=3), Reject("never"), Retrying(9)]

    error = ValueError("x")
    result = await handler.with_settings(settler=Accepting()).process(make_event(*range(6)))
    assert result.outcomes == [
        Done(),
        Done(5),
        Failed(error),
        Retrying(3, "the handler asked for a retry"),
        Rejected("never"),
        Retrying(9),
    ]


@pytest.mark.parametrize("returned", [[], [1], [1, 2, 3], {0: 1, 1: 2}, "ab", 5])
async def test_any_other_return_value_fails_the_whole_list(returned):
    """It is unknown which records succeeded."""
    handler = fanfold.consumer(chunk_size=2)(lambda bodies: returned)
    result = await handler.process(make_event(0, 1))
    assert kinds(result) == [Failed, Failed]
    assert "the handler of 2 records returned" in str(result.outcomes[0].error)


@pytest.mark.parametrize("on_thread", [False, True])
async def test_a_handler_may_empty_its_list(*, on_thread: bool):
    """The list belongs to the handler."""

    def handle(numbers: list) -> None:
        while numbers:
            numbers.pop()

    async def handle_on_the_loop(numbers: list) -> None:
        handle(numbers)

    handler = fanfold.consumer(chunk_size=3)(handle if on_thread else handle_on_the_loop)
    assert kinds(await handler.process(make_event(*range(5)))) == [Done] * 5


async def test_a_handler_that_extends_its_list_and_returns_as_many_values_fails():
    """It is unknown which value belongs to which record."""

    @fanfold.consumer(chunk_size=3)
    async def handler(rows: list) -> list[Any]:
        rows.insert(0, "header")
        return [None for _ in rows]

    assert kinds(await handler.process(make_event(*range(3)))) == [Failed] * 3


async def test_an_error_of_a_handler_of_lists_fails_its_whole_list():
    """Other lists are not affected."""

    @fanfold.consumer(chunk_size=2)
    async def handler(numbers: list) -> None:
        if 1 in numbers:
            raise ValueError

    assert ids(await handler.process(make_event(0, 1, 2, 3))) == ["message-0", "message-1"]


async def test_an_invalid_body_fails_only_its_record():
    """The handler gets the list without it."""
    seen = []

    @fanfold.consumer(chunk_size=3)
    async def handler(numbers: list) -> list[int]:
        seen.append(numbers)
        return numbers

    result = await handler.process(make_event(0, "{", 2))
    assert [result.outcomes[0], result.outcomes[2]] == [Done(0), Done(2)]
    assert result.outcomes[1].reason.startswith("the body is not JSON")
    assert seen == [[0, 2]]


async def test_a_list_without_valid_bodies_is_not_passed_to_the_handler():
    """The handler is not called with an empty list."""
    called = []
    handler = fanfold.consumer(chunk_size=2)(called.append)
    assert kinds(await handler.process(make_event("{", "["))) == [Rejected, Rejected]
    assert called == []


async def test_a_def_handler_of_lists_runs_on_threads():
    """Two lists are processed concurrently."""
    barrier = threading.Barrier(2)

    @fanfold.consumer(chunk_size=2, concurrency=2)
    def handler(numbers: list) -> list[int]:
        barrier.wait(300)
        return [-number for number in numbers]

    assert (await handler.process(make_event(1, 2, 3, 4))).outcomes == [Done(-1), Done(-2), Done(-3), Done(-4)]


async def test_a_timeout_of_a_handler_of_lists_fails_its_whole_list():
    """The next list is processed."""

    @fanfold.consumer(chunk_size=2, concurrency=1, timeout=0.02)
    async def handler(numbers: list) -> None:
        if 0 in numbers:
            await asyncio.Event().wait()

    assert kinds(await handler.process(make_event(0, 1, 2))) == [Failed, Failed, Done]


async def test_a_handler_of_lists_can_take_the_context():
    """The record of the context is the first one of the list."""
    seen = []

    @fanfold.consumer(chunk_size=2)
    async def handler(numbers: list, ctx: Context) -> None:
        seen.append(ctx.record.message_id)

    await handler.process(make_event(0, 1, 2))
    assert seen == ["message-0", "message-2"]
