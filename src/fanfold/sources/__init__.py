"""Sources: input that can be cut into segments, and how a segment is read.

Each source is one module. It *pins* the current state of a live system (a size, an ETag, a listing), *cuts* the pinned
state, which is a pure function that yields the same segments each time, and *reads* one segment. Each item has a mark,
from which the source derives the unread *rest* of the segment: if a segment stops before the Lambda timeout, another
message continues with the rest.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Protocol, cast

from fanfold._ports.backend import Backend
from fanfold.errors import SegmentError
from fanfold.sources.bad_rows import BadRow

__all__ = ["BadRow", "Source", "cut", "read", "read_items", "rest"]

_HOMES = {
    "dynamodb-export": ("fanfold.sources.dynamodb_export", "DynamoDBExport"),
    "dynamodb-scan": ("fanfold.sources.dynamodb_scan", "DynamoDBScan"),
    "items": ("fanfold.sources.items", "Items"),
    "ranges": ("fanfold.sources.ranges", "Ranges"),
    "s3-inventory": ("fanfold.sources.s3_inventory", "S3Inventory"),
    "s3-json-array": ("fanfold.sources.s3_json_array", "S3JsonArray"),
    "s3-lines": ("fanfold.sources.s3_lines", "S3Lines"),
    "s3-objects": ("fanfold.sources.s3_objects", "S3Objects"),
    "s3-parquet": ("fanfold.sources.s3_parquet", "S3Parquet"),
    "s3-select": ("fanfold.sources.s3_select", "S3Select"),
}


class Source(Protocol):
    """Input that can be cut into segments."""

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Return the plan of a run, as JSON: ``type``, and everything on which the cut depends.

        Args:
            backend: The stores and tables to read.
            prefix: Unique beginning of keys in the results bucket, without a final ``/``, for objects that the source
                writes for its segments. Objects of a failed call are never read.

        Raises:
            SourceError: If the input is missing, empty, or unreadable.
        """
        ...

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the part of each segment, from segment number ``first``; always the same for the same plan."""
        ...

    @staticmethod
    def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
        """Yield the items of one segment, several at a time as they are read, each with a mark for ``rest``.

        A mark is None if reading cannot resume after the item. The caller exhausts each iterable before the next one.
        In place of a row that cannot be read, the item is a ``BadRow`` if the source collects them.

        Raises:
            SourceError: If the data has changed since it was pinned, or is malformed; permanent.
        """
        ...

    @staticmethod
    def rest(part: Mapping[str, Any], mark: Any) -> Mapping[str, Any]:
        """Return the unread rest of a segment after the item with a mark."""
        ...


def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield the part of each segment of a plan, from segment number ``first``."""
    return class_of(plan).cut(plan, first)


def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
    """Yield the items of one segment, several at a time, each with a mark."""
    return class_of(part).read(part, backend)


async def read_items(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Any, None]:
    """Yield the items of one segment, one by one; in place of a row that was collected, a ``BadRow``."""
    async with aclosing(read(part, backend)) as chunks:
        async for chunk in chunks:
            for item, _ in chunk:
                yield item


def rest(part: Mapping[str, Any], mark: Any) -> Mapping[str, Any]:
    """Return the unread rest of a segment after the item with a mark."""
    return class_of(part).rest(part, mark)


def class_of(description: Mapping[str, Any]) -> type[Source]:
    """Return the class of the source that a plan or a part is from.

    Raises:
        SegmentError: If this release does not know it.
    """
    kind = description.get("type")
    if kind not in _HOMES:
        raise SegmentError(f"unknown source type {kind!r}: this release supports {', '.join(_HOMES)}")
    module, name = _HOMES[kind]
    return cast("type[Source]", getattr(importlib.import_module(module), name))
