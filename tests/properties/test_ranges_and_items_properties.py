"""Ranges and items: the segments together are the whole input, for any cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold import Items, Job, Ranges, inmemory, sources
from fanfold.errors import ConfigurationError
from harness import Bench

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


async def parts_of(source: Any, first: int = 0) -> list[Any]:
    """Return the parts of all segments, after JSON encoding and decoding."""
    plan = json.loads(json.dumps(await source.pin(inmemory.backend())))
    return [json.loads(json.dumps(part)) for part in sources.cut(plan, first)]


async def segments_of(source: Any, first: int = 0) -> list[list[Any]]:
    backend = inmemory.backend()
    return [[item async for item in sources.read_items(part, backend)] for part in await parts_of(source, first)]


async def test_105_records_by_10_are_eleven_segments():
    """System 2: the offsets are 0 to 100, and the last limit is 5."""
    bounds = [item for (item,) in await segments_of(Ranges(105, size=10, yields="bounds"))]
    assert [item["offset"] for item in bounds] == list(range(0, 101, 10))
    assert [item["limit"] for item in bounds] == [10] * 10 + [5]
    assert await segments_of(Ranges(105, size=10)) == [list(range(n, min(n + 10, 105))) for n in range(0, 105, 10)]


@pytest.mark.parametrize(
    ("source", "lengths"),
    [
        (Ranges(0, size=10), []),
        (Ranges(0, parts=4), []),
        (Ranges(100, size=10), [10] * 10),
        (Ranges(105, parts=4), [27, 26, 26, 26]),
        (Ranges(3, parts=10), [1, 1, 1]),
        (Ranges(1, size=10), [1]),
        (Ranges(start=7, stop=7, size=1), []),
        (Items([], size=3), []),
        (Items(range(7), size=3), [3, 3, 1]),
    ],
)
async def test_zero_and_exact_multiples_and_uneven_parts(source, lengths):
    """No segment is empty or too large."""
    assert [len(segment) for segment in await segments_of(source)] == lengths


@given(start=st.integers(-(10**6), 10**6), count=st.integers(0, 300), size=st.integers(1, 50), by=st.booleans())
async def test_the_ranges_of_all_segments_are_every_number_once_in_order(start, count, size, by):
    """With a size, only the last segment is smaller; with parts, the lengths differ by at most one."""
    source = Ranges(start + count, start=start, **({"size": size} if by else {"parts": size}))
    segments = await segments_of(source)
    assert [number for segment in segments for number in segment] == list(range(start, start + count))
    lengths = [len(segment) for segment in segments]
    if by:
        assert all(length == size for length in lengths[:-1])
    elif lengths:
        assert len(lengths) == min(size, count)
        assert max(lengths) - min(lengths) <= 1


@given(values=st.lists(JSON, max_size=20), size=st.integers(1, 7))
async def test_the_items_of_all_segments_are_every_value_once_in_order(values, size):
    """The items are the same JSON values."""
    segments = await segments_of(Items(values, size=size))
    assert [value for segment in segments for value in segment] == values
    assert all(len(segment) == size for segment in segments[:-1])


@given(count=st.integers(0, 60), size=st.integers(1, 9), first=st.integers(0, 70))
async def test_a_cut_from_a_later_segment_yields_the_same_segments(count, size, first):
    """So a scatter that was interrupted can resume."""
    for source in (Ranges(count, size=size), Ranges(count, parts=size), Items(range(count), size=size)):
        assert await parts_of(source, first) == (await parts_of(source))[first:]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ranges(10),
        lambda: Ranges(10, size=1, parts=1),
        lambda: Ranges(10, size=0),
        lambda: Ranges(10, parts=1.5),
        lambda: Ranges(10.0, size=1),
        lambda: Ranges(stop=True, size=1),
        lambda: Ranges(1, start=2, size=1),
        lambda: Ranges(1, size=1, yields="pairs"),
        lambda: Items("text"),
        lambda: Items({"a": 1}),
        lambda: Items([1], size=0),
        lambda: Items([object()]),
        lambda: Items([float("nan")]),
        lambda: Items(["\ud800"] * 2 + [set()]),
        lambda: Items(["\ud800"]),
        lambda: Items([{"a": [{1: "a", "1": "b"}]}]),
        lambda: Items(["x" * 1_000] * 101),
    ],
)
def test_invalid_settings_are_refused_when_the_source_is_created(make):
    """The error does not wait until a segment is read."""
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize("records", [0, 1, 105])
async def test_a_job_over_a_range_folds_every_number_once(records):
    """A run without segments ends with a fold of no results."""
    job = Job("offsets")
    job.source(lambda params: Ranges(params["records"], size=10))

    @job.segment
    async def count(rows, ctx):
        return [row async for row in rows]

    job.fold(lambda results: [number for result in results for number in result])
    bench = Bench(job)
    async with bench.job.open_backend() as backend:
        await bench.job.start(backend, {"records": records}, "run")
    await bench.settle()
    assert (await bench.run()).state == "SUCCEEDED"
    assert await bench.output() == list(range(records))
