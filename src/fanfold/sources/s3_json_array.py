"""One JSON array in an S3 object, with several rows per segment."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from functools import partial
from typing import Any

from fanfold._base.retry import resume, retry
from fanfold._ports.backend import Backend
from fanfold._ports.stores import Store
from fanfold.errors import ConfigurationError, ObjectChangedError, ObjectMissingError, SourceError
from fanfold.sources import manifest
from fanfold.sources.json_rows import JsonRows, tokens_of


class S3JsonArray:
    """The elements (rows) of one JSON array, which is an S3 object or part of one.

    JSON cannot be cut by bytes. So when the run is planned, the object is read once, in constant memory, and its rows
    are written under the run's prefix, each as its original text. Replacing the object later has no effect.

    Items are the JSON values of the rows. An empty array, or an object without bytes, has no segments.

    Args:
        bucket: The bucket.
        key: The key of the object.
        pointer: JSON pointer (RFC 6901) to the array, such as ``/data/rows``; empty if the document is the array. Of
            two members with the same name, the first one is used.
        rows_per_segment: Maximum number of rows in a segment, from 1.
        decimals: Whether numbers with a fraction or an exponent are ``decimal.Decimal``, which is exact and which
            DynamoDB requires, instead of ``float``.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(
        self, bucket: str, key: str, pointer: str = "", *, rows_per_segment: int = 1_000, decimals: bool = False
    ) -> None:
        for name, value in (("bucket", bucket), ("key", key)):
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"S3JsonArray: {name} must be a non-empty string, not {value!r}")
        if type(rows_per_segment) is not int or rows_per_segment < 1:
            raise ConfigurationError(
                f"S3JsonArray: rows_per_segment must be an integer of at least 1, not {rows_per_segment!r}"
            )
        if not isinstance(pointer, str):
            raise ConfigurationError(f"S3JsonArray: pointer must be a string, not {pointer!r}")
        if not isinstance(decimals, bool):
            raise ConfigurationError(f"S3JsonArray: decimals must be True or False, not {decimals!r}")
        try:
            tokens_of(pointer)
        except ValueError as error:
            raise ConfigurationError(f"S3JsonArray: {error}") from error
        self.bucket: str = bucket
        self.key: str = key
        self.pointer: str = pointer
        self.rows_per_segment: int = rows_per_segment
        self.decimals: bool = decimals

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Read the object, write its rows to the results bucket, and return the plan.

        Raises:
            SourceError: If the object is missing, malformed, or replaced meanwhile, or has no array at the pointer.
        """
        written = await manifest.write(backend, prefix, self._segments(backend))
        return {"type": "s3-json-array", "decimals": self.decimals, **written}

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the location of the rows of each segment, from segment number ``first``."""
        for part in manifest.cut(plan, first):
            yield {"type": "s3-json-array", "decimals": plan["decimals"], **part}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, int]], None]:
        """Yield the rows of one segment; the mark of a row is the number of rows so far.

        Raises:
            SourceError: If the written rows no longer exist.
        """
        parse = partial(json.loads, parse_float=Decimal) if part["decimals"] else json.loads
        async with aclosing(manifest.read(part, backend)) as chunks:
            async for lines in chunks:
                yield ((parse(line.decode()), count) for line, count in lines)

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the same segment without the first ``mark`` rows."""
        return manifest.rest(part, mark)

    async def _segments(self, backend: Backend) -> AsyncIterator[Sequence[bytes]]:
        name = f"s3://{self.bucket}/{self.key}"
        rows = JsonRows(name, self.pointer)
        segment: list[bytes] = []
        is_empty = True
        async with aclosing(_read_object(backend.store, self.bucket, self.key)) as pieces:
            async for piece in pieces:
                is_empty = False
                for row in rows.feed(piece):
                    segment.append(row.encode())
                    if len(segment) == self.rows_per_segment:
                        yield segment
                        segment = []
        if is_empty:
            return
        segment += [row.encode() for row in rows.close()]
        for begin in range(0, len(segment), self.rows_per_segment):
            yield segment[begin : begin + self.rows_per_segment]


async def _read_object(store: Store, bucket: str, key: str) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of one version of an object; resume where a connection broke off."""
    name = f"s3://{bucket}/{key}"
    position = 0
    try:
        etag = (await retry(lambda: store.head(bucket, key))).etag
        async with aclosing(resume(lambda: store.read(bucket, key, start=position, etag=etag))) as pieces:
            async for piece in pieces:
                position += len(piece)
                yield piece
    except ObjectMissingError as error:
        raise SourceError(f"{name} does not exist: check the bucket and the key") from error
    except ObjectChangedError as error:
        raise SourceError(f"{name} was replaced while it was being read: start a new run") from error
