"""Compression: derived from the key or the content encoding, or configured; sizes and lines have limits."""

import bz2
import gzip
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from backports import zstd

from fanfold import S3JsonArray, S3Lines, inmemory, sources
from fanfold.errors import ConfigurationError, SourceError
from fanfold.inmemory import InMemoryStore
from fanfold.protocols import ObjectInfo

COMPRESS: dict[str, Any] = {"gzip": gzip.compress, "bzip2": bz2.compress, "zstd": zstd.compress}
SUFFIXES = {"gzip": ".gz", "bzip2": ".bz2", "zstd": ".zst"}
TRAIL = json.dumps({"Records": [{"eventName": "GetObject"}, {"eventName": "PutObject"}]}).encode()
NAMES = [{"eventName": "GetObject"}, {"eventName": "PutObject"}]


class Requested(InMemoryStore):
    """A store with the requests for objects that it has received."""

    def __init__(self, *buckets: str) -> None:
        super().__init__(*buckets)
        self.requests: list[tuple[str, str]] = []

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        self.requests.append(("head", key))
        return await super().head(bucket, key)

    async def read_start(self, bucket: str, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        result = await super().read_start(bucket, key, max_bytes)
        self.requests[-1] = ("read_start", key)  # instead of the call of head by the store in memory
        return result

    def read(self, bucket: str, key: str, **options: Any) -> AsyncGenerator[bytes, None]:
        self.requests.append(("read", key))
        return super().read(bucket, key, **options)


async def items_of(source: Any, objects: dict[str, bytes], content_encoding: str | None = None) -> list[Any]:
    backend = inmemory.backend()
    backend.store.fill("b", objects, content_encoding=content_encoding)
    plan = json.loads(json.dumps(await source.pin(backend, "p")))
    return [item for part in sources.cut(plan) async for item in sources.read_items(part, backend)]


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        ("日本語,é\n二,三\n".encode(), "cp1252", "specify encoding='utf-8'"),
        ("表,十\n".encode("iso2022_jp"), "utf-8", "specify encoding='iso2022_jp'"),
        ("表\n十\n".encode("utf-16"), "latin-1", "specify encoding='utf-16'"),
        ("表\n十\n".encode("utf-16-be"), "utf-16-le", "specify encoding='utf-16-be'"),
        ("a\rb\rc".encode("utf-16"), "utf-16", r"lines end with CR \(0x0D\) alone"),
        (b"a\rb\rc", "utf-8", r"lines end with CR \(0x0D\) alone"),
        (b"PAR1" + b"x" * 100_000, "utf-8", "use S3Parquet"),
    ],
)
async def test_compressed_content_that_is_not_as_declared_is_refused_as_if_it_were_not_compressed(
    data, encoding, message
):
    """Its content is not known before it is read."""
    for key, stored in {"o.txt": data, "o.txt.gz": gzip.compress(data)}.items():
        with pytest.raises(SourceError, match=f"^s3://b/{key}.*{message}"):
            await items_of(S3Lines("b", key, encoding=encoding), {key: stored})


@pytest.mark.parametrize("compression", COMPRESS)
async def test_a_compressed_array_is_read_by_its_suffix(compression):
    """A log file of CloudTrail is a compressed object with an array in it."""
    key, data = f"trail.json{SUFFIXES[compression].upper()}", COMPRESS[compression](TRAIL)
    assert await items_of(S3JsonArray("b", key, "/Records"), {key: data}) == NAMES


@pytest.mark.parametrize("compression", COMPRESS)
async def test_a_compressed_array_without_a_suffix_is_refused_with_the_setting(compression):
    """Not as an array in another encoding."""
    with pytest.raises(SourceError, match=f"^s3://b/trail is compressed: specify compression='{compression}'"):
        await items_of(S3JsonArray("b", "trail", "/Records"), {"trail": COMPRESS[compression](TRAIL)})


