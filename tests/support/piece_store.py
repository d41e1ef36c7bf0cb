"""A store of one object that is read in pieces, and readers of its lines."""

import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from fanfold import inmemory
from fanfold._ports.backend import Backend
from fanfold._ports.stores import ObjectInfo
from fanfold.errors import ObjectChangedError, ObjectMissingError
from fanfold.sources import read_items
from fanfold.sources.s3_lines import S3Lines


class PieceStore:
    """A store of one object that is read in pieces of a given size, and of what planning writes.

    It counts the reads of the object and their bytes.
    """

    def __init__(self, data: bytes | None, piece_bytes: int = 65_536) -> None:
        self.data = data
        self.version = 1
        self.piece_bytes = piece_bytes
        self.reads = 0
        self.bytes_requested = 0
        self.written: dict[tuple[str, str], bytes] = {}

    def replace(self, data: bytes | None) -> None:
        self.data = data
        self.version += 1

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        return ObjectInfo(len(self._data()), f'"{self.version}"')

    async def read_start(self, bucket: str, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        return await self.head(bucket, key), b"".join([piece async for piece in self.read(bucket, key, stop=max_bytes)])

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        if (bucket, key) in self.written:
            yield self.written[bucket, key][start:stop]
            return
        data = self._data()[start:stop]
        if etag not in {None, f'"{self.version}"'}:
            raise ObjectChangedError("another version")
        self.reads += 1
        self.bytes_requested += len(data)
        for first in range(0, len(data), self.piece_bytes):
            yield data[first : first + self.piece_bytes]

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self.written[bucket, key] = data

    def _data(self) -> bytes:
        if self.data is None:
            raise ObjectMissingError("no object")
        return self.data


def backend_with(store: PieceStore) -> Backend:
    return replace(inmemory.backend(), store=store)


async def plan_of(store: PieceStore, *, key: str, chunk_bytes: int, **settings: Any) -> dict[str, Any]:
    return dict(await S3Lines("bucket", key, chunk_bytes=chunk_bytes, **settings).pin(backend_with(store), "p"))


async def read_parts(store: PieceStore, plan: dict[str, Any]) -> list[Any]:
    backend = backend_with(store)
    return [item for part in S3Lines.cut(plan) async for item in read_items(part, backend)]


async def read_all(data: bytes, *, key: str, chunk_bytes: int, piece_bytes: int = 65_536, **settings: Any) -> list[Any]:
    store = PieceStore(data, piece_bytes)
    return await read_parts(store, await plan_of(store, key=key, chunk_bytes=chunk_bytes, **settings))


def header_of(data: bytes) -> dict[str, Any]:
    """Return the settings that declare the header of a CSV object, whatever its names look like."""
    names = next(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    return {"columns": names, "header": True}


def rows_of(data: bytes) -> list[dict[str, str]]:
    """Return the rows that the standard library reads from the whole object."""
    csv.field_size_limit(max(csv.field_size_limit(), len(data)))
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def values_of(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.decode("utf-8-sig").split("\n") if line.strip()]
