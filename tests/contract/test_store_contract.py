"""What a store promises, asked of the one in this process and of the one on AWS."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session

from fanfold import inmemory
from fanfold._ports.run import source_prefix
from fanfold._ports.stores import ObjectInfo, Store
from fanfold._stack.emulator import LocalStack
from fanfold.aws.s3 import S3Store
from fanfold.errors import ObjectChangedError, ObjectExistsError, ObjectMissingError, ServiceError
from fanfold.inmemory import InMemoryStore
from fanfold.sinks import move_objects
from fanfold.sources import cut, read_each
from fanfold.sources.s3_json_array import S3JsonArray
from fanfold.sources.s3_objects import S3Objects

ODD_KEYS = [
    "a/b/c.csv",
    "with space",
    "naïve/日本語",
    "a+b&c=d?e#f%20",
    "dots/../kept",
    "return\rand\nline",
    "bell\x07",
]
AWS = pytest.param("aws", marks=pytest.mark.stack)


@dataclass(frozen=True)
class Bucket:
    """One bucket of a store."""

    store: Store
    name: str

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        await self.store.put(self.name, key, data, if_absent=if_absent)

    async def get(self, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None) -> bytes:
        pieces = self.store.read(self.name, key, start=start, stop=stop, etag=etag)
        return b"".join([piece async for piece in pieces])

    async def etag(self, key: str) -> str:
        return (await self.store.head(self.name, key)).etag

    async def keys(self, prefix: str = "", *, start_after: str = "") -> list[str]:
        return [listed.key async for listed in self.store.list(self.name, prefix, start_after=start_after)]

    async def copy(self, key: str, to_key: str, *, etag: str | None = None) -> None:
        await self.store.copy(self.name, key, self.name, to_key, etag=etag or await self.etag(key))


@pytest.fixture(scope="module")
def session() -> AioSession:
    """An SDK session, which reads its service descriptions once; its clients read no certificates for plain HTTP."""
    return get_session()


@pytest.fixture(params=["in-process", AWS])
async def bucket(request, session) -> AsyncIterator[Bucket]:
    name = f"bucket-{uuid.uuid4().hex}"
    if request.param == "in-process":
        yield Bucket(InMemoryStore(name), name)
        return
    request.getfixturevalue("aws")
    async with session.create_client("s3", verify=False) as client:
        await client.create_bucket(Bucket=name)
        sizes = {"copy_bytes": 6_000_000, "part_bytes": 5_242_880, "upload_bytes": 5_242_880}
        yield Bucket(S3Store(client, page_keys=3, **sizes), name)


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


async def test_the_first_write_under_a_key_wins(bucket):
    """A write that must be the first is refused where there is an object, which is left as it was."""
    await bucket.put("key", b"first", if_absent=True)
    with pytest.raises(ObjectExistsError):
        await bucket.put("key", b"second", if_absent=True)
    assert await bucket.get("key") == b"first"


async def test_a_write_that_must_be_the_first_does_not_replace_a_plain_one(bucket):
    """It does not matter how the object that is there was written."""
    await bucket.put("key", b"")
    with pytest.raises(ObjectExistsError):
        await bucket.put("key", b"second", if_absent=True)
    assert await bucket.get("key") == b""


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


async def test_a_copy_is_the_object_and_tells_so(bucket):
    """A copy has the bytes of the original, tells its ETag, and leaves it as it was."""
    await bucket.put("key", b"data")
    etag = await bucket.etag("key")
    await bucket.copy("key", "copies/key")
    info = await bucket.store.head(bucket.name, "copies/key")
    assert (await bucket.get("copies/key"), info.copy_of) == (b"data", etag)
    assert await bucket.store.head(bucket.name, "key") == ObjectInfo(4, etag)


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_a_key_of_any_characters_is_copied_and_deleted(bucket, key):
    """Copying and deleting find an object under the very key it was put under."""
    await bucket.put(key, b"data")
    await bucket.copy(key, f"copies/{key}")
    assert await bucket.store.delete_many(bucket.name, [(key, await bucket.etag(key))]) == {}
    assert await bucket.keys() == [f"copies/{key}"]


async def test_a_copy_of_a_copy_tells_what_it_was_made_from(bucket):
    """A copy tells of the object it was made from, not of that one's own original."""
    await bucket.put("key", bytes(6_000_001))
    await bucket.copy("key", "second")
    await bucket.copy("second", "third")
    assert (await bucket.store.head(bucket.name, "third")).copy_of == await bucket.etag("second")


