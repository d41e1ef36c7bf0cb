"""What a store promises of copies and deletions."""

import pytest

from buckets import ODD_KEYS
from fanfold._ports.stores import ObjectInfo
from fanfold.errors import ObjectChangedError, ObjectExistsError, ObjectMissingError
from fanfold.sinks import move_objects


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
