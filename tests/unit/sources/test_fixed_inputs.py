"""Inputs that properties find by chance, as fixed examples: coverage counts these, but not random ones."""

import json

import pytest

from fanfold import DynamoDBScan, S3Lines, inmemory, sources
from fanfold.errors import SourceError
from fanfold.sources.json_rows import JsonRows
from piece_store import read_all


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
