"""Connections that break at any byte: sources read every item once, as over a connection that holds."""

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from aiobotocore.session import get_session
from hypothesis import given, settings
from hypothesis import strategies as st

from cutting_s3 import CuttingS3, at_positions, store_on
from depth import by_depth
from fanfold import S3JsonArray, S3Lines, inmemory, sources
from fanfold._ports.backend import Backend
from fanfold.errors import SourceError

SESSION = get_session()
ROWS = [{"number": number, "text": f"日本 {number % 7}"} for number in range(200)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
CSV = b"number,text\n" + b"".join(f"{row['number']},{row['text']}\n".encode() for row in ROWS)
PACKED = gzip.compress(LINES)
KINDS: dict[str, tuple[bytes, Any]] = {
    "o.jsonl": (LINES, lambda key: S3Lines("bucket", key, chunk_bytes=1_000)),
    "o.csv": (CSV, lambda key: S3Lines("bucket", key, chunk_bytes=700)),
    "o.jsonl.gz": (PACKED, lambda key: S3Lines("bucket", key)),
    "o.json": (json.dumps(ROWS).encode(), lambda key: S3JsonArray("bucket", key, rows_per_segment=30)),
}


async def items_of(source: sources.Source, backend: Backend) -> list[Any]:
    parts = list(sources.cut(await source.pin(backend, "plan")))
    return [item for part in parts async for item in sources.read_items(part, backend)]


@pytest.mark.parametrize("key", KINDS)
@given(data=st.data())
@settings(deadline=None, max_examples=by_depth(6, 15))
async def test_every_item_is_read_once_wherever_connections_break(key: str, data):
    """Lines, plain and compressed, CSV rows, and JSON arrays: planned and read over connections cut at 20 points."""
    stored, source_of = KINDS[key]
    cuts = data.draw(st.lists(st.integers(0, len(stored) - 1), min_size=20, max_size=20, unique=True))
    s3 = CuttingS3({key: stored})
    async with store_on(s3, SESSION) as store:
        source_backend = replace(inmemory.backend(), store=store)
        expected = await items_of(source_of(key), both(source_backend))
        s3.cuts = at_positions(cuts)
        assert await items_of(source_of(key), both(source_backend)) == expected
    numbers = [int(item["number"]) for item in expected]
    assert numbers == list(range(len(ROWS)))


def both(backend: Backend) -> Backend:
    """Return a backend that writes its manifests in memory."""
    memory = inmemory.backend().store

    class Both:
        def __getattr__(self, name: str) -> Any:
            return getattr(backend.store, name)

        def read(self, bucket: str, key: str, **options: Any) -> Any:
            return (memory if bucket == "results" else backend.store).read(bucket, key, **options)

        async def put(self, bucket: str, key: str, data: bytes, **options: Any) -> None:
            await memory.put(bucket, key, data, **options)

    return replace(backend, store=Both())


@pytest.mark.parametrize("key", [key for key in KINDS if key != "o.json"])
async def test_an_object_that_is_replaced_while_the_connection_is_broken_is_named(key: str):
    """The segment fails; it never contains rows of two versions."""
    stored, source_of = KINDS[key]
    s3 = CuttingS3({key: stored})
    async with store_on(s3, SESSION) as store:
        backend = replace(inmemory.backend(), store=store)
        part = next(sources.cut(await source_of(key).pin(backend, "plan")))

        def replace_and_cut(_start: int, _stop: int) -> int:
            s3.objects[key] = stored[::-1]
            return 20

        s3.cuts = replace_and_cut
        with pytest.raises(SourceError, match=rf"s3://bucket/{key} was replaced since the run was planned"):
            [item async for item in sources.read_items(part, backend)]
