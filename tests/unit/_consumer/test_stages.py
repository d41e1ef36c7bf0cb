"""Lists of records pass stages: what ends on the way, and what is behind it."""

import pytest

from fanfold._base.outcome import BLOCKED_IN_GROUP
from fanfold._base.record import Record
from fanfold._consumer.stages import EarlyResult, HandlerCall, run_stage, stop_group_at_failure
from fanfold.testing import make_fifo_record, make_record

FIFO = [Record(make_fifo_record(number)) for number in range(3)]
STANDARD = [Record(make_record(number)) for number in range(3)]
ERROR = ValueError("it cannot be decoded")


def items(*going: int) -> list[str | EarlyResult]:
    return ["body" if position in going else EarlyResult(ERROR) for position in range(3)]


@pytest.mark.parametrize(
    ("startable", "left"), [({0, 1, 2}, {0, 1, 2}), ({0, 2}, {0}), ({1, 2}, set()), ({0, 1}, {0, 1}), (set(), set())]
)
def test_behind_the_first_that_cannot_start_nothing_of_a_fifo_list_does(startable: set[int], left: set[int]):
    """What had already ended keeps its own error."""
    found = stop_group_at_failure(FIFO, items(*startable))
    assert {position for position, item in enumerate(found) if item == "body"} == left
    assert [position for position, item in enumerate(found) if item == EarlyResult(BLOCKED_IN_GROUP)] == sorted(
        startable - left
    )
    assert all(found[position] == EarlyResult(ERROR) for position in {0, 1, 2} - startable)


@pytest.mark.parametrize("startable", [{0, 1, 2}, {0, 2}, {1, 2}, set()])
def test_on_a_standard_queue_each_record_is_for_itself(startable: set[int]):
    """Nothing is behind another one."""
    assert stop_group_at_failure(STANDARD, items(*startable)) == items(*startable)


def test_what_is_done_already_holds_nothing_up():
    """It ended with a value, and not because it could not start."""
    assert stop_group_at_failure(FIFO, [EarlyResult({"n": 1}), "body", "body"]) == [
        EarlyResult({"n": 1}),
        "body",
        "body",
    ]


async def test_a_stage_is_given_what_goes_on_and_the_others_keep_their_values():
    """By position."""
    given = []

    async def stage(going: list[str]) -> list[str]:
        given.append(going)
        return [each.upper() for each in going]

    assert await run_stage(["a", EarlyResult(ERROR), "b"], stage) == ["A", ERROR, "B"]
    assert given == [["a", "b"]]


async def test_a_stage_that_would_be_given_nothing_is_not_called():
    """There is no handler to start."""

    async def stage(going: list[str]) -> list[str]:
        raise AssertionError("it was called")

    assert await run_stage([EarlyResult(1), EarlyResult(None)], stage) == [1, None]


@pytest.mark.parametrize("returned", [["a"], ["a", "b", "c"]])
async def test_a_stage_that_returns_another_number_of_values_fails_all(returned: list[str]):
    """Which of them it has left out is not known."""

    async def stage(going: list[str]) -> list[str]:
        return returned

    with pytest.raises(ValueError, match=f"returned {len(returned)} values for 2 records"):
        await run_stage(["a", "b"], stage)


@pytest.mark.parametrize("change", [list.clear, lambda going: going.pop(0), lambda going: going.append("c")])
async def test_what_a_stage_does_to_its_list_changes_no_count(change):
    """A value belongs to what was given."""

    async def stage(going: list[str]) -> list[str]:
        values = [each.upper() for each in going]
        change(going)
        return values

    given = ["a", "b"]
    assert await run_stage(given, stage) == ["A", "B"]
    assert given == ["a", "b"]


async def test_a_handler_of_one_body_is_a_stage_of_lists_of_one():
    """So that the other stages know lists alone."""

    async def call(record: Record) -> str:
        return record.body

    assert await HandlerCall(call, takes_list=False).as_stage()(STANDARD[:1]) == ["0"]
    assert HandlerCall(call, takes_list=True).as_stage() is call
