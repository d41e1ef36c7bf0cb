"""Contract of a store, for the in-memory one and for S3."""

import json
import time
from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest

from buckets import ODD_KEYS
from fanfold import inmemory
from fanfold._ports.run import source_prefix
from fanfold.errors import ObjectChangedError, ObjectExistsError, ObjectMissingError
from fanfold.sources import cut, read_items
from fanfold.sources.s3_json_array import S3JsonArray
from fanfold.sources.s3_objects import S3Objects


async def test_an_object_is_read_unchanged(bucket):
    """An object can contain any bytes."""
    data = bytes(range(256)) + b"\r\n\x00\n"
    await bucket.put("key", data)
    assert await bucket.get("key") == data


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_a_key_may_contain_any_characters(bucket, key):
    """An object is found under the exact key that it was written to."""
    await bucket.put(key, b"data")
    assert (await bucket.store.head(bucket.name, key)).size_bytes == 4
    assert await bucket.get(key) == b"data"


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 100_000])
async def test_the_start_of_an_object_comes_with_its_size_and_etag(bucket, size: int):
    """The first ten bytes, or all if there are fewer."""
    data = bytes(number % 251 for number in range(size))
    await bucket.put("key", data)
    info, start = await bucket.store.read_start(bucket.name, "key", 10)
    assert (info, start) == (await bucket.store.head(bucket.name, "key"), data[:10])


async def test_the_start_of_a_missing_object_is_refused(bucket):
    """As any read of it."""
    with pytest.raises(ObjectMissingError, match="missing"):
        await bucket.store.read_start(bucket.name, "missing", 10)


async def test_head_returns_size_and_etag(bucket):
    """The ETag is not empty."""
    await bucket.put("key", b"12345")
    info = await bucket.store.head(bucket.name, "key")
    assert info.size_bytes == 5
    assert info.etag


async def test_an_etag_changes_only_when_the_object_is_replaced(bucket):
    """Repeated calls return the same ETag until another object is written."""
    await bucket.put("key", b"first")
    before = [await bucket.etag("key") for _ in range(2)]
    await bucket.put("key", b"other")
    assert before[0] == before[1] != await bucket.etag("key")


async def test_an_object_can_be_replaced(bucket):
    """A second write to a key replaces the object."""
    await bucket.put("key", b"first")
    await bucket.put("key", b"second, longer")
    assert await bucket.get("key") == b"second, longer"


async def test_an_object_can_be_empty(bucket):
    """An empty object has size 0, and every range of it is empty."""
    await bucket.put("key", b"")
    assert (await bucket.store.head(bucket.name, "key")).size_bytes == 0
    assert await bucket.get("key") == b""
    assert await bucket.get("key", start=0, stop=10) == b""


@pytest.mark.parametrize(
    ("start", "stop", "data"),
    [
        (0, 10, b"0123456789"),
        (0, None, b"0123456789"),
        (0, 1, b"0"),
        (3, 7, b"3456"),
        (9, 10, b"9"),
        (7, None, b"789"),
        (7, 100, b"789"),
        (0, 1_000_000, b"0123456789"),
        (10, 20, b""),
        (10, None, b""),
        (100, 200, b""),
        (100, None, b""),
        (0, 0, b""),
        (5, 5, b""),
        (10, 10, b""),
    ],
)
async def test_a_range_yields_its_bytes(bucket, start, stop, data):
    """A range includes its start, excludes its stop, and ends with the object."""
    await bucket.put("key", b"0123456789")
    assert await bucket.get("key", start=start, stop=stop) == data


async def test_an_object_of_5_mb_is_read_in_chunks(bucket):
    """The chunks are not empty, and together they are the object."""
    data = b"".join(number.to_bytes(4, "big") for number in range(1_250_000))
    await bucket.put("key", data)
    chunks = [chunk async for chunk in bucket.store.read(bucket.name, "key")]
    assert len(chunks) > 1
    assert all(chunks)
    assert b"".join(chunks) == data


async def test_ranges_that_tile_an_object_are_the_object(bucket):
    """Ranges that are read concurrently are together the object."""
    data = b"".join(number.to_bytes(4, "big") for number in range(250_000))
    await bucket.put("key", data)
    parts: dict[int, bytes] = {}

    async def read(start: int) -> None:
        parts[start] = await bucket.get("key", start=start, stop=start + 70_001)

    async with anyio.create_task_group() as tasks:
        for start in range(0, len(data), 70_001):
            tasks.start_soon(read, start)
    assert b"".join(parts[start] for start in sorted(parts)) == data


