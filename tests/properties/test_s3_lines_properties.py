"""For any content and any cut of an object, every item is read once and in order, or the object is refused."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.sources import read_items
from fanfold.sources.s3_lines import S3Lines
from piece_store import PieceStore, backend_with, header_of, plan_of, read_all, read_parts, rows_of, values_of
from strategies import csv_objects, giant_csv_objects, jsonl_objects, text_objects


def lines_of(data: bytes) -> list[str]:
    return re.split("\r?\n", data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r"))


@pytest.mark.parametrize(
    ("key", "objects", "parse"),
    [
        ("o.csv", csv_objects(max_rows=3), rows_of),
        ("o.jsonl", jsonl_objects(max_rows=3), values_of),
        ("o.txt", text_objects(max_rows=4), lines_of),
    ],
    ids=["csv", "json lines", "text"],
)
@given(drawn=st.data(), piece_bytes=st.integers(1, 40))
@settings(deadline=None, max_examples=40)
async def test_segments_of_any_size_read_the_whole_object(key, objects, parse, drawn, piece_bytes):
    """Segments of any size read every row of a CSV object once and in order.

    The same holds for the values of JSON Lines, and for the lines of text, including empty ones.
    """
    data = drawn.draw(objects)
    expected, declared = parse(data), header_of(data) if key == "o.csv" else {}
    for chunk_bytes in range(1, len(data) + 2):
        read = await read_all(data, key=key, chunk_bytes=chunk_bytes, piece_bytes=piece_bytes, **declared)
        assert read == expected


@given(data=csv_objects(max_rows=40), chunk_bytes=st.integers(1, 2_000), piece_bytes=st.integers(1, 2_000))
@settings(deadline=None, max_examples=40)
async def test_rows_do_not_depend_on_the_sizes_of_pieces_and_segments(data, chunk_bytes, piece_bytes):
    """Neither the size of a segment nor the size of a piece changes the rows."""
    sizes = {"chunk_bytes": chunk_bytes, "piece_bytes": piece_bytes}
    assert await read_all(data, key="o.csv", **sizes, **header_of(data)) == rows_of(data)


@given(data=giant_csv_objects(), chunk_bytes=st.integers(4_000, 400_000), piece_bytes=st.integers(1_000, 400_000))
@settings(deadline=None, max_examples=15)
async def test_a_row_may_be_longer_than_many_segments(data, chunk_bytes, piece_bytes):
    """A row of more than 128 KB is read once, by the segment that holds its first byte."""
    sizes = {"chunk_bytes": chunk_bytes, "piece_bytes": piece_bytes}
    assert await read_all(data, key="o.csv", **sizes, **header_of(data)) == rows_of(data)


@given(data=csv_objects(max_rows=40), chunk_bytes=st.integers(1, 200), first=st.integers(0, 400))
@settings(deadline=None, max_examples=50)
async def test_segments_tile_the_object(data, chunk_bytes, first):
    """The byte ranges start after the header, have no gaps or overlaps, and end at the end of the object."""
    plan = await plan_of(PieceStore(data), key="o.csv", chunk_bytes=chunk_bytes, **header_of(data))
    parts = list(S3Lines.cut(plan))
    edges = [plan["begin"], *(part["stop"] for part in parts)]
    assert [part["start"] for part in parts] == edges[:-1]
    assert edges[-1] == len(data)
    assert list(S3Lines.cut(plan, first)) == parts[first:]


@given(data=csv_objects(), chunk_bytes=st.integers(1, 200))
@settings(deadline=None, max_examples=50)
async def test_plans_and_segments_can_be_encoded_as_json(data, chunk_bytes):
    """The plan and its segments are equal after JSON encoding and decoding."""
    plan = await plan_of(PieceStore(data), key="o.csv", chunk_bytes=chunk_bytes, **header_of(data))
    assert json.loads(json.dumps(plan)) == plan
    assert [json.loads(json.dumps(part)) for part in S3Lines.cut(plan)] == list(S3Lines.cut(plan))


async def test_a_row_belongs_to_the_range_that_holds_its_first_byte():
    """A range yields the rows that start in it, even if one ends after it, but not a row that starts before it."""
    store = PieceStore(b"n\n11\n22\n33\n")
    plan = await plan_of(store, key="o.csv", chunk_bytes=4)
    read = [[row["n"] async for row in read_items(part, backend_with(store))] for part in S3Lines.cut(plan)]
    assert read == [["11", "22"], ["33"], []]


async def test_a_range_that_starts_with_a_row_contains_it():
    """A cut between two rows does not lose the second row."""
    store = PieceStore(b"n\n1\n2\n3\n")
    plan = await plan_of(store, key="o.csv", chunk_bytes=2)
    read = [[row["n"] async for row in read_items(part, backend_with(store))] for part in S3Lines.cut(plan)]
    assert read == [["1"], ["2"], ["3"]]


async def test_short_lines_cost_at_most_two_reads_a_segment():
    """A segment reads its range, and once more for the rest of its last line."""
    store = PieceStore(b"n\n" + b"12345\n" * 100)
    plan = await plan_of(store, key="o.csv", chunk_bytes=100)
    store.reads = 0
    await read_parts(store, plan)
    assert store.reads <= 2 * 6


async def test_the_rest_of_a_very_long_line_is_read_in_growing_steps():
    """The rest of a line of 1 MB takes five reads, not one per 64 KB, and reads little more than the line."""
    store = PieceStore(b"n\n" + b"x" * 1_000_000 + b"\n" + b"1\n" * 1_000_000)
    plan = await plan_of(store, key="o.csv", chunk_bytes=1_000)
    store.reads = store.bytes_requested = 0
    first = next(iter(S3Lines.cut(plan)))
    rows = [row async for row in read_items(first, backend_with(store))]
    assert [len(row["n"]) for row in rows] == [1_000_000]
    assert store.reads == 6
    assert store.bytes_requested < 2_200_000


async def test_only_the_beginning_is_read_to_plan():
    """Planning reads the first 64 KB: the header, and rows to compare it with."""
    store = PieceStore(b"a,b\n" + b"1,2\n" * 1_000_000, piece_bytes=1_000)
    await plan_of(store, key="o.csv", chunk_bytes=1_000)
    assert store.reads == 1
    assert store.bytes_requested <= 65_536


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("a.csv", "csv"),
        ("A.CSV", "csv"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.txt", "text"),
        ("a.log", "text"),
    ],
)
def test_the_format_is_derived_from_the_suffix_of_the_key(key, known):
    """The suffix is not case-sensitive."""
    assert S3Lines("bucket", key).format == known


def test_a_specified_format_is_used():
    """A specified format overrides the suffix of the key."""
    assert S3Lines("bucket", "a.csv", format="text").format == "text"
