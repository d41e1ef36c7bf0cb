"""Objects copied, moved, and deleted in bulk: no object is lost under repeats, interruptions, and races."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from failing import FailsAt, Scripted, throttled
from fanfold._base.deadline import Deadline
from fanfold.errors import (
    ConfigurationError,
    FanfoldError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    ServiceError,
)
from fanfold.inmemory import InMemoryStore
from fanfold.sinks import ObjectResult, copy_objects, delete_objects, move_objects
from fanfold.testing import ManualClock

KEYS = [f"in/{number}" for number in range(4)]


def archived(key: str) -> str:
    return f"archive/{key.removeprefix('in/')}"


def filled(store: InMemoryStore | None = None) -> InMemoryStore:
    store = store or InMemoryStore("bucket")
    store.fill("bucket", {key: key.encode() for key in KEYS})
    return store


async def listed(store: InMemoryStore, prefix: str = "in/") -> list[dict[str, Any]]:
    """Return items as S3Objects yields them."""
    return [
        {"key": item.key, "size": item.size_bytes, "etag": item.etag} async for item in store.list("bucket", prefix)
    ]


async def contents(store: InMemoryStore) -> dict[str, bytes]:
    return {
        listed.key: b"".join([piece async for piece in store.read("bucket", listed.key)])
        async for listed in store.list("bucket")
    }


MOVED = {archived(key): key.encode() for key in KEYS}


async def calls_of_a_move_without_failures() -> int:
    store, gate = filled(), FailsAt()
    await move_objects(Scripted(store, gate), "bucket", await listed(store), to=archived)
    return len(gate.seen)


async def test_objects_are_moved():
    """Each object has only its new key, which its result contains."""
    store = filled()

    async def objects() -> AsyncIterator[dict[str, Any]]:  # as a segment gets its items
        for item in await listed(store):
            yield item

    results = await move_objects(store, "bucket", objects(), to=archived)
    assert results == [ObjectResult(key, archived(key)) for key in KEYS]
    assert all(result.done for result in results)
    assert await contents(store) == MOVED


async def test_objects_are_copied_to_another_bucket():
    """The copies are in the other bucket, and the originals are unchanged."""
    store = filled(InMemoryStore("bucket", "other"))
    results = await copy_objects(store, "bucket", await listed(store), to=lambda key: key, to_bucket="other")
    assert [result.done for result in results] == [True] * 4
    assert [copy.key async for copy in store.list("other")] == KEYS
    assert await contents(store) == {key: key.encode() for key in KEYS}


async def test_a_second_delivery_changes_nothing():
    """Moving the same objects again succeeds, although the originals are gone."""
    store = filled()
    objects = await listed(store)
    for _ in range(3):
        results = await move_objects(store, "bucket", objects, to=archived)
        assert [result.error for result in results] == [None] * 4
    assert await contents(store) == MOVED


async def test_a_crash_at_any_call_and_a_second_delivery_lose_no_object():
    """After a crash, every object is in at least one place, and a second move completes the first."""
    for number in range(await calls_of_a_move_without_failures()):
        store = filled()
        objects = await listed(store)
        with pytest.raises(RuntimeError):
            await move_objects(
                Scripted(store, FailsAt(number, error=RuntimeError("killed"))), "bucket", objects, to=archived
            )
        remaining = await contents(store)
        assert {key.rpartition("/")[2] for key in remaining} == {"0", "1", "2", "3"}
        results = await move_objects(store, "bucket", objects, to=archived)
        assert [result.error for result in results] == [None] * 4
        assert await contents(store) == MOVED


@pytest.mark.parametrize(
    "error",
    [
        throttled(),
        ServiceError("InternalError", code="InternalError", transient=True),
        ServiceError("connection reset", code="ConnectionResetError", transient=True),
        ServiceError("timed out", code="TimeoutError", transient=True),
    ],
    ids=lambda error: error.code,
)
async def test_a_transient_error_is_retried(error):
    """After a transient error at any call, before or after it takes effect, every result is done."""
    for number in range(await calls_of_a_move_without_failures()):
        store = filled()
        results = await move_objects(
            Scripted(store, FailsAt(number, error=error)), "bucket", await listed(store), to=archived
        )
        assert [result.error for result in results] == [None] * 4
        assert await contents(store) == MOVED


async def test_a_permanent_error_is_the_result_of_its_key_only():
    """An object that cannot be copied keeps its original; the others are moved."""
    store = filled()
    denied = ConfigurationError("AWS refuses the permission")
    results = await move_objects(
        Scripted(store, FailsAt(0, error=denied)), "bucket", await listed(store), to=archived, concurrency=1
    )
    assert [result.error for result in results] == [denied, None, None, None]
    assert not results[0].done
    assert not results[0].transient
    assert (await contents(store)).keys() == {"in/0", *list(MOVED)[1:]}


async def test_an_object_replaced_before_it_is_copied_is_not_touched():
    """The listed object no longer exists: its result is an error, and the new object is neither copied nor deleted."""
    store = filled()
    objects = await listed(store)
    store.fill("bucket", {"in/1": b"new"})
    results = await move_objects(store, "bucket", objects, to=archived)
    assert [type(result.error) for result in results] == [type(None), ObjectChangedError, type(None), type(None)]
    after = await contents(store)
    assert after["in/1"] == b"new"
    assert archived("in/1") not in after


class ReplacedOnceCopied(InMemoryStore):
    """A store that replaces an original as soon as it is copied."""

    async def copy(self, bucket: str, key: str, to_bucket: str, to_key: str, **conditions: Any) -> None:
        await super().copy(bucket, key, to_bucket, to_key, **conditions)
        if key == "in/1":
            self.fill(bucket, {key: b"new"})


async def test_an_object_replaced_after_it_was_copied_is_not_deleted():
    """The copy is of the listed object; the new object remains, and its result is an error each time."""
    store = filled(ReplacedOnceCopied("bucket"))
    objects = await listed(store)
    for _ in range(2):
        results = await move_objects(store, "bucket", objects, to=archived)
        assert [type(result.error) for result in results] == [type(None), ObjectChangedError, type(None), type(None)]
        assert await contents(store) == {**MOVED, "in/1": b"new"}


async def test_two_originals_for_one_key_are_not_merged():
    """The first copy and the other originals remain, and their results contain the key that already exists."""
    store = filled()
    results = await move_objects(store, "bucket", await listed(store), to=lambda _: "archive/one", concurrency=1)
    assert [type(result.error) for result in results] == [type(None)] + [ObjectExistsError] * 3
    assert await contents(store) == {"archive/one": b"in/0", **{key: key.encode() for key in KEYS[1:]}}


async def test_an_older_object_under_the_new_key_does_not_count_as_the_copy():
    """If the original is gone and the new key holds another object of the same size, the object is not done."""
    store = filled()
    objects = await listed(store)
    await store.delete_many("bucket", [("in/1", None)])
    store.fill("bucket", {archived("in/1"): b"IN/1"})
    results = await move_objects(store, "bucket", objects, to=archived)
    assert [type(result.error) for result in results] == [type(None), ObjectMissingError, type(None), type(None)]


class OtherEtags(InMemoryStore):
    """A store whose copies have different ETags, as multipart copies and those encrypted with a KMS key do."""

    async def copy(self, bucket: str, key: str, to_bucket: str, to_key: str, **conditions: Any) -> None:
        await super().copy(bucket, key, to_bucket, to_key, **conditions)
        copy = self._buckets[to_bucket][to_key]
        self._buckets[to_bucket][to_key] = type(copy)(copy.data, '"another-2"', copy.written_at, copy.copy_of)


async def test_a_copy_with_another_etag_is_recognized():
    """A second delivery recognizes the copy, although its ETag differs from the original's."""
    store = filled(OtherEtags("bucket"))
    objects = await listed(store)
    for _ in range(2):
        results = await move_objects(store, "bucket", objects, to=archived)
        assert [result.error for result in results] == [None] * 4
    assert await contents(store) == MOVED


