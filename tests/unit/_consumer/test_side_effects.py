"""Side effects of a handler on its task, its context, and its errors do not affect other records."""

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
    """An immutable error: not even its traceback can be set."""

    why: str


async def test_an_immutable_error_is_supported():
    """Including the second one of its kind, whose traceback should be dropped."""
    handler = fanfold.consumer(
        reject_on=FrozenError, dead_letter_queue_url=DEAD, settler=Accepting("message-0", "message-1")
    )(raises(FrozenError("never")))
    assert kinds(await handler.process(make_event(0, 1))) == [Rejected, Rejected]


async def test_an_error_used_as_the_reason_of_a_rejection_is_converted_to_text():
    """Other rejected messages are sent to the dead-letter queue, too."""
    settler = Accepting("message-0", "message-1")

    @fanfold.consumer(dead_letter_queue_url=DEAD, settler=settler)
    async def handler(number) -> Rejected | None:
        if number:
            raise Reject("no")
        return Rejected(ValueError("bad"))

    result = await handler.process(make_event(0, 1))
    assert result.outcomes == [Rejected("bad", forwarded=True), Rejected("no", forwarded=True)]


async def test_a_cancel_scope_that_a_handler_leaves_open_affects_only_its_record():
    """For example, an async generator that is not exhausted. Other records get new workers."""
    generators = []

    async def rows():
        with anyio.move_on_after(0.02):
            for number in range(10):
                yield number

    @fanfold.consumer(concurrency=2)
    async def handler(number) -> None:
        if number == 0:
            generators.append(rows())
            await anext(generators[0])
        await asyncio.sleep(0.01)

    result = await handler.process(make_event(*range(40)))
    failed = [outcome for outcome in result.outcomes if not isinstance(outcome, Done)]
    assert len(failed) <= 1
    with contextlib.suppress(RuntimeError):
        await generators[0].aclose()


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_handler_that_cancels_its_own_task_does_not_affect_other_records(concurrency: int):
    """Even if it calls ``uncancel``, which older versions of Python do not fully support."""

    @fanfold.consumer(concurrency=concurrency, starts_per_second=1000)  # makes the worker wait, so that it is cancelled
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