@pytest.mark.parametrize("compression", COMPRESS)
async def test_a_compressed_array_is_read_by_the_setting(compression):
    """The setting has precedence over the key and the content encoding."""
    source = S3JsonArray("b", "trail.json", "/Records", compression=compression)
    assert await items_of(source, {"trail.json": COMPRESS[compression](TRAIL)}, "identity") == NAMES
    plain = S3JsonArray("b", "trail.gz", "/Records", compression="none")
    assert await items_of(plain, {"trail.gz": TRAIL}, "gzip") == NAMES


@pytest.mark.parametrize(
    ("content_encoding", "compression"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip,aws-chunked", "gzip"),
        ("aws-chunked, zstd", "zstd"),
        ("bzip2", "bzip2"),
    ],
)
async def test_compression_is_derived_from_the_content_encoding(content_encoding, compression):
    """Objects that are served to browsers are compressed without a suffix."""
    lines = {"o.jsonl": COMPRESS[compression](b'{"a": 1}\n{"a": 2}\n')}
    assert await items_of(S3Lines("b", "o.jsonl", chunk_bytes=1), lines, content_encoding) == [{"a": 1}, {"a": 2}]
    assert await items_of(S3Lines("b", prefix="o", chunk_bytes=1), lines, content_encoding) == [{"a": 1}, {"a": 2}]
    array = {"o": COMPRESS[compression](b"[1, 2]")}
    assert await items_of(S3JsonArray("b", "o"), array, content_encoding) == [1, 2]


@pytest.mark.parametrize("content_encoding", [None, "", "identity", "aws-chunked"])
async def test_an_object_without_a_compression_is_read_as_is(content_encoding):
    """S3 may store the coding of a chunked upload."""
    assert await items_of(S3JsonArray("b", "o"), {"o": b"[1, 2]"}, content_encoding) == [1, 2]


async def test_a_suffix_and_a_content_encoding_are_one_compression():
    """Upload tools set the content encoding of a file that is already compressed."""
    assert await items_of(S3JsonArray("b", "o.json.gz"), {"o.json.gz": gzip.compress(b"[1]")}, "gzip") == [1]


@pytest.mark.parametrize("content_encoding", ["br", "deflate", "gzip, br"])
async def test_an_unknown_content_encoding_is_refused_by_name(content_encoding):
    """The bytes would not be JSON."""
    with pytest.raises(SourceError, match=rf"^s3://b/o\.jsonl has the Content-Encoding '{content_encoding}'"):
        await items_of(S3Lines("b", "o.jsonl"), {"o.jsonl": b"1"}, content_encoding)


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("cut", [1, -1])
async def test_a_damaged_array_is_refused_with_its_name(compression, cut):
    """It is never read as if it were complete."""
    key, data = f"o.json{SUFFIXES[compression]}", COMPRESS[compression](b"[1, 2]" + b" " * 1_000)
    wrong = data[:cut] if cut < 0 else b'{"a": 1}'
    with pytest.raises(SourceError, match=rf"^s3://b/o\.json.*: the .*{compression}"):
        await items_of(S3JsonArray("b", key), {key: wrong})


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("size", [1_000, 1_001])
async def test_an_object_larger_than_the_limit_when_decompressed_is_refused(compression, size):
    """A few kilobytes can be gigabytes of zeros; an object of exactly the limit is read."""
    array = b"[1]" + b" " * (size - 3)
    lines = b"1\n" + b"\n" * (size - 2)
    for source, data, items in (
        (S3JsonArray("b", "o", compression=compression, max_decompressed_bytes=1_000), array, [1]),
        (S3Lines("b", f"o.jsonl{SUFFIXES[compression]}", max_decompressed_bytes=1_000), lines, [1]),
    ):
        stored = {source.key: COMPRESS[compression](data)}
        if size == 1_000:
            assert await items_of(source, stored) == items
            continue
        with pytest.raises(SourceError, match=r"^s3://b/o.*: more than 1,000 bytes .*raise max_decompressed_bytes"):
            await items_of(source, stored)


