"""What a store promises, asked of the one in this process and of the one on AWS."""

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


async def test_an_object_is_read_as_it_was_put(bucket):
    """Bytes of any value come out as they went in."""
    data = bytes(range(256)) + b"\r\n\x00\n"
    await bucket.put("key", data)
    assert await bucket.get("key") == data


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_a_key_may_hold_any_characters(bucket, key):
    """An object is found under the very key it was put under."""
    await bucket.put(key, b"data")
    assert (await bucket.store.head(bucket.name, key)).size_bytes == 4
    assert await bucket.get(key) == b"data"


async def test_head_tells_the_size(bucket):
    """What is known of an object without reading it is its size, and an ETag that is not empty."""
    await bucket.put("key", b"12345")
    info = await bucket.store.head(bucket.name, "key")
    assert info.size_bytes == 5
    assert info.etag


async def test_an_etag_stays_until_the_object_is_replaced(bucket):
    """An object has the same ETag each time it is asked for, and another one after it was replaced."""
    await bucket.put("key", b"first")
    before = [await bucket.etag("key") for _ in range(2)]
    await bucket.put("key", b"other")
    assert before[0] == before[1] != await bucket.etag("key")


async def test_an_object_can_be_replaced(bucket):
    """A second write under a key leaves the second object."""
    await bucket.put("key", b"first")
    await bucket.put("key", b"second, longer")
    assert await bucket.get("key") == b"second, longer"


async def test_an_empty_object_is_an_object(bucket):
    """An object of no bytes has a size of 0 and is read as nothing, by any range."""
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
async def test_a_range_yields_what_lies_in_it(bucket, start, stop, data):
    """A range holds the bytes from its start up to but not including its stop, as far as there are any."""
    await bucket.put("key", b"0123456789")
    assert await bucket.get("key", start=start, stop=stop) == data


async def test_an_object_of_5_mb_is_read_in_pieces(bucket):
    """A large object comes in many pieces, none of them empty, and is whole."""
    data = b"".join(number.to_bytes(4, "big") for number in range(1_250_000))
    await bucket.put("key", data)
    pieces = [piece async for piece in bucket.store.read(bucket.name, "key")]
    assert len(pieces) > 1
    assert all(pieces)
    assert b"".join(pieces) == data


async def test_ranges_that_tile_an_object_are_the_object(bucket):
    """A large object read range by range, all at once, is whole."""
    data = b"".join(number.to_bytes(4, "big") for number in range(250_000))
    await bucket.put("key", data)
    parts: dict[int, bytes] = {}

    async def read(start: int) -> None:
        parts[start] = await bucket.get("key", start=start, stop=start + 70_001)

    async with anyio.create_task_group() as tasks:
        for start in range(0, len(data), 70_001):
            tasks.start_soon(read, start)
    assert b"".join(parts[start] for start in sorted(parts)) == data


async def test_a_read_may_be_left_before_its_end(bucket):
    """A reader that has seen enough leaves a store that works as before."""
    await bucket.put("key", b"x" * 900_000)
    for _ in range(20):
        async with aclosing(bucket.store.read(bucket.name, "key")) as pieces:
            assert await anext(pieces)
    assert len(await bucket.get("key")) == 900_000


async def test_a_pinned_object_is_read(bucket):
    """With its own ETag an object is read, whole or by ranges, also past its end."""
    await bucket.put("key", b"0123456789")
    etag = await bucket.etag("key")
    assert await bucket.get("key", etag=etag) == b"0123456789"
    assert await bucket.get("key", start=3, stop=7, etag=etag) == b"3456"
    assert await bucket.get("key", start=10, stop=20, etag=etag) == b""


@pytest.mark.parametrize(("start", "stop"), [(0, None), (3, 7), (7, None), (100, 200)])
async def test_an_object_that_is_not_the_pinned_one_is_not_read(bucket, start, stop):
    """After an object was replaced, a read pinned to the first is refused before it yields a byte."""
    await bucket.put("key", b"0123456789")
    etag = await bucket.etag("key")
    await bucket.put("key", b"abcdefghij")
    with pytest.raises(ObjectChangedError):
        await anext(bucket.store.read(bucket.name, "key", start=start, stop=stop, etag=etag))


@pytest.mark.parametrize(("data", "if_absent"), [(b"first", True), (b"", False)])
async def test_the_first_write_under_a_key_wins(bucket, data, if_absent):
    """A write that must be the first is refused where there is an object, which is left as it was.

    It does not matter how the object that is there was written.
    """
    await bucket.put("key", data, if_absent=if_absent)
    with pytest.raises(ObjectExistsError):
        await bucket.put("key", b"second", if_absent=True)
    assert await bucket.get("key") == data


