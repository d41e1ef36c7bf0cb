"""Several objects, and compressed ones: every line is read once and in order, or the error names the object."""

import bz2
import gzip
import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import S3Lines, inmemory, sources
from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError, MissingExtraError, SourceError
from fanfold.sources.compression import expanded
from piece_store import header_of
from strategies import csv_objects, jsonl_objects, text_objects

COMPRESS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd.compress}
NAMES = {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}


def backend_with(objects: dict[str, bytes]) -> Backend:
    backend = inmemory.backend()
    backend.store.fill("b", objects)
    return backend


async def items_of(source: S3Lines, backend: Backend) -> list[list[Any]]:
    plan = json.loads(json.dumps(await source.pin(backend, "plans")))
    parts = [json.loads(json.dumps(part)) for part in sources.cut(plan)]
    assert all(len(json.dumps(part)) < 1_000 for part in parts if "manifest" in part)
    return [[item async for item in sources.read_items(part, backend)] for part in parts]


async def read_uncompressed(data: bytes, key: str, **declared: Any) -> list[Any]:
    """Return the items of one uncompressed object, read as one segment; an empty list if it has no lines."""
    segments = await items_of(S3Lines("b", key, chunk_bytes=10**9, **declared), backend_with({key: data}))
    return [item for items in segments for item in items]


OBJECTS = st.dictionaries(
    st.text("ab/日", min_size=1, max_size=3),
    st.tuples(jsonl_objects(), st.sampled_from(["", *COMPRESS])) | st.just((b"", "")),
    max_size=4,
)


@given(objects=OBJECTS, chunk_bytes=st.integers(1, 60))
@settings(deadline=None)
async def test_the_lines_of_all_objects_are_read_once_in_the_order_of_keys(objects, chunk_bytes):
    """Objects with the prefix may be uncompressed, compressed, or empty; other keys are not read."""
    stored, expected = {"in": b"1\n", "other.jsonl": b"2\n"}, []
    for name, (data, suffix) in sorted(objects.items(), key=lambda item: f"in/{item[0]}.jsonl{item[1][1]}".encode()):
        stored[f"in/{name}.jsonl{suffix}"] = COMPRESS[suffix](data) if suffix else data
        expected += await read_uncompressed(data, "o.jsonl")
    source = S3Lines("b", prefix="in/", chunk_bytes=chunk_bytes)
    backend = backend_with(stored)
    assert [item for items in await items_of(source, backend) for item in items] == expected