@pytest.mark.parametrize(
    "source",
    [S3Lines("b", "o.jsonl"), S3Lines("b", "o.csv"), S3JsonArray("b", "o.json")],
    ids=lambda source: source.key,
)
async def test_the_content_encoding_takes_no_request_of_its_own(source):
    """It is part of the response that contains the first bytes of the object."""
    objects = {"o.jsonl": b"[1]\n[2]\n", "o.csv": b"a,b\n1,2\n", "o.json": b"[1, 2]"}
    store = Requested("results")
    store.fill("b", {key: gzip.compress(data) for key, data in objects.items()}, content_encoding="gzip")
    await source.pin(replace(inmemory.backend(), store=store), "p")
    assert store.requests == [("read_start", source.key)]


@pytest.mark.parametrize("compression", COMPRESS)
async def test_a_compressed_array_must_have_content(compression):
    """An object without bytes is empty input, but a compressed document without content is malformed."""
    key = f"o.json{SUFFIXES[compression]}"
    with pytest.raises(SourceError, match=rf"^s3://b/{key}: malformed JSON near byte 0"):
        await items_of(S3JsonArray("b", key), {key: COMPRESS[compression](b"")})


@pytest.mark.parametrize("compression", COMPRESS)
async def test_objects_without_line_ends_are_read_from_a_compressed_object(compression):
    """Amazon Data Firehose compresses the objects that it concatenates."""
    key, rows = f"firehose{SUFFIXES[compression]}", [{"n": number, "text": "日" * 10} for number in range(20_000)]
    data = COMPRESS[compression]("".join(json.dumps(row) for row in rows).encode())
    assert await items_of(S3Lines("b", key, format="jsonl", chunk_bytes=1), {key: data}) == rows


@pytest.mark.parametrize("key", ["o.jsonl", "o.txt", "o.csv", "o.jsonl.gz"])
@pytest.mark.parametrize("chunk_bytes", [7, 10_000])
@pytest.mark.parametrize("length", [2_000, 2_001, 1_000_000])
async def test_a_line_longer_than_the_limit_is_refused_with_its_byte(key, chunk_bytes, length):
    """It does not matter where the object is cut, or whether the line has an end; the limit itself is allowed."""
    text = b'"' + b"x" * (length - 2) + b'"'
    for data in (b'"a"\n' + text + b'\n"b"\n', b'"a"\n' + text):
        stored = {key: gzip.compress(data) if key.endswith("gz") else data}
        source = S3Lines("b", key, chunk_bytes=chunk_bytes, max_line_bytes=2_000)
        if length == 2_000:
            assert max(map(len, map(str, await items_of(source, stored)))) >= 1_998
            continue
        with pytest.raises(SourceError, match=r"^s3://b/o.*: the line at byte 4 is longer than 2,000 bytes: .*raise"):
            await items_of(source, stored)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"compression": "lz4"},
            "S3JsonArray: compression must be 'gzip', 'bzip2', 'zstd', 'none', or None, not 'lz4'",
        ),
        ({"max_row_bytes": 0}, "S3JsonArray: max_row_bytes must be an integer of at least 1, not 0"),
        ({"max_decompressed_bytes": "1"}, "S3JsonArray: max_decompressed_bytes must be an integer of at least 1"),
    ],
)
def test_an_invalid_setting_of_an_array_is_refused(settings, message):
    """The error names the setting before the object is read."""
    with pytest.raises(ConfigurationError, match=message):
        S3JsonArray("b", "o", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decimals": 1}, "S3Lines: decimals must be True or False, not 1"),
        ({"decimals": True, "format": "csv"}, "S3Lines: decimals=True is for the format 'jsonl', not 'csv'"),
        ({"max_line_bytes": 0}, "S3Lines: max_line_bytes must be an integer of at least 1, not 0"),
        ({"max_decompressed_bytes": True}, "S3Lines: max_decompressed_bytes must be an integer of at least 1"),
    ],
)
def test_an_invalid_setting_of_lines_is_refused(settings, message):
    """The error names the setting before the object is read."""
    with pytest.raises(ConfigurationError, match=message):
        S3Lines("b", "o.jsonl", **settings)
