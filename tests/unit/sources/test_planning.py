"""Planning of many objects: concurrently, in order, and in steps."""

import inspect
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from fanfold import DynamoDBScan, S3Lines, S3Objects
from fanfold.sources.planning import SteppedSource, from_settings, map_in_order, settings_of

SOURCES = [
    S3Lines("b", "key.csv", chunk_bytes=7),
    S3Lines(
        "b", prefix="in/", suffix=".csv", delimiter="|", encoding="cp932", columns=["a", "b"], on_bad_row="collect"
    ),
    S3Objects("b"),
    S3Objects(
        "b",
        prefix="in/",
        pattern=re.compile("a.*b", re.IGNORECASE),
        modified_after=datetime(2026, 1, 1, tzinfo=UTC),
        bytes_per_segment=10,
    ),
]


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@pytest.mark.parametrize("count", [0, 1, 4, 5, 50])
async def test_results_are_in_order_and_calls_are_bounded(count: int):
    """At most five calls run at the same time, whichever of them ends first."""
    running = most = 0

    async def call(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(1 + number * 7 % 5):
            await anyio.lowlevel.checkpoint()
        running -= 1
        return number

    results = [result async for result in map_in_order(call, numbers(count), concurrency=5)]
    assert results == list(range(count))
    assert most == min(count, 5)


async def test_an_error_cancels_the_other_calls():
    """The first error in order is raised, and nothing runs afterwards."""
    ended: list[int] = []

    async def call(number: int) -> int:
        if number == 2:
            raise ValueError("number 2")
        try:
            await (anyio.sleep_forever() if number > 2 else anyio.lowlevel.checkpoint())
        finally:
            ended.append(number)
        return number

    results: list[int] = []

    async def read_all() -> None:
        async for result in map_in_order(call, numbers(5), concurrency=5):
            results.append(result)  # noqa: PERF401 - the results before the error are checked

    with pytest.raises(ValueError, match="number 2"):
        await read_all()
    assert results == [0, 1]
    assert sorted(ended) == [0, 1, 3, 4]


async def test_closing_it_early_cancels_the_calls_and_ends_the_items():
    """A step that must stop leaves no request behind."""
    ended: list[Any] = []

    async def items() -> AsyncIterator[int]:
        try:
            async for number in numbers(9):
                yield number
        finally:
            ended.append("items")

    async def call(number: int) -> int:
        try:
            await (anyio.sleep_forever() if number else anyio.lowlevel.checkpoint())
        finally:
            ended.append(number)
        return number

    results = map_in_order(call, items(), concurrency=3)
    assert await anext(results) == 0
    await results.aclose()
    assert sorted(map(str, ended)) == ["0", "1", "2", "items"]


@pytest.mark.parametrize("source", SOURCES, ids=["object", "lines", "all keys", "some keys"])
def test_a_source_is_created_again_from_its_settings(source):
    """So that another invocation plans the rest with the same conditions, whatever the source function returns then."""
    assert isinstance(source, SteppedSource)
    created = from_settings(type(source), settings_of(source))
    assert settings_of(created) == settings_of(source)


@pytest.mark.parametrize("kind", [S3Lines, S3Objects])
def test_the_settings_contain_every_parameter(kind):
    """A parameter that is not an attribute is an error here, and not when planning continues."""
    source = kind("b", prefix="in/")
    assert settings_of(source).keys() == inspect.signature(kind).parameters.keys()
    assert json.loads(json.dumps(settings_of(source))) == settings_of(source)


def test_a_source_that_lists_nothing_is_planned_in_one_step():
    """Its plan takes one call."""
    assert not isinstance(DynamoDBScan("table"), SteppedSource)
