"""Contract of a store: an object's content encoding is known, and its bytes are not decoded on the way."""

import gzip
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fanfold import S3JsonArray, S3Lines, inmemory
from fanfold.aws.s3 import S3Store
from fanfold.inmemory import InMemoryStore
from fanfold.protocols import Store
from fanfold.sources import cut, read_items
from on_aws import AWS

LINES = gzip.compress(b'{"a": 1}\n{"a": 2}\n')
ARRAY = gzip.compress(b'{"Records": [1, 2]}')
OBJECTS = {"lines.jsonl": LINES, "array.json": ARRAY}


@pytest.fixture(params=["in-process", AWS])
async def store(request, session) -> AsyncIterator[tuple[Store, str]]:
    """A store, and a bucket in it with objects whose content encoding is gzip."""
    name = f"bucket-{uuid.uuid4().hex}"
    if request.param == "in-process":
        memory = InMemoryStore(name)
        memory.fill(name, OBJECTS, content_encoding="gzip")
        memory.fill(name, {"plain": b"[1]"})
        yield memory, name
        return
    request.getfixturevalue("aws")
    async with session.create_client("s3", verify=False) as client:
        await client.create_bucket(Bucket=name)
        for key, data in OBJECTS.items():
            await client.put_object(Bucket=name, Key=key, Body=data, ContentEncoding="gzip")
        await client.put_object(Bucket=name, Key="plain", Body=b"[1]")
        yield S3Store(client), name


async def test_the_content_encoding_is_part_of_the_metadata(store):
    """The size is that of the stored bytes."""
    port, name = store
    info = await port.head(name, "lines.jsonl")
    assert (info.size_bytes, info.content_encoding) == (len(LINES), "gzip")
    assert (await port.head(name, "plain")).content_encoding is None
    assert b"".join([piece async for piece in port.read(name, "lines.jsonl")]) == LINES


async def test_sources_decompress_an_object_by_its_content_encoding(store):
    """Its key has no suffix of a compression."""
    port, name = store
    backend = replace(inmemory.backend(), store=port, results_bucket=name)
    read = []
    for source in (S3Lines(name, "lines.jsonl", chunk_bytes=1), S3JsonArray(name, "array.json", "/Records")):
        plan = await source.pin(backend, f"runs/{len(read)}")
        read.append([item for part in cut(plan) async for item in read_items(part, backend)])
    assert read == [[{"a": 1}, {"a": 2}], [1, 2]]