async def test_a_large_object_is_copied_whole(bucket):
    """An object that is copied part by part has the bytes of the original, and tells its ETag."""
    data = b"".join(number.to_bytes(4, "big") for number in range(2_900_001))
    await bucket.put("key", data)
    await bucket.copy("key", "copy")
    info = await bucket.store.head(bucket.name, "copy")
    assert (info.size_bytes, info.copy_of) == (len(data), await bucket.etag("key"))
    assert await bucket.get("copy") == data


async def test_what_is_copied_over_is_gone(bucket):
    """A copy replaces what its key held; a later plain write tells of no original."""
    await bucket.put("key", b"data")
    await bucket.put("copy", b"old")
    await bucket.copy("key", "copy")
    assert await bucket.get("copy") == b"data"
    await bucket.put("copy", b"new")
    assert (await bucket.store.head(bucket.name, "copy")).copy_of is None


@pytest.mark.parametrize("size", [4, 6_000_001])
async def test_an_object_that_is_not_the_pinned_one_is_not_copied(bucket, size):
    """After an object was replaced, a copy of the first is refused and writes nothing."""
    await bucket.put("key", bytes(size))
    etag = await bucket.etag("key")
    await bucket.put("key", b"1" * size)
    with pytest.raises(ObjectChangedError):
        await bucket.copy("key", "copy", etag=etag)
    assert await bucket.keys() == ["key"]


@pytest.mark.parametrize("size", [4, 6_000_001])
async def test_a_copy_that_must_be_the_first_replaces_nothing(bucket, size):
    """Where something lies already such a copy is refused and leaves it; elsewhere it is made."""
    await bucket.put("key", b"1" * size)
    await bucket.put("taken", b"other")
    etag = await bucket.etag("key")
    with pytest.raises(ObjectExistsError):
        await bucket.store.copy(bucket.name, "key", bucket.name, "taken", etag=etag, if_absent=True)
    await bucket.store.copy(bucket.name, "key", bucket.name, "free", etag=etag, if_absent=True)
    assert await bucket.get("taken") == b"other"
    assert await bucket.get("free") == b"1" * size


async def test_what_is_not_there_is_not_copied(bucket):
    """Copying an object that does not exist, from or to a bucket that does not, is told as that."""
    await bucket.put("key", b"data")
    etag = await bucket.etag("key")
    for source, key, target in [
        (bucket.name, "no-such-key", bucket.name),
        ("no-such-bucket", "key", bucket.name),
        (bucket.name, "key", "no-such-bucket"),
    ]:
        with pytest.raises(ObjectMissingError):
            await bucket.store.copy(source, key, target, "copy", etag=etag)


async def test_objects_are_deleted_together(bucket):
    """Those that are named go, whether their ETag is asked for or not; the others stay."""
    for number in range(6):
        await bucket.put(f"key-{number}", b"data")
    etag = await bucket.etag("key-0")
    assert await bucket.store.delete_many(bucket.name, [("key-0", None), ("key-3", etag), ("key-4", None)]) == {}
    assert await bucket.keys() == ["key-1", "key-2", "key-5"]


async def test_a_thousand_objects_are_deleted_in_one_call(bucket):
    """A call takes a thousand keys, and those that are already gone are no fault, with an ETag or without."""
    await bucket.put("key-7", b"data")
    objects = [(f"key-{number}", '"0"' if number % 2 == 0 else None) for number in range(1_000)]
    assert await bucket.store.delete_many(bucket.name, objects) == {}
    assert await bucket.keys() == []


@pytest.mark.parametrize("key", ["key", "bell\x07"])
async def test_only_the_pinned_object_is_deleted(bucket, key):
    """An object that was replaced is not deleted by the ETag of the first, and is the only one told of."""
    await bucket.put(key, b"first")
    await bucket.put("other", b"other")
    etag = await bucket.etag(key)
    await bucket.put(key, b"second")
    faults = await bucket.store.delete_many(bucket.name, [("other", None), (key, etag)])
    assert {position: type(fault) for position, fault in faults.items()} == {1: ObjectChangedError}
    assert await bucket.keys() == [key]
    assert await bucket.get(key) == b"second"


async def test_a_bucket_that_is_not_there_is_not_listed_nor_deleted_from(bucket):
    """Listing and deleting in a bucket that does not exist are told as that."""
    with pytest.raises(ObjectMissingError):
        await anext(bucket.store.list("no-such-bucket"))
    with pytest.raises(ObjectMissingError):
        await bucket.store.delete_many("no-such-bucket", [("key", None)])


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
        found.append([item for part in cut(plan) async for item in read_each(part, backend)])
    assert [item["key"] for item in found[0]] == found[1] == keys
    assert {item["etag"] for item in found[0]} == {await bucket.etag(keys[0])}


