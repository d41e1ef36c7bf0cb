"""Inputs that properties find by chance, as fixed examples: coverage counts these, but not random ones."""

import json
from decimal import Decimal
from typing import Any

import pytest

from exports import SUMMARY, export
from fanfold import DynamoDBExport, DynamoDBScan, S3Inventory, S3Lines, S3Objects, inmemory, sources
from fanfold._jobs.output import to_json
from fanfold.errors import SegmentError, SourceError
from fanfold.sources.dynamodb_json import DynamoDBJsonError, plain_item
from fanfold.sources.json_rows import JsonRows
from fanfold.sources.planning import Step
from inventories import inventory, row_of
from piece_store import read_all
from stops import with_stops


def rows_of(document: str) -> list[str]:
    rows = JsonRows("s3://bucket/key", "/rows")
    return [*rows.feed(document.encode()), *rows.close()]


def test_a_json_document_may_begin_with_a_byte_order_mark():
    """The mark is not part of the document."""
    assert rows_of('\ufeff{"rows": [1]}') == ["1"]


def test_an_empty_object_may_precede_the_array():
    """It is skipped like any other value."""
    assert rows_of('{"empty": {}, "rows": [1, {}]}') == ["1", "{}"]


def test_an_empty_object_has_no_array():
    """The document is refused."""
    with pytest.raises(SourceError, match="/rows"):
        rows_of("{}")


def test_an_element_that_spans_lines_is_one_row():
    """The line ends between its values become spaces."""
    (row,) = rows_of('{"rows": [{"a":\r\n1,\n"b": [2,\n3]}]}')
    assert "\n" not in row
    assert json.loads(row) == {"a": 1, "b": [2, 3]}


@pytest.mark.parametrize("piece_bytes", [1, 3])
async def test_a_line_may_be_longer_than_several_segments_and_pieces(piece_bytes: int):
    """The segments in which no line begins have no items."""
    lines = ["a" * 40, "", "b"]
    data = "\n".join(lines).encode()
    assert await read_all(data, key="o.txt", chunk_bytes=7, piece_bytes=piece_bytes) == lines


async def test_blank_lines_of_json_lines_are_not_items():
    """Neither empty lines nor lines of spaces."""
    assert await read_all(b"1\n\n  \n2\n", key="o.jsonl", chunk_bytes=100) == [1, 2]


async def test_many_objects_of_lines_are_read_and_a_prefix_without_lines_has_no_segments():
    """The byte ranges of several objects are in a manifest."""
    backend = inmemory.backend()
    backend.store.fill("bucket", {"in/a.txt": b"1\n2\n", "in/b.txt": b"3\n", "empty/a.txt": b""})
    plan = json.loads(json.dumps(await S3Lines("bucket", prefix="in/").pin(backend, "p")))
    read = [item for part in sources.cut(plan) async for item in sources.read_items(part, backend)]
    assert read == ["1", "2", "3"]
    assert list(sources.cut(await S3Lines("bucket", prefix="empty/").pin(backend, "q"))) == []


@pytest.mark.parametrize(
    ("key", "start"), [("a", {"S": "a"}), (7, {"N": "7"}), (b"\x00", {"B": "AA=="})], ids=["string", "number", "binary"]
)
def test_a_scan_continues_after_a_key_of_any_type(key: str | int | bytes, start: dict[str, str]):
    """Strings, numbers, and binaries can be keys."""
    assert DynamoDBScan.rest({"keys": ["k"]}, {"k": key, "n": 1})["start"] == {"k": start}


async def test_an_object_of_one_segment_has_no_second_one():
    """A run may be redriven from any segment."""
    backend = inmemory.backend()
    backend.store.fill("bucket", {"a.txt": b"1\n"})
    plan = await S3Lines("bucket", "a.txt").pin(backend, "p")
    assert [len(list(sources.cut(plan, first))) for first in (0, 1)] == [1, 0]


async def test_a_listing_that_must_stop_continues_after_its_last_key():
    """Each step plans one key here."""
    backend, plan = inmemory.backend(), dict[str, Any]()
    backend.store.fill("bucket", {"a": b"1", "b": b"2"})
    for number in range(3):
        plan = dict(await S3Objects("bucket").plan(backend, Step(f"p{number}", plan, lambda: True)))
    assert "unfinished" not in plan
    items = [item["key"] for part in sources.cut(plan) async for item in sources.read_items(part, backend)]
    assert items == ["a", "b"]


async def test_an_inventory_continues_after_a_key():
    """In a file that its segment reads."""
    backend = inmemory.backend()
    backend.store.fill("b", inventory([[row_of("1"), row_of("2"), row_of("3")]], "CSV"))
    (part,) = sources.cut(await S3Inventory("b", "inv/manifest.json", keys_per_segment=None).pin(backend, "p"))
    assert [item["key"] async for item in with_stops(part, backend, [1, 1])] == ["1", "2", "3"]


async def test_an_export_continues_after_an_item_and_its_segments_have_some_files():
    """The items before are not decoded again."""
    files = [[{"Item": {"n": {"N": str(number)}}} for number in numbers] for numbers in ([1, 2, 3], [4], [5])]
    backend = inmemory.backend()
    backend.store.fill("b", export(files))
    parts = list(sources.cut(await DynamoDBExport("b", SUMMARY, items_per_segment=3).pin(backend, "p")))
    read = [[int(item["n"]) async for item in with_stops(part, backend, [2])] for part in parts]
    assert read == [[1, 2, 3], [4, 5]]


def test_an_item_of_dynamodb_has_values_of_every_type():
    """As the SDK reads them."""
    item = {
        "S": {"S": "a"},
        "N": {"N": "1.50"},
        "B": {"B": "AA=="},
        "BOOL": {"BOOL": False},
        "NULL": {"NULL": True},
        "L": {"L": [{"S": "a"}, {"M": {"n": {"N": "2"}}}]},
        "SS": {"SS": ["a", "b"]},
        "NS": {"NS": ["1", "2"]},
        "BS": {"BS": ["AA=="]},
    }
    assert plain_item(item) == {
        "S": "a",
        "N": Decimal("1.50"),
        "B": b"\x00",
        "BOOL": False,
        "NULL": None,
        "L": ["a", {"n": 2}],
        "SS": {"a", "b"},
        "NS": {Decimal(1), Decimal(2)},
        "BS": {b"\x00"},
    }


@pytest.mark.parametrize("typed", [{"BOOL": "true"}, {"NULL": False}, {"SS": "ab"}, {"L": "ab"}, {"N": "NaN"}])
def test_a_value_of_another_type_than_it_states_is_refused_by_name(typed):
    """The error names the attribute."""
    with pytest.raises(DynamoDBJsonError, match="attribute a: "):
        plain_item({"a": typed})


def test_an_output_with_two_keys_that_are_the_same_in_json_is_refused():
    """JSON would keep only one."""
    with pytest.raises(SegmentError, match="a dict has two keys that are the same string in JSON"):
        to_json({1: "a", "1": "b"})
