"""Handlers of lists."""

import asyncio
import threading
from typing import Any

import pytest

import fanfold
from batches import ids, kinds
from fanfold import Context, Done, Failed, Reject, Rejected, Retry, Retrying
from fanfold.testing import make_event
from settlers import Accepting


async def test_a_handler_of_lists_gets_as_many_bodies_as_it_asks_for():
    """The last list is shorter; returning nothing means that all are done."""
    seen = []

    @fanfold.consumer(chunk_size=3, concurrency=1)
    async def handler(numbers: list[int]) -> None:
        seen.append(numbers)

    assert kinds(await handler.process(make_event(*range(7)))) == [Done] * 7
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]


async def test_a_handler_of_lists_may_return_a_value_for_each():
    """A value, an error, or an outcome."""

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
async def test_a_handler_of_lists_that_returns_anything_else_failed(returned):
    """Which record ended how is not known."""
    handler = fanfold.consumer(chunk_size=2)(lambda bodies: returned)
    result = await handler.process(make_event(0, 1))
    assert kinds(result) == [Failed, Failed]
    assert "the handler of 2 records returned" in str(result.outcomes[0].error)


@pytest.mark.parametrize("plain", [False, True])
async def test_a_handler_that_empties_its_list_has_done_it(*, plain: bool):
    """The list is the handler's own."""

    def handle(numbers: list) -> None:
        while numbers:
            numbers.pop()

    async def handle_on_the_loop(numbers: list) -> None:
        handle(numbers)

    handler = fanfold.consumer(chunk_size=3)(handle if plain else handle_on_the_loop)
    assert kinds(await handler.process(make_event(*range(5)))) == [Done] * 5


async def test_a_handler_that_lengthens_its_list_and_returns_as_much_failed():
    """Which value is whose is not known."""

    @fanfold.consumer(chunk_size=3)
    async def handler(rows: list) -> list[Any]:
        rows.insert(0, "header")
        return [None for _ in rows]

    assert kinds(await handler.process(make_event(*range(3)))) == [Failed] * 3


async def test_a_handler_of_lists_that_raises_failed_with_all_of_its_list():
    """And with no other."""

    @fanfold.consumer(chunk_size=2)
    async def handler(numbers: list) -> None:
        if 1 in numbers:
            raise ValueError

    assert ids(await handler.process(make_event(0, 1, 2, 3))) == ["message-0", "message-1"]


async def test_a_body_that_cannot_be_decoded_spoils_only_itself():
    """The others of its list are handed over without it."""
    seen = []

    @fanfold.consumer(chunk_size=3)
    async def handler(numbers: list) -> list[int]:
        seen.append(numbers)
        return numbers

    result = await handler.process(make_event(0, "{", 2))
    assert [result.outcomes[0], result.outcomes[2]] == [Done(0), Done(2)]
    assert result.outcomes[1].reason.startswith("the body is not JSON")
    assert seen == [[0, 2]]


async def test_a_list_of_which_nothing_can_be_decoded_is_not_handed_over():
    """The handler is not called with nothing."""
    called = []
    handler = fanfold.consumer(chunk_size=2)(called.append)
    assert kinds(await handler.process(make_event("{", "["))) == [Rejected, Rejected]
    assert called == []


async def test_a_plain_handler_of_lists_runs_on_threads():
    """Two lists at once."""
    barrier = threading.Barrier(2)

    @fanfold.consumer(chunk_size=2, concurrency=2)
    def handler(numbers: list) -> list[int]:
        barrier.wait(10)
        return [-number for number in numbers]

    assert (await handler.process(make_event(1, 2, 3, 4))).outcomes == [Done(-1), Done(-2), Done(-3), Done(-4)]


async def test_a_handler_of_lists_that_takes_too_long_failed_with_all_of_its_list():
    """The next list is handled."""

    @fanfold.consumer(chunk_size=2, concurrency=1, timeout=0.02)
    async def handler(numbers: list) -> None:
        if 0 in numbers:
            await asyncio.Event().wait()

    assert kinds(await handler.process(make_event(0, 1, 2))) == [Failed, Failed, Done]


async def test_a_handler_of_lists_may_ask_for_the_context():
    """Its record is the first of the list."""
    seen = []

    @fanfold.consumer(chunk_size=2)
    async def handler(numbers: list, ctx: Context) -> None:
        seen.append(ctx.record.message_id)

    await handler.process(make_event(0, 1, 2))
    assert seen == ["message-0", "message-2"]