@pytest.mark.parametrize("act", [copy_objects, move_objects])
async def test_an_object_is_never_copied_onto_itself(act):
    """A copy to the same key is refused before any call, because deleting the original would lose it."""
    store = filled()
    with pytest.raises(ConfigurationError, match="s3://bucket/in/0 would be copied onto itself"):
        await act(store, "bucket", await listed(store), to=lambda key: key)
    assert len(await contents(store)) == 4


async def test_objects_that_were_not_started_in_time_can_be_retried():
    """After the deadline, no operation starts, and each result is transient."""
    store = filled()
    clock = ManualClock()
    deadline = Deadline.after(10, margin=1, clock=clock)
    clock.advance(9)
    for results in (
        await move_objects(store, "bucket", await listed(store), to=archived, deadline=deadline),
        await delete_objects(store, "bucket", await listed(store), deadline=deadline),
    ):
        assert [(result.done, result.transient) for result in results] == [(False, True)] * 4
    assert len(await contents(store)) == 4


class Refusing(InMemoryStore):
    """A store that returns an error for the first key of a deletion, a number of times."""

    def __init__(self, times: int, error: FanfoldError) -> None:
        super().__init__("bucket")
        self.times = times
        self.error = error
        self.calls: list[int] = []

    async def delete_many(self, bucket: str, objects: Sequence[tuple[str, str | None]]) -> Mapping[int, FanfoldError]:
        self.calls.append(len(objects))
        if self.times:
            self.times -= 1
            await super().delete_many(bucket, objects[1:])
            return {0: self.error}
        return await super().delete_many(bucket, objects)


