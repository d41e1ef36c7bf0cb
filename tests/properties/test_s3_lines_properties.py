"""Whatever lies in an object and wherever it is cut: every item is read once, in order, or the object is refused."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.sources import read_items
from fanfold.sources.s3_lines import S3Lines
from piece_store import PieceStore, backend_with, plan_of, read_all, read_parts, rows_of, values_of
from strategies import csv_objects, giant_csv_objects, jsonl_objects, text_objects


def texts_of(data: bytes) -> list[str]:
    return re.split("\r?\n", data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r"))


@pytest.mark.parametrize(
    ("key", "objects", "whole"),
    [
        ("o.csv", csv_objects(max_rows=3), rows_of),
        ("o.jsonl", jsonl_objects(max_rows=3), values_of),
        ("o.txt", text_objects(max_rows=4), texts_of),
    ],
    ids=["csv", "json lines", "text"],
)
@given(drawn=st.data(), piece_bytes=st.integers(1, 40))
@settings(deadline=None, max_examples=40)
async def test_an_object_cut_at_any_size_reads_as_the_whole(key, objects, whole, drawn, piece_bytes):
    """The segments of an object, whatever their size, give the rows of the whole, once and in order.

    So do those of JSON Lines its values, and those of a text its lines, empty ones too.
    """
    data = drawn.draw(objects)
    expected = whole(data)
    for chunk_bytes in range(1, len(data) + 2):
        assert await read_all(data, key=key, chunk_bytes=chunk_bytes, piece_bytes=piece_bytes) == expected


@given(data=csv_objects(max_rows=40), chunk_bytes=st.integers(1, 2_000), piece_bytes=st.integers(1, 2_000))
@settings(deadline=None, max_examples=40)
async def test_pieces_and_cuts_may_fall_anywhere(data, chunk_bytes, piece_bytes):
    """Neither the size of a segment nor that of a piece of a read shows in the rows."""
    assert await read_all(data, key="o.csv", chunk_bytes=chunk_bytes, piece_bytes=piece_bytes) == rows_of(data)


@given(data=giant_csv_objects(), chunk_bytes=st.integers(4_000, 400_000), piece_bytes=st.integers(1_000, 400_000))
@settings(deadline=None, max_examples=15)
async def test_a_row_may_be_longer_than_many_segments(data, chunk_bytes, piece_bytes):
    """A row of more than 128 KB is read once and whole, by the segment that holds its first byte."""
    assert await read_all(data, key="o.csv", chunk_bytes=chunk_bytes, piece_bytes=piece_bytes) == rows_of(data)


@given(data=csv_objects(max_rows=40), chunk_bytes=st.integers(1, 200), first=st.integers(0, 400))
@settings(deadline=None, max_examples=50)
async def test_segments_tile_the_object(data, chunk_bytes, first):
    """The byte ranges begin after the header, leave no gap and no overlap, and end with the object."""
    plan = await plan_of(PieceStore(data), key="o.csv", chunk_bytes=chunk_bytes)
    parts = list(S3Lines.cut(plan))
    edges = [plan["begin"], *(part["stop"] for part in parts)]
    assert [part["start"] for part in parts] == edges[:-1]
    assert edges[-1] == len(data)
    assert list(S3Lines.cut(plan, first)) == parts[first:]


@given(data=csv_objects(), chunk_bytes=st.integers(1, 200))
@settings(deadline=None, max_examples=50)
async def test_a_segment_travels_as_json(data, chunk_bytes):
    """The plan and every segment of it are JSON values: what comes out of a message is what went in."""
    plan = await plan_of(PieceStore(data), key="o.csv", chunk_bytes=chunk_bytes)
    assert json.loads(json.dumps(plan)) == plan
    assert [json.loads(json.dumps(part)) for part in S3Lines.cut(plan)] == list(S3Lines.cut(plan))


async def test_a_row_belongs_to_the_range_that_holds_its_first_byte():
    """A range gives the rows that begin in it, the one that ends beyond it too, and not the one it begins amid."""
    store = PieceStore(b"n\n11\n22\n33\n")
    plan = await plan_of(store, key="o.csv", chunk_bytes=4)
    read = [[row["n"] async for row in read_items(part, backend_with(store))] for part in S3Lines.cut(plan)]
    assert read == [["11", "22"], ["33"], []]


async def test_a_range_that_begins_with_a_row_holds_it():
    """A cut that falls between two rows takes nothing from the second."""
    store = PieceStore(b"n\n1\n2\n3\n")
    plan = await plan_of(store, key="o.csv", chunk_bytes=2)
    read = [[row["n"] async for row in read_items(part, backend_with(store))] for part in S3Lines.cut(plan)]
    assert read == [["1"], ["2"], ["3"]]


async def test_short_lines_cost_at_most_two_reads_a_segment():
    """A segment reads its own range, and once more for the rest of its last line."""
    store = PieceStore(b"n\n" + b"12345\n" * 100)
    plan = await plan_of(store, key="o.csv", chunk_bytes=100)
    store.reads = 0
    await read_parts(store, plan)
    assert store.reads <= 2 * 6


async def test_the_rest_of_a_giant_line_is_read_in_growing_steps():
    """The rest of a line of 1 MB takes five reads, not one for every 64 KB, and asks for little more than there is."""
    store = PieceStore(b"n\n" + b"x" * 1_000_000 + b"\n" + b"1\n" * 1_000_000)
    plan = await plan_of(store, key="o.csv", chunk_bytes=1_000)
    store.reads = store.bytes_requested = 0
    first = next(iter(S3Lines.cut(plan)))
    rows = [row async for row in read_items(first, backend_with(store))]
    assert [len(row["n"]) for row in rows] == [1_000_000]
    assert store.reads == 6
    assert store.bytes_requested < 2_200_000


async def test_only_the_header_is_read_to_plan():
    """Planning reads up to the end of the header, not the object."""
    store = PieceStore(b"a,b\n" + b"1,2\n" * 1_000_000, piece_bytes=1_000)
    await plan_of(store, key="o.csv", chunk_bytes=1_000)
    assert store.reads == 1
    assert store.bytes_requested <= 1_048_576


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
def test_the_format_is_told_by_the_ending_of_the_key(key, known):
    """A key's ending, in capitals or not, tells the format."""
    assert S3Lines("bucket", key).format == known


def test_a_format_that_is_given_stands():
    """The format that was given counts, whatever the key ends with."""
    assert S3Lines("bucket", "a.csv", format="text").format == "text"
