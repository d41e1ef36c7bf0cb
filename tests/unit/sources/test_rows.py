"""JSON Lines: lines that cannot be read are bad rows, and the other lines are read."""

import gzip
import json
from typing import Any

import pytest

from fanfold import S3Lines, inmemory, sources
from fanfold.errors import SourceError
from fanfold.sources import BadRow

BAD_LINES = {
    b'{"n": 1': "Expecting ',' delimiter",
    b'{"n": NaN}': "NaN is not valid JSON: write null or a string",
    b'{"n": 1e400}': "1e400 exceeds the largest float",
    b'{"n": 1, "n": 2}': "an object has two members named 'n'",
    rb'{"n": "\ud800"}': "half of a surrogate pair",
    b'{"n": "\xff"}': "invalid start byte",
    b'{"n": 1}{"n":': "Expecting value",
    b'{"n": 1} 2': "unexpected data after the value, at character 9: '2'",
    b"[" * 100_000: "recursion",
}
GOOD_LINES = [b'{"n": 1}', b"", b'{"n": 2}{"n": 3}', b"4"]
GOOD = [{"n": 1}, {"n": 2}, {"n": 3}, 4]


async def items_of(source: S3Lines, key: str, data: bytes) -> list[Any]:
    backend = inmemory.backend()
    backend.store.fill("b", {key: data})
    plan = json.loads(json.dumps(await source.pin(backend, "p")))
    return [item for part in sources.cut(plan) async for item in sources.read_items(part, backend)]


def lines_around(line: bytes) -> bytes:
    return b"".join(one + b"\n" for one in [*GOOD_LINES[:2], line, *GOOD_LINES[2:]])


@pytest.mark.parametrize("chunk_bytes", [1, 9, 1_000_000])
@pytest.mark.parametrize("key", ["o.jsonl", "o.jsonl.gz"])
@pytest.mark.parametrize("line", BAD_LINES, ids=range(len(BAD_LINES)))
@pytest.mark.uncounted
async def test_a_malformed_line_of_json_is_one_bad_row_if_bad_rows_are_collected(line, key, chunk_bytes):
    """With its byte, its text, and the reason, also if an object before it on the line is complete."""
    data = lines_around(line)
    source = S3Lines("b", key, chunk_bytes=chunk_bytes, on_bad_row="collect")
    items = await items_of(source, key, gzip.compress(data) if key.endswith(".gz") else data)
    (bad,) = [item for item in items if isinstance(item, BadRow)]
    assert [item for item in items if not isinstance(item, BadRow)] == GOOD
    assert items.index(bad) == 1
    assert (bad.object, bad.byte, bad.text) == (f"s3://b/{key}", 10, line.decode(errors="replace"))
    assert BAD_LINES[line] in bad.reason


@pytest.mark.parametrize("key", ["o.jsonl", "o.jsonl.gz"])
async def test_bytes_are_counted_from_before_a_byte_order_mark(key):
    """In the content, if it is compressed."""
    data = b'\xef\xbb\xbf{"n": 1}\n{"n":\n'
    items = await items_of(
        S3Lines("b", key, on_bad_row="collect"), key, gzip.compress(data) if key.endswith(".gz") else data
    )
    assert [items[0], items[1].byte, items[1].line] == [{"n": 1}, 12, 2]


@pytest.mark.parametrize("line", BAD_LINES, ids=range(len(BAD_LINES)))
async def test_a_malformed_line_of_json_is_an_error_otherwise(line):
    """The error names the object, the byte, the line, and the reason."""
    with pytest.raises(SourceError, match=r"^s3://b/o\.jsonl.*byte 10") as caught:
        await items_of(S3Lines("b", "o.jsonl"), "o.jsonl", lines_around(line))
    assert "line 3" in str(caught.value)
    assert BAD_LINES[line] in str(caught.value)