async def test_of_many_first_writes_one_wins(bucket):
    """When ten write under a key at the same time and each must be the first, one is, and its object stays."""
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
async def test_a_file_becomes_an_object(bucket, tmp_path, size):
    """Of any size, also where it goes part by part; it replaces what its key held."""
    data = b"".join(number.to_bytes(4, "big") for number in range(size // 4))
    (tmp_path / "file").write_bytes(data)
    await bucket.put("key", b"old")
    await bucket.store.put_file(bucket.name, "key", tmp_path / "file", content_type="text/csv")
    assert await bucket.get("key") == data
    assert await bucket.keys() == ["key"]


@pytest.mark.parametrize("size", [4, 6_000_001])
async def test_a_file_that_must_be_the_first_replaces_nothing(bucket, tmp_path, size):
    """Where something lies already it is refused and leaves it; elsewhere it is written."""
    (tmp_path / "file").write_bytes(b"1" * size)
    await bucket.put("taken", b"other")
    with pytest.raises(ObjectExistsError):
        await bucket.store.put_file(bucket.name, "taken", tmp_path / "file", if_absent=True)
    await bucket.store.put_file(bucket.name, "free", tmp_path / "file", if_absent=True)
    assert await bucket.get("taken") == b"other"
    assert await bucket.get("free") == b"1" * size


@pytest.mark.parametrize("size", [4, 6_000_001])
async def test_a_file_goes_to_no_bucket_that_is_not_there(bucket, tmp_path, size):
    """It is told as that, and so is a file that is not there."""
    (tmp_path / "file").write_bytes(b"1" * size)
    with pytest.raises(ObjectMissingError):
        await bucket.store.put_file("no-such-bucket", "key", tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        await bucket.store.put_file(bucket.name, "key", tmp_path / "none")


async def test_an_object_that_is_not_there_has_no_head(bucket):
    """Asking for an object that does not exist is told as that."""
    with pytest.raises(ObjectMissingError):
        await bucket.store.head(bucket.name, "no-such-key")


@pytest.mark.parametrize(("start", "stop", "etag"), [(0, None, None), (3, 7, None), (0, None, '"0123"'), (5, 5, None)])
async def test_an_object_that_is_not_there_is_not_read(bucket, start, stop, etag):
    """Reading an object that does not exist is told as that, whatever the range."""
    with pytest.raises(ObjectMissingError):
        await bucket.get("no-such-key", start=start, stop=stop, etag=etag)


async def test_a_bucket_that_is_not_there_holds_nothing(bucket):
    """Asking, reading and writing in a bucket that does not exist are told as that."""
    with pytest.raises(ObjectMissingError):
        await bucket.store.head("no-such-bucket", "key")
    with pytest.raises(ObjectMissingError):
        await anext(bucket.store.read("no-such-bucket", "key"))
    with pytest.raises(ObjectMissingError):
        await bucket.store.put("no-such-bucket", "key", b"data")
    with pytest.raises(ObjectMissingError):
        await bucket.store.put("no-such-bucket", "key", b"data", if_absent=True)


async def test_a_listing_tells_what_a_head_tells(bucket):
    """Each object is listed with its key, its size, the ETag that a head gives, and when it was written."""
    before = time.time()
    await bucket.put("key", b"12345")
    listed = [each async for each in bucket.store.list(bucket.name)]
    assert [(each.key, each.size_bytes, each.etag) for each in listed] == [("key", 5, await bucket.etag("key"))]
    assert before - 2 <= listed[0].last_modified <= time.time() + 2


async def test_a_listing_is_in_the_order_of_keys_and_whole(bucket):
    """Every key is listed once, in the order of its UTF-8 bytes, over as many pages as it takes."""
    keys = [f"k{number}" for number in range(10)] + ["K", "ké", "k\uffee", "k\U0001f701", "k/1", "k "]
    for key in keys:
        await bucket.put(key, b"")
    assert await bucket.keys() == sorted(keys, key=str.encode)


async def test_a_listing_holds_keys_of_any_characters(bucket):
    """A key is listed as it was given."""
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
async def test_a_listing_is_of_a_prefix_and_after_a_key(bucket, prefix, start_after, keys):
    """A listing holds the keys that begin with the prefix and come after the key it is to start after."""
    for key in ["a/1", "a/2", "a/3", "a/4", "b/1"]:
        await bucket.put(key, b"")
    assert await bucket.keys(prefix, start_after=start_after) == keys


async def test_a_backend_keeps_results_in_its_own_bucket(bucket):
    """A result is an object of the results bucket, and is read whole however many pieces it has."""
    backend = replace(inmemory.backend(), store=bucket.store, results_bucket=bucket.name)
    await backend.put_result("runs/run-1/0/output.json", b"[1]" * 100_000)
    assert await backend.get_result("runs/run-1/0/output.json") == b"[1]" * 100_000
    assert await backend.read_all(bucket.name, "runs/run-1/0/output.json") == b"[1]" * 100_000


async def test_a_result_that_must_be_the_first_is_committed_once(bucket):
    """The second of two results that must each be the first is refused, and the first stays."""
    backend = replace(inmemory.backend(), store=bucket.store, results_bucket=bucket.name)
    await backend.put_result("output.json", b"first", if_absent=True)
    with pytest.raises(ObjectExistsError):
        await backend.put_result("output.json", b"second", if_absent=True)
    assert await backend.get_result("output.json") == b"first"


async def test_a_listing_and_an_array_are_planned_and_read(bucket):
    """What a run reads is written to the results bucket by one function and read from there by others."""
    backend = replace(inmemory.backend(), store=bucket.store, results_bucket=bucket.name)
    keys = [f"in/日本-{number:02d}" for number in range(11)]
    for key in keys:
        await bucket.put(key, b"data")
    await bucket.put("members.json", json.dumps({"members": keys}, ensure_ascii=False).encode())
    sources = (
        S3Objects(bucket.name, prefix="in/", keys_per_segment=3),
        S3JsonArray(bucket.name, "members.json", "/members"),
    )
    found = []
    for source in sources:
        plan = await source.pin(backend, source_prefix("run"))
        found.append([item for part in cut(plan) async for item in read_items(part, backend)])
    assert [item["key"] for item in found[0]] == found[1] == keys
    assert {item["etag"] for item in found[0]} == {await bucket.etag(keys[0])}
