"""S3 objects copied, moved and deleted in bulk, with a result for each key.

All of it can be done again: a second delivery of the same objects, or a crash between a copy and the deletion of its
original, loses nothing and ends in the same results. An object is named by its key and the ETag it had when it was
listed, as the items of ``S3Objects`` do; what lies under the key by now, if it is another object, is left alone.
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
"""Copies in flight at once."""
DELETIONS_AT_ONCE: Final = 4
"""Calls in flight at once that delete 1,000 objects each."""

Objects: TypeAlias = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
"""Dicts that name objects, such as a segment's items."""


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """What became of one object."""

    key: str
    """Its key."""
    to_key: str | None = None
    """Key of its copy; None where it was to be deleted only."""
    error: FanfoldError | None = None
    """Why it is not done; None if it is."""

    @property
    def done(self) -> bool:
        """Whether what was asked for holds."""
        return self.error is None

    @property
    def transient(self) -> bool:
        """Whether doing it again may help: a service failed, or the time was over."""
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
    """Copy objects; nothing is ever copied over another object.

    An object whose copy lies there is done, also when the original is gone. So the same call again costs little, and
    two originals for one key are told of, not merged.

    Args:
        store: Where they lie; ``ctx.store`` in a segment handler.
        bucket: Their bucket.
        objects: Dicts with ``key``, ``etag`` and ``size``, such as the items of ``S3Objects``; plain or async.
        to: Gives the key of a copy, from the key of its original.
        to_bucket: Bucket of the copies; None for the same.
        concurrency: Copies in flight at once, from 1; 16 by default.
        deadline: When no further copy starts; None for never.

    Returns:
        A result for each object, in their order.

    Raises:
        ConfigurationError: If an object has no ``etag`` or ``size``, or would be copied onto itself.
    """
    wanted = [_Copy.of(each, bucket, to_bucket or bucket, to) for each in await _drawn(objects)]
    return await _copied(store, wanted, concurrency, deadline)


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
    """Copy objects as ``copy_objects`` does, and delete each original whose copy is there.

    An original that was replaced since it was listed is not deleted: its result has an ``ObjectChangedError``, and the
    copy is of the one that was listed.

    Arguments, results and errors are those of ``copy_objects``; ``deadline`` is also when no further deletion starts.
    """
    wanted = [_Copy.of(each, bucket, to_bucket or bucket, to) for each in await _drawn(objects)]
    copies = await _copied(store, wanted, concurrency, deadline)
    done = [position for position, result in enumerate(copies) if result.done]
    named = [(wanted[position].key, wanted[position].etag) for position in done]
    errors = await _deleted(store, bucket, named, deadline)
    left = {position: error for position, error in zip(done, errors, strict=True) if error is not None}
    return [
        ObjectResult(result.key, result.to_key, left.get(position, result.error))
        for position, result in enumerate(copies)
    ]


async def delete_objects(
    store: Store, bucket: str, objects: Objects, *, deadline: Deadline | None = None
) -> Sequence[ObjectResult]:
    """Delete objects, 1,000 in a call, each only if it still has its ETag; one that is gone already is done.

    Args:
        store: Where they lie; ``ctx.store`` in a segment handler.
        bucket: Their bucket.
        objects: Dicts with ``key`` and ``etag``, such as the items of ``S3Objects``, plain or async; an ``etag`` of
            None is any.
        deadline: When no further call starts; None for never.

    Returns:
        A result for each object, in their order.

    Raises:
        ConfigurationError: If an object has no ``etag``.
    """
    named = [(_field(each, "key"), _field(each, "etag")) for each in await _drawn(objects)]
    errors = await _deleted(store, bucket, named, deadline)
    return [ObjectResult(key, error=error) for (key, _), error in zip(named, errors, strict=True)]


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
            raise ConfigurationError(f"s3://{bucket}/{key} would be copied onto itself: let 'to' give another key")
        return copy


async def _copied(
    store: Store, wanted: Sequence[_Copy], concurrency: int, deadline: Deadline | None
) -> Sequence[ObjectResult]:
    errors: dict[int, FanfoldError | None] = {}

    async def copy(numbered: tuple[int, _Copy]) -> None:
        position, one = numbered
        try:
            errors[position] = _out_of_time(deadline) or await _copy(store, one, deadline)
        except FanfoldError as error:
            errors[position] = error

    await for_each(copy, enumerate(wanted), concurrency=concurrency)
    return [ObjectResult(one.key, one.to_key, errors[position]) for position, one in enumerate(wanted)]


async def _copy(store: Store, one: _Copy, deadline: Deadline | None) -> FanfoldError | None:
    """Copy one object; return why its copy is not there, None if it is."""
    copy = partial(store.copy, one.bucket, one.key, one.to_bucket, one.to_key, etag=one.etag, if_absent=True)
    try:
        await retry(copy, deadline=deadline)
    except (ObjectExistsError, ObjectMissingError, ObjectChangedError) as error:
        there = await retry(partial(_is_there, store, one), deadline=deadline)
        return None if there else error
    return None


async def _is_there(store: Store, one: _Copy) -> bool:
    """Tell whether what lies under the other key is the object's copy: by its size, and by what it says of itself."""
    try:
        info = await store.head(one.to_bucket, one.to_key)
    except ObjectMissingError:
        return False
    return info.size_bytes == one.size_bytes and one.etag in {info.copy_of, info.etag}


async def _deleted(
    store: Store, bucket: str, named: Sequence[tuple[str, str | None]], deadline: Deadline | None
) -> Sequence[FanfoldError | None]:
    errors: list[FanfoldError | None] = [None] * len(named)

    async def delete(begin: int) -> None:
        waiting = list(range(begin, min(begin + aws_limits.S3_DELETE_KEYS, len(named))))
        retries = Retries(deadline=deadline)
        while True:
            found = await _delete(store, bucket, [named[position] for position in waiting], deadline)
            for place, position in enumerate(waiting):
                errors[position] = found.get(place)
            waiting = [waiting[place] for place, error in found.items() if _is_transient(error)]
            if not waiting or not await retries.wait():
                return

    await for_each(delete, range(0, len(named), aws_limits.S3_DELETE_KEYS), concurrency=DELETIONS_AT_ONCE)
    return errors


async def _delete(
    store: Store, bucket: str, named: Sequence[tuple[str, str | None]], deadline: Deadline | None
) -> Mapping[int, FanfoldError]:
    try:
        late = _out_of_time(deadline)
        return dict.fromkeys(range(len(named)), late) if late else await store.delete_many(bucket, named)
    except FanfoldError as error:
        return dict.fromkeys(range(len(named)), error)


def _is_transient(error: FanfoldError) -> bool:
    return isinstance(error, ServiceError) and error.transient


def _out_of_time(deadline: Deadline | None) -> FanfoldError | None:
    if deadline is None or deadline.clock() < deadline.stops_at:
        return None
    return ServiceError("the time was over before it was begun", code="OutOfTime", transient=True)


async def _drawn(objects: Objects) -> Sequence[Mapping[str, Any]]:
    if isinstance(objects, AsyncIterable):
        return [one async for one in objects]
    return list(objects)


def _field(item: Mapping[str, Any], name: str) -> Any:
    if name not in item:
        raise ConfigurationError(
            f"an object to copy or delete is named with its {name!r}, as S3Objects gives it: {item!r}"
        )
    return item[name]
