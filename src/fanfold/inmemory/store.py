"""An in-memory object store with the same contract as the one on S3; part of ``fanfold.inmemory``."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fanfold._ports.stores import Listed, ObjectInfo
from fanfold.errors import FanfoldError, ObjectChangedError, ObjectExistsError, ObjectMissingError

_CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    etag: str
    written_at: float
    copy_of: str | None = None
    content_encoding: str | None = None


class InMemoryStore:
    """Objects in a dict. ``fill`` and the constructor create buckets."""

    def __init__(self, *buckets: str, clock: Callable[[], float] = time.time) -> None:
        self._buckets: dict[str, dict[str, _Object]] = {bucket: {} for bucket in buckets}
        self._clock = clock

    def fill(self, bucket: str, objects: Mapping[str, bytes], *, content_encoding: str | None = None) -> None:
        """Create a bucket if it does not exist, and put objects into it; for test setup."""
        stored = self._buckets.setdefault(bucket, {})
        for key, data in objects.items():
            stored[key] = _Object(bytes(data), _etag(data), self._clock(), content_encoding=content_encoding)

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """Return the size and the ETag of an object, and the ETag of the object that it is a copy of."""
        stored = self._get(bucket, key)
        return ObjectInfo(len(stored.data), stored.etag, stored.copy_of, stored.content_encoding)

    async def read_start(self, bucket: str, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        """Return the metadata of an object and its first bytes."""
        return await self.head(bucket, key), self._get(bucket, key).data[:max_bytes]

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of bytes, in chunks."""
        data = self._pinned(bucket, key, etag).data
        end = len(data) if stop is None else min(stop, len(data))
        for first in range(start, end, _CHUNK_BYTES):
            yield data[first : min(first + _CHUNK_BYTES, end)]

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object."""
        objects = self._bucket(bucket)
        if if_absent and key in objects:
            raise ObjectExistsError(f"s3://{bucket}/{key} exists")
        self.fill(bucket, {key: data})

    async def put_file(
        self,
        bucket: str,
        key: str,
        file: Path,
        *,
        content_type: str = "",  # noqa: ARG002 - only S3 stores it
        if_absent: bool = False,
    ) -> None:
        """Write a file as an object."""
        await self.put(bucket, key, file.read_bytes(), if_absent=if_absent)  # noqa: ASYNC240 - for small files only

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncGenerator[Listed, None]:
        """Yield the objects whose keys start with a prefix, in key order."""
        objects = self._bucket(bucket)
        for key in sorted(objects):  # the order of code points is that of their UTF-8 bytes
            if key.startswith(prefix) and key > start_after and (stored := objects.get(key)):
                yield Listed(key, len(stored.data), stored.etag, stored.written_at)

    async def copy(
        self, bucket: str, key: str, to_bucket: str, to_key: str, *, etag: str, if_absent: bool = False
    ) -> None:
        """Copy an object."""
        original = self._pinned(bucket, key, etag)
        if if_absent and to_key in self._bucket(to_bucket):
            raise ObjectExistsError(f"s3://{to_bucket}/{to_key} exists")
        self._bucket(to_bucket)[to_key] = replace(original, written_at=self._clock(), copy_of=etag)

    async def delete_many(self, bucket: str, objects: Sequence[tuple[str, str | None]]) -> Mapping[int, FanfoldError]:
        """Delete objects; return the errors, by position, of those that were not deleted."""
        stored = self._bucket(bucket)
        errors: dict[int, FanfoldError] = {}
        for position, (key, etag) in enumerate(objects):
            try:
                self._pinned(bucket, key, etag)
            except ObjectMissingError:
                continue
            except ObjectChangedError as error:
                errors[position] = error
            else:
                del stored[key]
        return errors

    def _bucket(self, bucket: str) -> dict[str, _Object]:
        try:
            return self._buckets[bucket]
        except KeyError as error:
            raise ObjectMissingError(f"s3://{bucket}: does not exist") from error

    def _get(self, bucket: str, key: str) -> _Object:
        try:
            return self._buckets[bucket][key]
        except KeyError as error:
            raise ObjectMissingError(f"s3://{bucket}/{key}: does not exist") from error

    def _pinned(self, bucket: str, key: str, etag: str | None) -> _Object:
        stored = self._get(bucket, key)
        if etag not in {None, stored.etag}:
            raise ObjectChangedError(f"s3://{bucket}/{key}: has changed: its ETag is not the pinned one")
        return stored


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
