"""Stages: records that end early, and the records behind them in a FIFO group."""

import pytest

from fanfold._base.outcome import BLOCKED_IN_GROUP
from fanfold._base.record import Record
from fanfold._consumer.stages import EarlyResult, HandlerCall, run_stage, stop_group_at_failure
from fanfold.testing import make_fifo_record, make_record

FIFO = [Record(make_fifo_record(number)) for number in range(3)]
STANDARD = [Record(make_record(number)) for number in range(3)]
ERROR = ValueError("it cannot be decoded")


def inputs(*startable: int) -> list[str | EarlyResult]:
    return ["body" if position in startable else EarlyResult(ERROR) for position in range(3)]


@pytest.mark.parametrize(
    ("startable", "remaining"),
    [({0, 1, 2}, {0, 1, 2}), ({0, 2}, {0}), ({1, 2}, set()), ({0, 1}, {0, 1}), (set(), set())],
)
def test_in_a_fifo_list_no_record_behind_one_that_cannot_start_starts(startable: set[int], remaining: set[int]):
    """A record that has already ended keeps its error."""
    stopped = stop_group_at_failure(FIFO, inputs(*startable))
    assert {position for position, item in enumerate(stopped) if item == "body"} == remaining
    blocked = [position for position, item in enumerate(stopped) if item == EarlyResult(BLOCKED_IN_GROUP)]
    assert blocked == sorted(startable - remaining)
    assert all(stopped[position] == EarlyResult(ERROR) for position in {0, 1, 2} - startable)


@pytest.mark.parametrize("startable", [{0, 1, 2}, {0, 2}, {1, 2}, set()])
def test_on_a_standard_queue_records_are_independent(startable: set[int]):
    """A record that cannot start does not affect the others."""
    assert stop_group_at_failure(STANDARD, inputs(*startable)) == inputs(*startable)


def test_a_record_that_is_already_done_does_not_stop_its_group():
    """It ended with a value, not with an error."""
    assert stop_group_at_failure(FIFO, [EarlyResult({"n": 1}), "body", "body"]) == [
        EarlyResult({"n": 1}),
        "body",
        "body",
    ]


async def test_a_stage_gets_the_remaining_inputs_and_early_results_are_kept():
    """Values are returned by position."""
    calls = []

    async def stage(records: list[str]) -> list[str]:
        calls.append(records)
        return [record.upper() for record in records]

    assert await run_stage(["a", EarlyResult(ERROR), "b"], stage) == ["A", ERROR, "B"]
    assert calls == [["a", "b"]]


async def test_a_stage_is_not_called_with_an_empty_list():
    """If every record ended early, no handler starts."""

    async def stage(records: list[str]) -> list[str]:
        raise AssertionError("it was called")

    assert await run_stage([EarlyResult(1), EarlyResult(None)], stage) == [1, None]


@pytest.mark.parametrize("returned", [["a"], ["a", "b", "c"]])
async def test_a_stage_that_returns_the_wrong_number_of_values_fails_all_records(returned: list[str]):
    """It is unknown which value belongs to which record."""

    async def stage(records: list[str]) -> list[str]:
        return returned

    with pytest.raises(ValueError, match=f"returned {len(returned)} values for 2 records"):
        await run_stage(["a", "b"], stage)


@pytest.mark.parametrize("change", [list.clear, lambda records: records.pop(0), lambda records: records.append("c")])
async def test_a_stage_may_change_its_list(change):
    """Values are matched with the original list."""

    async def stage(records: list[str]) -> list[str]:
        values = [record.upper() for record in records]
        change(records)
        return values

    original = ["a", "b"]
    assert await run_stage(original, stage) == ["A", "B"]
    assert original == ["a", "b"]


async def test_a_handler_of_one_body_can_be_used_as_a_stage():
    """The other stages support only lists."""

    async def call(record: Record) -> str:
        return record.body

    assert await HandlerCall(call, takes_list=False).as_stage()(STANDARD[:1]) == ["0"]
    assert HandlerCall(call, takes_list=True).as_stage() is call