async def test_a_read_can_be_abandoned(bucket):
    """Closing readers early does not affect later reads."""
    await bucket.put("key", b"x" * 900_000)
    for _ in range(20):
        async with aclosing(bucket.store.read(bucket.name, "key")) as chunks:
            assert await anext(chunks)
    assert len(await bucket.get("key")) == 900_000


async def test_a_pinned_object_is_read(bucket):
    """A read with the current ETag succeeds, whole or by ranges, even beyond the end."""
    await bucket.put("key", b"0123456789")
    etag = await bucket.etag("key")
    assert await bucket.get("key", etag=etag) == b"0123456789"
    assert await bucket.get("key", start=3, stop=7, etag=etag) == b"3456"
    assert await bucket.get("key", start=10, stop=20, etag=etag) == b""


@pytest.mark.parametrize(("start", "stop"), [(0, None), (3, 7), (7, None), (100, 200)])
async def test_a_replaced_object_is_not_read_with_the_pinned_etag(bucket, start, stop):
    """The read raises before it yields a byte."""
    await bucket.put("key", b"0123456789")
    etag = await bucket.etag("key")
    await bucket.put("key", b"abcdefghij")
    with pytest.raises(ObjectChangedError):
        await anext(bucket.store.read(bucket.name, "key", start=start, stop=stop, etag=etag))


@pytest.mark.parametrize(("data", "if_absent"), [(b"first", True), (b"", False)])
async def test_a_conditional_write_does_not_replace_an_object(bucket, data, if_absent):
    """A write with ``if_absent`` is refused if the key has an object, which stays unchanged.

    It does not matter how the existing object was written.
    """
    await bucket.put("key", data, if_absent=if_absent)
    with pytest.raises(ObjectExistsError):
        await bucket.put("key", b"second", if_absent=True)
    assert await bucket.get("key") == data


async def test_of_concurrent_conditional_writes_one_succeeds(bucket):
    """Of ten concurrent writes with ``if_absent``, one succeeds, and its object stays."""
    written: list[bytes] = []

    async def put(data: bytes) -> None:
        try:
            await bucket.put("key", data, if_absent=True)
        except ObjectExistsError:
            return
        written.append(data)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(put, f"number {number}".encode())
    assert written == [await bucket.get("key")]