async def test_objects_are_moved_once_however_often(bucket):
    """Objects moved twice lie under their new keys alone, small ones and large ones."""
    for number, size in enumerate([0, 4, 6_000_001]):
        await bucket.put(f"in/{number}", bytes(size))
    objects = [
        {"key": each.key, "size": each.size_bytes, "etag": each.etag}
        async for each in bucket.store.list(bucket.name, "in/")
    ]
    for _ in range(2):
        results = await move_objects(bucket.store, bucket.name, objects, to=lambda key: key.replace("in/", "archive/"))
        assert [(result.key, result.error) for result in results] == [(f"in/{number}", None) for number in range(3)]
    assert await bucket.keys() == ["archive/0", "archive/1", "archive/2"]


@pytest.mark.stack
@pytest.mark.parametrize("act", ["head", "read", "put", "list", "copy", "delete"])
async def test_a_store_that_does_not_answer_may_answer_later(aws: LocalStack, session, act):
    """A call that reaches nobody is a fault of the service that may pass."""
    config = AioConfig(connect_timeout=1, retries={"max_attempts": 0})
    async with session.create_client("s3", endpoint_url="http://127.0.0.1:9", verify=False, config=config) as client:
        silent = S3Store(client)
        calls = {
            "head": lambda: silent.head("bucket", "key"),
            "read": lambda: anext(silent.read("bucket", "key")),
            "put": lambda: silent.put("bucket", "key", b"data"),
            "list": lambda: anext(silent.list("bucket")),
            "copy": lambda: silent.copy("bucket", "key", "bucket", "copy", etag='"0"'),
            "delete": lambda: silent.delete_many("bucket", [("key", None)]),
        }
        with pytest.raises(ServiceError) as raised:
            await calls[act]()
    assert raised.value.transient is True


class ReplacedAmidACopy(S3Store):
    """A store whose original is replaced when the first part of a copy is about to be made."""

    async def _call(self, what: str, operation: str, **arguments: Any) -> Any:
        if operation == "upload_part_copy" and arguments["PartNumber"] == 1:
            await self.put(arguments["CopySource"]["Bucket"], "key", b"1" * 6_000_001)
        return await super()._call(what, operation, **arguments)


@pytest.mark.stack
async def test_a_large_original_replaced_amid_its_copy_leaves_nothing(aws: LocalStack, session):
    """A copy of parts of two objects is never made, and no part of it is left to be paid for."""
    name = f"bucket-{uuid.uuid4().hex}"
    async with session.create_client("s3", verify=False) as client:
        await client.create_bucket(Bucket=name)
        bucket = Bucket(ReplacedAmidACopy(client, copy_bytes=6_000_000, part_bytes=5_242_880), name)
        await bucket.put("key", bytes(6_000_001))
        with pytest.raises(ObjectChangedError):
            await bucket.copy("key", "copy")
        assert await bucket.keys() == ["key"]
        assert "Uploads" not in await client.list_multipart_uploads(Bucket=name)


@pytest.mark.stack
async def test_a_copy_keeps_how_the_original_is_served(aws: LocalStack, session):
    """A copy has its original's type, encoding and metadata, whether it was made in one call or in parts."""
    name = f"bucket-{uuid.uuid4().hex}"
    async with session.create_client("s3", verify=False) as client:
        await client.create_bucket(Bucket=name)
        bucket = Bucket(S3Store(client, copy_bytes=6_000_000, part_bytes=5_242_880), name)
        for key, size in {"small": 5, "large": 6_000_001}.items():
            served = {"ContentType": "text/csv", "CacheControl": "no-cache", "ContentDisposition": 'filename="a.csv"'}
            await client.put_object(Bucket=name, Key=key, Body=bytes(size), Metadata={"owner": "me"}, **served)
            await bucket.copy(key, f"copy-of-{key}")
            head = await client.head_object(Bucket=name, Key=f"copy-of-{key}")
            assert served.items() <= head.items()
            assert head["Metadata"]["owner"] == "me"


async def answer_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promise 1,000 bytes, send 3 and hang up."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "0"\r\n\r\nabc')
    writer.close()


async def test_an_object_that_breaks_off_may_be_read_later(session):
    """A connection that ends amid an object is a fault of the service that may pass, not an end of the object."""
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    async with await asyncio.start_server(answer_half, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with session.create_client("s3", endpoint_url=url, verify=False, **credentials) as client:
            with pytest.raises(ServiceError) as raised:
                [piece async for piece in S3Store(client).read("bucket", "key")]
    assert raised.value.transient is True
