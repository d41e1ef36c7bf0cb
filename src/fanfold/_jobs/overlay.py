"""A store that passes calls to another store, except for one bucket."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final, cast

from fanfold._ports.stores import ObjectInfo, Store

_READS: Final = frozenset({"list", "select"})


def overlay(lower: Store, name: str, bucket: Store, *, read_only: bool = False) -> Store:
    """Return a store that serves one bucket from elsewhere and all others from ``lower``.

    Args:
        lower: The store of all other buckets.
        name: Name of the bucket.
        bucket: Holds the objects of that bucket.
        read_only: Whether to write nothing to the other buckets.
    """
    return cast("Store", _Overlay(lower, name, bucket, read_only))


class _Overlay:
    def __init__(self, lower: Store, name: str, bucket: Store, read_only: bool) -> None:
        self._lower = lower
        self._name = name
        self._bucket = bucket
        self._read_only = read_only

    def __getattr__(self, name: str) -> Any:
        if self._read_only and name not in _READS:
            raise AttributeError(name)
        return getattr(self._lower, name)

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        return await self._of(bucket).head(bucket, key)

    async def read_start(self, bucket: str, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        return await self._of(bucket).read_start(bucket, key, max_bytes)

    def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self._of(bucket).read(bucket, key, start=start, stop=stop, etag=etag)

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        store = self._bucket if self._read_only else self._of(bucket)
        await store.put(bucket, key, data, if_absent=if_absent)

    def _of(self, bucket: str) -> Store:
        return self._bucket if bucket == self._name else self._lower
