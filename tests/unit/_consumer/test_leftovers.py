"""What a handler leaves behind costs no other record anything."""

import asyncio
import contextlib
import dataclasses

import anyio
import pytest

import fanfold
from batches import kinds
from fanfold import Done, Reject, Rejected
from fanfold.testing import make_event
from settlers import DEAD, Accepting
from simple_handlers import raises


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Lets nothing of it be set, not even its traceback."""

    why: str


async def test_an_error_that_cannot_be_changed_is_as_good_as_another():
    """Also the second of its kind."""
    handler = fanfold.consumer(
        reject_on=FrozenError, dead_letter_queue_url=DEAD, settler=Accepting("message-0", "message-1")
    )(raises(FrozenError("never")))
    assert kinds(await handler.process(make_event(0, 1))) == [Rejected, Rejected]


async def test_an_error_returned_as_the_reason_of_a_rejection_is_told_in_its_words():
    """And what else is rejected goes to the dead-letter queue too."""
    settler = Accepting("message-0", "message-1")

    @fanfold.consumer(dead_letter_queue_url=DEAD, settler=settler)
    async def handler(number) -> Rejected | None:
        if number:
            raise Reject("no")
        return Rejected(ValueError("bad"))

    result = await handler.process(make_event(0, 1))
    assert result.outcomes == [Rejected("bad", forwarded=True), Rejected("no", forwarded=True)]


async def test_a_cancel_scope_that_a_handler_leaves_open_costs_its_own_record_at_most():
    """As an async generator does that is not read to its end: the others get workers of their own."""
    left = []

    async def rows():
        with anyio.move_on_after(0.02):
            for number in range(10):
                yield number

    @fanfold.consumer(concurrency=2)
    async def handler(number) -> None:
        if number == 0:
            left.append(rows())
            await anext(left[0])
        await asyncio.sleep(0.01)

    result = await handler.process(make_event(*range(40)))
    failed = [outcome for outcome in result.outcomes if not isinstance(outcome, Done)]
    assert len(failed) <= 1
    with contextlib.suppress(RuntimeError):
        await left[0].aclose()


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_handler_that_cancels_its_own_task_costs_no_other_record_its_start(concurrency: int):
    """Though it takes that back, which an older Python does not hear of."""

    @fanfold.consumer(concurrency=concurrency, starts_per_second=1000)  # which has the worker wait, and hear of it
    async def handler(number) -> None:
        if number == 0:
            task = asyncio.current_task()
            task.cancel()
            task.uncancel()
            return
        await asyncio.sleep(0)

    result = await handler.process(make_event(*range(8)))
    assert kinds(result)[2:] == [Done] * 6
    assert sum(kind is not Done for kind in kinds(result)) <= 1
