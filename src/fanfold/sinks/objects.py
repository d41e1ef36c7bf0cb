"""Copy, move, and delete S3 objects in bulk, with a result for each object.

All operations are idempotent: after a redelivery, or a crash between a copy and the deletion of its original, a second
call loses no object and returns the same results. An object is identified by its key and the ETag that it had when it
was listed, as in the items of ``S3Objects``; an object that has replaced it is not touched.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from fanfold._base import aws_limits
from fanfold._base.concurrency import for_each
from fanfold._base.deadline import Deadline
from fanfold._base.retry import Retries, retry
from fanfold._ports.stores import Store
from fanfold.errors import (
    ConfigurationError,
    FanfoldError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    ServiceError,
)

CONCURRENCY: Final = 16
"""Concurrent copies."""
DELETE_CONCURRENCY: Final = 4
"""Concurrent calls that delete 1,000 objects each."""

Objects: TypeAlias = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
"""Dicts that identify objects, such as the items of a segment."""


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """The result for one object."""

    key: str
    """The key of the object."""
    to_key: str | None = None
    """The key of its copy; None for a deletion."""
    error: FanfoldError | None = None
    """The error; None on success."""

    @property
    def done(self) -> bool:
        """True if the operation succeeded."""
        return self.error is None

    @property
    def transient(self) -> bool:
        """True if a retry may succeed: a service failed, or the deadline was reached."""
        return self.error is not None and _is_transient(self.error)


async def copy_objects(
    store: Store,
    bucket: str,
    objects: Objects,
    *,
    to: Callable[[str], str],
    to_bucket: str | None = None,
    concurrency: int = CONCURRENCY,
    deadline: Deadline | None = None,
) -> Sequence[ObjectResult]:
    """Copy objects; a copy never replaces another object.

    If the copy of an object exists, the object is done, even if its original has been deleted. So repeating a call is
    cheap, and if two originals map to one key, one of them fails.

    Args:
        store: The store of the objects; ``ctx.store`` in a segment handler.
        bucket: The bucket of the objects.
        objects: Dicts with ``key``, ``etag``, and ``size``, such as the items of ``S3Objects``: any iterable, sync or
            async.
        to: Returns the key of a copy for the key of its original.
        to_bucket: Bucket of the copies; None for the same bucket.
        concurrency: Concurrent copies, from 1; 16 by default.
        deadline: No copy starts after its ``stops_at``; None for no deadline.

    Returns:
        A result for each object, in the same order.

    Raises:
        ConfigurationError: If an object has no ``etag`` or ``size``, or would be copied onto itself.
    """
    copies = [_Copy.of(item, bucket, to_bucket or bucket, to) for item in await _collect(objects)]
    return await _copy_all(store, copies, concurrency, deadline)


async def move_objects(
    store: Store,
    bucket: str,
    objects: Objects,
    *,
    to: Callable[[str], str],
    to_bucket: str | None = None,
    concurrency: int = CONCURRENCY,
    deadline: Deadline | None = None,
) -> Sequence[ObjectResult]:
    """Copy objects as ``copy_objects`` does, and delete each original whose copy exists.

    An original that was replaced since it was listed is not deleted: its result has an ``ObjectChangedError``, and the
    copy is that of the listed object.

    Arguments, results, and errors are those of ``copy_objects``; after ``deadline``, no deletion starts either.
    """
    copies = [_Copy.of(item, bucket, to_bucket or bucket, to) for item in await _collect(objects)]
    results = await _copy_all(store, copies, concurrency, deadline)
    done = [position for position, result in enumerate(results) if result.done]
    originals = [(copies[position].key, copies[position].etag) for position in done]
    errors = await _delete_all(store, bucket, originals, deadline)
    not_deleted = {position: error for position, error in zip(done, errors, strict=True) if error is not None}
    return [
        ObjectResult(result.key, result.to_key, not_deleted.get(position, result.error))
        for position, result in enumerate(results)
    ]


async def delete_objects(
    store: Store, bucket: str, objects: Objects, *, deadline: Deadline | None = None
) -> Sequence[ObjectResult]:
    """Delete objects, 1,000 per call, each only if it still has its ETag; a missing object is done.

    Args:
        store: The store of the objects; ``ctx.store`` in a segment handler.
        bucket: The bucket of the objects.
        objects: Dicts with ``key`` and ``etag``, such as the items of ``S3Objects``: any iterable, sync or async. An
            ``etag`` of None matches any object.
        deadline: No call starts after its ``stops_at``; None for no deadline.

    Returns:
        A result for each object, in the same order.

    Raises:
        ConfigurationError: If an object has no ``etag``.
    """
    targets = [(_field(item, "key"), _field(item, "etag")) for item in await _collect(objects)]
    errors = await _delete_all(store, bucket, targets, deadline)
    return [ObjectResult(key, error=error) for (key, _), error in zip(targets, errors, strict=True)]


@dataclass(frozen=True, slots=True)
class _Copy:
    bucket: str
    key: str
    etag: str
    size_bytes: int
    to_bucket: str
    to_key: str

    @classmethod
    def of(cls, item: Mapping[str, Any], bucket: str, to_bucket: str, to: Callable[[str], str]) -> _Copy:
        key = _field(item, "key")
        copy = cls(bucket, key, _field(item, "etag"), _field(item, "size"), to_bucket, to(key))
        if (copy.bucket, copy.key) == (copy.to_bucket, copy.to_key):
            raise ConfigurationError(f"s3://{bucket}/{key} would be copied onto itself: return another key from 'to'")
        return copy


async def _copy_all(
    store: Store, copies: Sequence[_Copy], concurrency: int, deadline: Deadline | None
) -> Sequence[ObjectResult]:
    errors: dict[int, FanfoldError | None] = {}

    async def run(numbered: tuple[int, _Copy]) -> None:
        position, copy = numbered
        try:
            errors[position] = _out_of_time(deadline) or await _copy(store, copy, deadline)
        except FanfoldError as error:
            errors[position] = error

    await for_each(run, enumerate(copies), concurrency=concurrency)
    return [ObjectResult(copy.key, copy.to_key, errors[position]) for position, copy in enumerate(copies)]


async def _copy(store: Store, copy: _Copy, deadline: Deadline | None) -> FanfoldError | None:
    """Copy one object; return the error if its copy does not exist, None if it does."""
    call = partial(store.copy, copy.bucket, copy.key, copy.to_bucket, copy.to_key, etag=copy.etag, if_absent=True)
    try:
        await retry(call, deadline=deadline)
    except (ObjectExistsError, ObjectMissingError, ObjectChangedError) as error:
        exists = await retry(partial(_copy_exists, store, copy), deadline=deadline)
        return None if exists else error
    return None


async def _copy_exists(store: Store, copy: _Copy) -> bool:
    """Return whether the object under the target key is the copy, judged by its size and its metadata."""
    try:
        info = await store.head(copy.to_bucket, copy.to_key)
    except ObjectMissingError:
        return False
    return info.size_bytes == copy.size_bytes and copy.etag in {info.copy_of, info.etag}


async def _delete_all(
    store: Store, bucket: str, targets: Sequence[tuple[str, str | None]], deadline: Deadline | None
) -> Sequence[FanfoldError | None]:
    errors: list[FanfoldError | None] = [None] * len(targets)

    async def delete(begin: int) -> None:
        pending = list(range(begin, min(begin + aws_limits.S3_DELETE_KEYS, len(targets))))
        retries = Retries(deadline=deadline)
        while True:
            failures = await _delete(store, bucket, [targets[position] for position in pending], deadline)
            for index, position in enumerate(pending):
                errors[position] = failures.get(index)
            pending = [pending[index] for index, error in failures.items() if _is_transient(error)]
            if not pending or not await retries.wait():
                return

    await for_each(delete, range(0, len(targets), aws_limits.S3_DELETE_KEYS), concurrency=DELETE_CONCURRENCY)
    return errors


async def _delete(
    store: Store, bucket: str, targets: Sequence[tuple[str, str | None]], deadline: Deadline | None
) -> Mapping[int, FanfoldError]:
    try:
        late = _out_of_time(deadline)
        return dict.fromkeys(range(len(targets)), late) if late else await store.delete_many(bucket, targets)
    except FanfoldError as error:
        return dict.fromkeys(range(len(targets)), error)


def _is_transient(error: FanfoldError) -> bool:
    return isinstance(error, ServiceError) and error.transient


def _out_of_time(deadline: Deadline | None) -> FanfoldError | None:
    if deadline is None or deadline.clock() < deadline.stops_at:
        return None
    return ServiceError("the deadline was reached before the operation started", code="OutOfTime", transient=True)


async def _collect(objects: Objects) -> Sequence[Mapping[str, Any]]:
    if isinstance(objects, AsyncIterable):
        return [item async for item in objects]
    return list(objects)


def _field(item: Mapping[str, Any], name: str) -> Any:
    if name not in item:
        raise ConfigurationError(
            f"an object to copy or delete must have {name!r}, as the items of S3Objects do, unlike {item!r}"
        )
    return item[name]