async def test_objects_that_a_deletion_did_not_process_are_deleted_again():
    """After a response with transient errors, only their keys are sent again."""
    store = filled(Refusing(2, throttled()))
    results = await delete_objects(store, "bucket", await listed(store))
    assert [result.done for result in results] == [True] * 4
    assert store.calls == [4, 1, 1]
    assert await contents(store) == {}


async def test_a_deletion_that_is_refused_is_the_result_of_its_key():
    """A permanent error is the result of its key, which is not sent again."""
    denied = ConfigurationError("AWS refuses the permission")
    store = filled(Refusing(9, denied))
    results = await delete_objects(store, "bucket", await listed(store))
    assert results == [ObjectResult("in/0", error=denied), *(ObjectResult(key) for key in KEYS[1:])]
    assert store.calls == [4]


async def test_a_deletion_that_never_succeeds_ends_at_the_deadline():
    """The last error is the result."""
    store = filled()
    clock = ManualClock()
    gate = Scripted(store, lambda operation: fail_deletions(operation, clock))
    results = await delete_objects(gate, "bucket", await listed(store), deadline=Deadline.after(100, clock=clock))
    assert [result.transient for result in results] == [True] * 4


def fail_deletions(operation: str, clock: ManualClock) -> None:
    clock.advance(90)
    raise throttled()


async def test_objects_are_deleted_in_calls_of_1000():
    """2,500 objects take three calls, including one without an ETag; a replaced object remains."""
    store = Refusing(0, throttled())
    store.fill("bucket", {f"{number:04d}": b"1" for number in range(2_500)})
    objects = await listed(store, "")
    store.fill("bucket", {"0007": b"new"})
    results = await delete_objects(store, "bucket", [*objects[:-1], {"key": "2499", "etag": None}])
    assert sorted(store.calls) == [500, 1_000, 1_000]
    assert [result.key for result in results if not result.done] == ["0007"]
    assert await contents(store) == {"0007": b"new"}


@pytest.mark.parametrize("missing", ["key", "etag", "size"])
async def test_an_item_requires_its_key_etag_and_size(missing):
    """The error contains the attribute that is missing."""
    item = {"key": "in/0", "etag": '"0"', "size": 1}
    del item[missing]
    with pytest.raises(ConfigurationError, match=f"an object to copy or delete must have '{missing}'"):
        await copy_objects(filled(), "bucket", [item], to=archived)


async def test_without_objects_there_are_no_calls():
    """The list of results is empty."""
    gate = FailsAt()
    store = Scripted(filled(), gate)
    assert await move_objects(store, "bucket", [], to=archived) == []
    assert await delete_objects(store, "bucket", []) == []
    assert gate.seen == []
