"""Sources: what can be cut into segments, and how a segment is read.

Each source is one module. It *pins* what a live system says now (a size, an ETag, a listing), *cuts* what is pinned,
which is pure and gives the same segments each time, and *reads* one segment. With each item comes a mark, from which
the source tells what is left to *read* after it: a segment that stops in time goes on from there in another message.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Protocol, cast

from fanfold._ports.backend import Backend
from fanfold.errors import SegmentError

__all__ = ["Source", "cut", "read", "read_items", "rest"]

_HOMES = {
    "dynamodb-scan": ("fanfold.sources.dynamodb_scan", "DynamoDBScan"),
    "items": ("fanfold.sources.items", "Items"),
    "ranges": ("fanfold.sources.ranges", "Ranges"),
    "s3-json-array": ("fanfold.sources.s3_json_array", "S3JsonArray"),
    "s3-lines": ("fanfold.sources.s3_lines", "S3Lines"),
    "s3-objects": ("fanfold.sources.s3_objects", "S3Objects"),
    "s3-select": ("fanfold.sources.s3_select", "S3Select"),
}


class Source(Protocol):
    """What can be cut into segments."""

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Return the plan of a run, as JSON: ``type``, and all that the cut depends on.

        Args:
            backend: What may be looked at.
            prefix: Beginning of keys in the results bucket, without a last ``/``, for what a source writes down to be
                read by its segments; no other call has the same. What a call wrote that failed is never read.

        Raises:
            SourceError: If there is nothing to cut, or it cannot be read.
        """
        ...

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield what each segment is to read, from segment number ``first`` on; the same for the same plan."""
        ...

    @staticmethod
    def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
        """Yield the items of one segment, several at a time as they come, each with a mark for ``rest``.

        A mark is None where reading cannot go on after an item. What is yielded is iterated before more is asked for.

        Raises:
            SourceError: If the data is not what was pinned, or malformed: permanent.
        """
        ...

    @staticmethod
    def rest(part: Mapping[str, Any], mark: Any) -> Mapping[str, Any]:
        """Return what is left to read of a segment after the item that came with a mark."""
        ...


def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield what each segment of a plan is to read, from segment number ``first`` on."""
    return _source(plan).cut(plan, first)


def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
    """Yield the items of one segment, several at a time, each with a mark."""
    return _source(part).read(part, backend)


async def read_items(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Any, None]:
    """Yield the items of one segment, one by one."""
    async with aclosing(read(part, backend)) as found:
        async for some in found:
            for item, _ in some:
                yield item


def rest(part: Mapping[str, Any], mark: Any) -> Mapping[str, Any]:
    """Return what is left to read of a segment after the item that came with a mark."""
    return _source(part).rest(part, mark)


def _source(described: Mapping[str, Any]) -> type[Source]:
    kind = described.get("type")
    if kind not in _HOMES:
        raise SegmentError(f"source of unknown type {kind!r}: this release reads {', '.join(_HOMES)}")
    module, name = _HOMES[kind]
    return cast("type[Source]", getattr(importlib.import_module(module), name))