@pytest.mark.parametrize("size", [0, 4, 5_242_880, 11_600_004])
async def test_a_file_is_uploaded_as_an_object(bucket, tmp_path, size):
    """A file of any size, including multipart uploads, replaces the object under its key."""
    data = b"".join(number.to_bytes(4, "big") for number in range(size // 4))
    (tmp_path / "file").write_bytes(data)
    await bucket.put("key", b"old")
    await bucket.store.put_file(bucket.name, "key", tmp_path / "file", content_type="text/csv")
    assert await bucket.get("key") == data
    assert await bucket.keys() == ["key"]


@pytest.mark.parametrize("size", [4, 6_000_001])
async def test_a_conditional_upload_does_not_replace_an_object(bucket, tmp_path, size):
    """An upload with ``if_absent`` is refused if the key has an object, and succeeds otherwise."""
    (tmp_path / "file").write_bytes(b"1" * size)
    await bucket.put("taken", b"other")
    with pytest.raises(ObjectExistsError):
        await bucket.store.put_file(bucket.name, "taken", tmp_path / "file", if_absent=True)
    await bucket.store.put_file(bucket.name, "free", tmp_path / "file", if_absent=True)
    assert await bucket.get("taken") == b"other"
    assert await bucket.get("free") == b"1" * size


@pytest.mark.parametrize("size", [4, 6_000_001])
async def test_an_upload_to_a_missing_bucket_or_of_a_missing_file_raises(bucket, tmp_path, size):
    """Each case raises a specific error."""
    (tmp_path / "file").write_bytes(b"1" * size)
    with pytest.raises(ObjectMissingError):
        await bucket.store.put_file("no-such-bucket", "key", tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        await bucket.store.put_file(bucket.name, "key", tmp_path / "none")


async def test_head_of_a_missing_object_raises(bucket):
    """The error is ObjectMissingError."""
    with pytest.raises(ObjectMissingError):
        await bucket.store.head(bucket.name, "no-such-key")


@pytest.mark.parametrize(("start", "stop", "etag"), [(0, None, None), (3, 7, None), (0, None, '"0123"'), (5, 5, None)])
async def test_a_read_of_a_missing_object_raises(bucket, start, stop, etag):
    """This holds for every range, including an empty one."""
    with pytest.raises(ObjectMissingError):
        await bucket.get("no-such-key", start=start, stop=stop, etag=etag)


async def test_a_missing_bucket_raises(bucket):
    """``head``, ``read``, and ``put`` raise ObjectMissingError."""
    with pytest.raises(ObjectMissingError):
        await bucket.store.head("no-such-bucket", "key")
    with pytest.raises(ObjectMissingError):
        await anext(bucket.store.read("no-such-bucket", "key"))
    with pytest.raises(ObjectMissingError):
        await bucket.store.put("no-such-bucket", "key", b"data")
    with pytest.raises(ObjectMissingError):
        await bucket.store.put("no-such-bucket", "key", b"data", if_absent=True)


async def test_a_listing_returns_key_size_etag_and_time(bucket):
    """The ETag is the same as that of ``head``, and the time is that of the write."""
    before = time.time()
    await bucket.put("key", b"12345")
    listed = [item async for item in bucket.store.list(bucket.name)]
    assert [(item.key, item.size_bytes, item.etag) for item in listed] == [("key", 5, await bucket.etag("key"))]
    assert before - 2 <= listed[0].last_modified <= time.time() + 2


async def test_a_listing_is_complete_and_in_key_order(bucket):
    """Every key is listed once, in the order of its UTF-8 bytes, across pages."""
    keys = [f"k{number}" for number in range(10)] + ["K", "ké", "k\uffee", "k\U0001f701", "k/1", "k "]
    for key in keys:
        await bucket.put(key, b"")
    assert await bucket.keys() == sorted(keys, key=str.encode)


async def test_a_listing_returns_keys_with_any_characters(bucket):
    """A key is listed unchanged."""
    for key in ODD_KEYS:
        await bucket.put(key, b"")
    assert await bucket.keys() == sorted(ODD_KEYS)


@pytest.mark.parametrize(
    ("prefix", "start_after", "keys"),
    [
        ("", "", ["a/1", "a/2", "a/3", "a/4", "b/1"]),
        ("a/", "", ["a/1", "a/2", "a/3", "a/4"]),
        ("a/", "a/2", ["a/3", "a/4"]),
        ("a/", "a/25", ["a/3", "a/4"]),
        ("b", "a/3", ["b/1"]),
        ("a/", "b", []),
        ("c", "", []),
    ],
)
async def test_a_listing_can_start_with_a_prefix_and_after_a_key(bucket, prefix, start_after, keys):
    """It has the keys that start with ``prefix`` and come after ``start_after``."""
    for key in ["a/1", "a/2", "a/3", "a/4", "b/1"]:
        await bucket.put(key, b"")
    assert await bucket.keys(prefix, start_after=start_after) == keys


async def test_a_backend_stores_results_in_the_results_bucket(bucket):
    """A result is an object in the results bucket, and is read completely, even in several chunks."""
    backend = replace(inmemory.backend(), store=bucket.store, results_bucket=bucket.name)
    await backend.put_result("runs/run-1/0/output.json", b"[1]" * 100_000)
    assert await backend.get_result("runs/run-1/0/output.json") == b"[1]" * 100_000
    assert await backend.read_all(bucket.name, "runs/run-1/0/output.json") == b"[1]" * 100_000


async def test_a_conditional_result_is_committed_once(bucket):
    """A second result with ``if_absent`` is refused, and the first one stays."""
    backend = replace(inmemory.backend(), store=bucket.store, results_bucket=bucket.name)
    await backend.put_result("output.json", b"first", if_absent=True)
    with pytest.raises(ObjectExistsError):
        await backend.put_result("output.json", b"second", if_absent=True)
    assert await backend.get_result("output.json") == b"first"


async def test_a_listing_and_an_array_are_planned_and_read(bucket):
    """One function writes the plan to the results bucket, and others read it from there."""
    backend = replace(inmemory.backend(), store=bucket.store, results_bucket=bucket.name)
    keys = [f"in/日本-{number:02d}" for number in range(11)]
    for key in keys:
        await bucket.put(key, b"data")
    await bucket.put("members.json", json.dumps({"members": keys}, ensure_ascii=False).encode())
    sources = (
        S3Objects(bucket.name, prefix="in/", keys_per_segment=3),
        S3JsonArray(bucket.name, "members.json", "/members"),
    )
    read = []
    for source in sources:
        plan = await source.pin(backend, source_prefix("run"))
        read.append([item for part in cut(plan) async for item in read_items(part, backend)])
    assert [item["key"] for item in read[0]] == read[1] == keys
    assert {item["etag"] for item in read[0]} == {await bucket.etag(keys[0])}
