"""One JSON array in an S3 object, with several rows per segment."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Final

from fanfold._base.retry import resume, retry
from fanfold._ports.backend import Backend
from fanfold._ports.stores import ObjectInfo, Store
from fanfold.errors import ConfigurationError, ObjectChangedError, ObjectMissingError, SourceError
from fanfold.sources import manifest
from fanfold.sources.compression import (
    MAX_DECOMPRESSED_BYTES,
    CompressionError,
    check_compression,
    check_sizes,
    compression_of,
    expanded,
)
from fanfold.sources.content_check import check_not_compressed
from fanfold.sources.json_rows import MAX_ROW_BYTES, JsonRows, tokens_of
from fanfold.sources.json_values import values_parser

_START_BYTES: Final = 65_536
"""Bytes of the first request, whose response also has the metadata."""


class S3JsonArray:
    """The elements (rows) of one JSON array, which is an S3 object or part of one.

    JSON cannot be cut by bytes. So when the run is planned, the object is read once, in constant memory, and its rows
    are written under the run's prefix, each as its original text. Replacing the object later has no effect.

    Items are the JSON values of the rows. An empty array, or an object without bytes, has no segments. ``NaN``,
    ``Infinity``, a number beyond the largest float, an object with two members of one name, and half of a surrogate
    pair are refused.

    Args:
        bucket: The bucket.
        key: The key of the object.
        pointer: JSON pointer (RFC 6901) to the array, such as ``/data/rows``, or ``/Records`` in a log file of AWS
            CloudTrail; empty if the document is the array.
        rows_per_segment: Maximum number of rows in a segment, from 1.
        decimals: Whether numbers with a fraction or an exponent are ``decimal.Decimal``, which is exact and which
            DynamoDB requires, instead of ``float``.
        compression: ``gzip``, ``bzip2``, ``zstd``, or ``none``; None to derive it from the suffix of the key (``.gz``,
            ``.bz2``, ``.zst``) or else from the object's ``Content-Encoding``.
        max_row_bytes: Maximum length of a row, from 1; a longer one is refused, because parsing it takes several times
            its length of memory.
        max_decompressed_bytes: Maximum size of a compressed object when decompressed, from 1; a larger one is refused.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(
        self,
        bucket: str,
        key: str,
        pointer: str = "",
        *,
        rows_per_segment: int = 1_000,
        decimals: bool = False,
        compression: str | None = None,
        max_row_bytes: int = MAX_ROW_BYTES,
        max_decompressed_bytes: int = MAX_DECOMPRESSED_BYTES,
    ) -> None:
        for name, value in (("bucket", bucket), ("key", key)):
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"S3JsonArray: {name} must be a non-empty string, not {value!r}")
        check_sizes(
            "S3JsonArray",
            rows_per_segment=rows_per_segment,
            max_row_bytes=max_row_bytes,
            max_decompressed_bytes=max_decompressed_bytes,
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
        self.compression: str | None = check_compression("S3JsonArray", compression)
        self.max_row_bytes: int = max_row_bytes
        self.max_decompressed_bytes: int = max_decompressed_bytes

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Read the object, write its rows to the results bucket, and return the plan.

        Raises:
            SourceError: If the object is missing, malformed, or replaced meanwhile, or has no array at the pointer.
        """
        written = await manifest.write(backend, prefix, self._segments(backend))
        plan = {"type": "s3-json-array", "object": self._name, "rows": self.rows_per_segment, "decimals": self.decimals}
        return {**plan, **written}

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the location of the rows of each segment, from segment number ``first``."""
        shared = {"type": "s3-json-array", "object": plan["object"], "decimals": plan["decimals"]}
        for number, part in enumerate(manifest.cut(plan, first), first):
            yield {**shared, "row": number * plan["rows"], **part}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, int]], None]:
        """Yield the rows of one segment; the mark of a row is the number of rows so far.

        Raises:
            SourceError: If the written rows no longer exist, or a row has a value that cannot be represented; states
                the object, the row, and the column.
        """
        values_of = values_parser(decimals=part["decimals"])

        def parsed(lines: Iterable[tuple[bytes, int]]) -> Iterator[tuple[Any, int]]:
            for line, count in lines:
                try:
                    (value,) = values_of(line.decode())
                except (ValueError, RecursionError) as error:
                    raise SourceError(f"{part['object']}: row {part['row'] + count - 1}: {error}") from error
                yield value, count

        async with aclosing(manifest.read(part, backend)) as chunks:
            async for lines in chunks:
                yield parsed(lines)

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the same segment without the first ``mark`` rows."""
        return manifest.rest(part, mark)

    async def _segments(self, backend: Backend) -> AsyncIterator[Sequence[bytes]]:
        rows = JsonRows(self._name, self.pointer, max_row_bytes=self.max_row_bytes)
        segment: list[bytes] = []
        info, start = await self._start(backend.store)
        if not info.size_bytes:
            return
        async with aclosing(self._pieces(backend.store, info, start)) as pieces:
            async for piece in pieces:
                for row in rows.feed(piece):
                    segment.append(row.encode())
                    if len(segment) == self.rows_per_segment:
                        yield segment
                        segment = []
        segment += [row.encode() for row in rows.close()]
        for begin in range(0, len(segment), self.rows_per_segment):
            yield segment[begin : begin + self.rows_per_segment]

    @property
    def _name(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    async def _start(self, store: Store) -> tuple[ObjectInfo, bytes]:
        """Return the metadata and the first bytes of the object."""
        with self._source_errors():
            return await retry(lambda: store.read_start(self.bucket, self.key, _START_BYTES))

    async def _pieces(self, store: Store, info: ObjectInfo, start: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the decompressed bytes of one version of the object, of which the first ones are known."""
        compression = compression_of(self.key, info.content_encoding, self.compression, self._name)
        if compression is None:
            check_not_compressed(start, self._name)
        stored = self._stored(store, info, start)
        pieces = expanded(stored, compression, max_bytes=self.max_decompressed_bytes) if compression else stored
        with self._source_errors():
            async with aclosing(stored), aclosing(pieces):
                async for piece in pieces:
                    yield piece

    async def _stored(self, store: Store, info: ObjectInfo, start: bytes) -> AsyncGenerator[bytes, None]:
        yield start
        position = len(start)
        if position >= info.size_bytes:
            return
        # The store resumes a read that breaks off; what is retried here is its first request.
        rest = resume(lambda: store.read(self.bucket, self.key, start=position, etag=info.etag))
        async with aclosing(rest):
            async for piece in rest:
                position += len(piece)
                yield piece

    @contextmanager
    def _source_errors(self) -> Iterator[None]:
        try:
            yield
        except ObjectMissingError as error:
            raise SourceError(f"{self._name} does not exist: check the bucket and the key") from error
        except ObjectChangedError as error:
            raise SourceError(f"{self._name} was replaced while it was being read: start a new run") from error
        except CompressionError as error:
            raise SourceError(f"{self._name}: {error}") from error
