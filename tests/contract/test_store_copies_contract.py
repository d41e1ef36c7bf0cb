"""Contract of a store: copies and deletions."""

import pytest

from buckets import ODD_KEYS
from fanfold._ports.stores import ObjectInfo
from fanfold.errors import ObjectChangedError, ObjectExistsError, ObjectMissingError
from fanfold.sinks import move_objects


async def test_a_copy_has_the_bytes_and_the_etag_of_its_original(bucket):
    """``copy_of`` is the ETag of the original, which stays unchanged."""
    await bucket.put("key", b"data")
    etag = await bucket.etag("key")
    await bucket.copy("key", "copies/key")
    info = await bucket.store.head(bucket.name, "copies/key")
    assert (await bucket.get("copies/key"), info.copy_of) == (b"data", etag)
    assert await bucket.store.head(bucket.name, "key") == ObjectInfo(4, etag)


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_a_key_of_any_characters_is_copied_and_deleted(bucket, key):
    """Copies and deletions find an object under its exact key."""
    await bucket.put(key, b"data")
    await bucket.copy(key, f"copies/{key}")
    assert await bucket.store.delete_many(bucket.name, [(key, await bucket.etag(key))]) == {}
    assert await bucket.keys() == [f"copies/{key}"]


async def test_a_copy_of_a_copy_refers_to_the_copy(bucket):
    """``copy_of`` is the ETag of the copied object, not that of the first original."""
    await bucket.put("key", bytes(6_000_001))
    await bucket.copy("key", "second")
    await bucket.copy("second", "third")
    assert (await bucket.store.head(bucket.name, "third")).copy_of == await bucket.etag("second")


async def test_a_large_object_is_copied_completely(bucket):
    """A copy in parts has the bytes of the original and refers to its ETag."""
    data = b"".join(number.to_bytes(4, "big") for number in range(2_900_001))
    await bucket.put("key", data)
    await bucket.copy("key", "copy")
    info = await bucket.store.head(bucket.name, "copy")
    assert (info.size_bytes, info.copy_of) == (len(data), await bucket.etag("key"))
    assert await bucket.get("copy") == data


async def test_a_copy_replaces_an_object(bucket):
    """After a later write, the object no longer refers to an original."""
    await bucket.put("key", b"data")
    await bucket.put("copy", b"old")
    await bucket.copy("key", "copy")
    assert await bucket.get("copy") == b"data"
    await bucket.put("copy", b"new")
    assert (await bucket.store.head(bucket.name, "copy")).copy_of is None


@pytest.mark.parametrize("size", [4, 6_000_001])
async def test_a_replaced_object_is_not_copied_with_the_pinned_etag(bucket, size):
    """The copy is refused and writes nothing."""
    await bucket.put("key", bytes(size))
    etag = await bucket.etag("key")
    await bucket.put("key", b"1" * size)
    with pytest.raises(ObjectChangedError):
        await bucket.copy("key", "copy", etag=etag)
    assert await bucket.keys() == ["key"]


@pytest.mark.parametrize("size", [4, 6_000_001])
async def test_a_conditional_copy_does_not_replace_an_object(bucket, size):
    """A copy with ``if_absent`` is refused if the key has an object, and succeeds otherwise."""
    await bucket.put("key", b"1" * size)
    await bucket.put("taken", b"other")
    etag = await bucket.etag("key")
    with pytest.raises(ObjectExistsError):
        await bucket.store.copy(bucket.name, "key", bucket.name, "taken", etag=etag, if_absent=True)
    await bucket.store.copy(bucket.name, "key", bucket.name, "free", etag=etag, if_absent=True)
    assert await bucket.get("taken") == b"other"
    assert await bucket.get("free") == b"1" * size


async def test_a_copy_of_a_missing_object_or_in_a_missing_bucket_raises(bucket):
    """The error is ObjectMissingError."""
    await bucket.put("key", b"data")
    etag = await bucket.etag("key")
    for source, key, target in [
        (bucket.name, "no-such-key", bucket.name),
        ("no-such-bucket", "key", bucket.name),
        (bucket.name, "key", "no-such-bucket"),
    ]:
        with pytest.raises(ObjectMissingError):
            await bucket.store.copy(source, key, target, "copy", etag=etag)


async def test_only_the_given_objects_are_deleted(bucket):
    """They are deleted with or without an ETag condition; the others stay."""
    for number in range(6):
        await bucket.put(f"key-{number}", b"data")
    etag = await bucket.etag("key-0")
    assert await bucket.store.delete_many(bucket.name, [("key-0", None), ("key-3", etag), ("key-4", None)]) == {}
    assert await bucket.keys() == ["key-1", "key-2", "key-5"]


async def test_a_thousand_objects_are_deleted_in_one_call(bucket):
    """Keys that do not exist are not errors, with or without an ETag."""
    await bucket.put("key-7", b"data")
    objects = [(f"key-{number}", '"0"' if number % 2 == 0 else None) for number in range(1_000)]
    assert await bucket.store.delete_many(bucket.name, objects) == {}
    assert await bucket.keys() == []


@pytest.mark.parametrize("key", ["key", "bell\x07"])
async def test_only_the_pinned_object_is_deleted(bucket, key):
    """A replaced object is not deleted, and is the only error."""
    await bucket.put(key, b"first")
    await bucket.put("other", b"other")
    etag = await bucket.etag(key)
    await bucket.put(key, b"second")
    errors = await bucket.store.delete_many(bucket.name, [("other", None), (key, etag)])
    assert {position: type(error) for position, error in errors.items()} == {1: ObjectChangedError}
    assert await bucket.keys() == [key]
    assert await bucket.get(key) == b"second"


async def test_listing_and_deleting_in_a_missing_bucket_raises(bucket):
    """The error is ObjectMissingError."""
    with pytest.raises(ObjectMissingError):
        await anext(bucket.store.list("no-such-bucket"))
    with pytest.raises(ObjectMissingError):
        await bucket.store.delete_many("no-such-bucket", [("key", None)])


async def test_moving_objects_twice_has_the_effect_of_once(bucket):
    """Small and large objects exist only under their new keys."""
    for number, size in enumerate([0, 4, 6_000_001]):
        await bucket.put(f"in/{number}", bytes(size))
    objects = [
        {"key": item.key, "size": item.size_bytes, "etag": item.etag}
        async for item in bucket.store.list(bucket.name, "in/")
    ]
    for _ in range(2):
        results = await move_objects(bucket.store, bucket.name, objects, to=lambda key: key.replace("in/", "archive/"))
        assert [(result.key, result.error) for result in results] == [(f"in/{number}", None) for number in range(3)]
    assert await bucket.keys() == ["archive/0", "archive/1", "archive/2"]