@given(data=st.data(), ending=st.sampled_from(list(COMPRESS)), members=st.integers(1, 3))
@settings(deadline=None)
async def test_a_compressed_object_has_the_same_items_as_an_uncompressed_one(data, ending, members):
    """It is one segment, for any format, byte order mark, line ends, and number of members."""
    key, objects = data.draw(
        st.sampled_from([("o.csv", csv_objects()), ("o.jsonl", jsonl_objects()), ("o.txt", text_objects())])
    )
    content = data.draw(objects)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), min_size=members - 1, max_size=members - 1)))
    pieces = [content[first:last] for first, last in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    packed = b"".join(map(COMPRESS[ending], pieces))
    declared = header_of(content) if key == "o.csv" else {}
    source = S3Lines("b", key + ending, chunk_bytes=1, **declared)
    expected = await read_uncompressed(content, key, **declared)
    segments = await items_of(source, backend_with({key + ending: packed}))
    assert [item for items in segments for item in items] == expected
    assert len(segments) <= 1


@given(
    ending=st.sampled_from(list(COMPRESS)),
    content=st.binary(max_size=2_000) | st.just(bytes(1_500_000)),
    piece_bytes=st.integers(1, 500),
)
@settings(deadline=None, max_examples=60)
async def test_pieces_of_any_size_are_decompressed_in_small_chunks(ending, content, piece_bytes):
    """Chunks are small at any compression ratio, because the whole content may not fit in memory."""
    packed = COMPRESS[ending](content)
    chunks = [piece async for piece in expanded(pieces_of(packed, piece_bytes), NAMES[ending])]
    assert b"".join(chunks) == content
    assert max(map(len, chunks), default=0) <= 262_144


async def pieces_of(data: bytes, piece_bytes: int) -> AsyncIterator[bytes]:
    for first in range(0, len(data), piece_bytes):
        yield data[first : first + piece_bytes]


@pytest.mark.parametrize("ending", COMPRESS)
async def test_truncated_damaged_or_uncompressed_bytes_are_refused(ending):
    """Such an object is never read as if it were complete."""
    packed = COMPRESS[ending](b"1\n" * 1_000)
    for data in (packed[:-4], b'{"a": 1}\n' * 10, packed + b"rest"):
        key = f"o.jsonl{ending}"
        with pytest.raises(SourceError, match=r"s3://b/o\.jsonl"):
            await items_of(S3Lines("b", key), backend_with({key: data}))


@pytest.mark.parametrize("ending", [".gz", ".bz2"])
async def test_a_damaged_byte_is_detected_if_the_format_has_a_checksum(ending):
    """In Zstandard, the checksum is optional."""
    packed = bytearray(COMPRESS[ending](b"1\n2\n3\n" * 100))
    packed[len(packed) // 2] ^= 0xFF
    key = f"o.jsonl{ending}"
    with pytest.raises(SourceError, match=r"the bytes are not valid (gzip|bzip2)"):
        await items_of(S3Lines("b", key), backend_with({key: bytes(packed)}))


@pytest.mark.parametrize("zeros", [100, 200_000])
async def test_gzip_padded_with_zeros_is_read(zeros):
    """Some programs pad gzip with zeros, possibly with more than one piece of them."""
    padded = gzip.compress(b"a\n") + bytes(zeros) + gzip.compress(b"b") + bytes(zeros)
    (items,) = await items_of(S3Lines("b", "o.txt.gz"), backend_with({"o.txt.gz": padded}))
    assert items == ["a", "b"]


async def test_without_the_zstandard_library_the_error_names_the_extra(monkeypatch):
    """Only reading such an object needs the library."""
    monkeypatch.setitem(sys.modules, "backports", None)
    with pytest.raises(MissingExtraError, match=r"fanfold\[zstd\]"):
        await items_of(S3Lines("b", "o.txt.zst"), backend_with({"o.txt.zst": zstd.compress(b"a")}))


async def test_a_malformed_line_of_a_compressed_object_is_refused_with_its_byte():
    """The byte counts in the uncompressed content."""
    packed = gzip.compress(b"a,b\n1,2\n3\n")
    with pytest.raises(SourceError, match=r"s3://b/o\.csv\.gz: malformed line 3 near byte 8: the row has 1 fields"):
        await items_of(S3Lines("b", "o.csv.gz"), backend_with({"o.csv.gz": packed}))


async def test_only_keys_with_the_suffix_are_read():
    """If the format of a key is unknown, the error names the key and what to specify."""
    backend = backend_with({"in/a.csv": b"n\n1\n", "in/_SUCCESS": b"ok", "in/b.csv": b"n\n"})
    assert await items_of(S3Lines("b", prefix="in/", suffix=".csv"), backend) == [[{"n": "1"}]]
    with pytest.raises(ConfigurationError, match="the format of 'in/_SUCCESS' is unknown: specify format="):
        await items_of(S3Lines("b", prefix="in/"), backend)


async def test_a_missing_bucket_is_refused_by_name():
    """The error is raised when the run is planned."""
    with pytest.raises(SourceError, match="s3://nowhere does not exist: check the bucket"):
        await S3Lines("nowhere", prefix="in/").pin(inmemory.backend(), "plans")


async def test_replacing_an_object_after_the_plan_fails_only_its_segments():
    """Segments of other objects are read."""
    backend = backend_with({"in/a.txt": b"1\n2\n", "in/b.txt": b"3\n"})
    plan = await S3Lines("b", prefix="in/", chunk_bytes=2).pin(backend, "plans")
    backend.store.fill("b", {"in/a.txt": b"7\n8\n"})
    first, second, third = sources.cut(plan)
    for part in (first, second):
        with pytest.raises(SourceError, match=r"in/a\.txt was replaced"):
            _ = [item async for item in sources.read_items(part, backend)]
    assert [item async for item in sources.read_items(third, backend)] == ["3"]
