"""One S3 object, cut by S3 Select's SQL."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold._ports.stores import SelectStore
from fanfold.errors import ConfigurationError, ObjectMissingError, SourceError

_FORMATS: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_COMPRESSIONS: Final = {".gz": "gzip", ".bz2": "bzip2"}


class S3Select:
    """One S3 object whose rows are distributed by an integer column: segment k of n has the rows with column % n = k.

    For accounts that still have S3 Select, which AWS has closed to new customers. Prefer ``S3Lines``, which reads the
    object once: here, S3 scans the whole object for each segment, and AWS bills each scan. Tested against recorded
    responses, and the SQL against another database; the emulator does not support S3 Select.

    Each row is in exactly one segment, including rows with a negative number or without one (segment 0). A value that
    is not an integer fails every segment, with S3's error message. The object's ETag is pinned; S3 Select cannot check
    it, so each segment compares it before and after reading.

    Items are dicts from S3's JSON; the values of a CSV object are strings.

    Args:
        bucket: The bucket.
        key: The key of the object.
        column: Name of the column.
        segments: Number of segments, from 1.
        where: An additional condition in S3 Select's SQL, in which ``s`` is the object, such as ``s."rank" = '5'``.
        format: ``csv`` with a header, ``jsonl``, or ``parquet``; None to derive it from the suffix of the key, before
            any ``.gz`` or ``.bz2``.

    Raises:
        ConfigurationError: If a setting is invalid, or the format is unknown.
    """

    def __init__(
        self,
        bucket: str,
        key: str,
        *,
        column: str,
        segments: int,
        where: str | None = None,
        format: str | None = None,  # noqa: A002 - the term users know
    ) -> None:
        for name, value in (("bucket", bucket), ("key", key), ("column", column)):
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"S3Select: {name} must be a non-empty string, not {value!r}")
        if '"' in column:
            raise ConfigurationError(
                f"S3Select: column {column!r} contains a quote, which the SQL cannot express: rename the column"
            )
        if type(segments) is not int or segments < 1:
            raise ConfigurationError(f"S3Select: segments must be an integer of at least 1, not {segments!r}")
        if where is not None and (not isinstance(where, str) or not where.strip()):
            raise ConfigurationError(f"S3Select: where must be a SQL condition, not {where!r}")
        self.bucket: str = bucket
        self.key: str = key
        self.column: str = column
        self.segments: int = segments
        self.where: str | None = where
        self.compression: str | None = next(
            (known for suffix, known in _COMPRESSIONS.items() if key.lower().endswith(suffix)), None
        )
        self.format: str = format or _format_of(key)
        if self.format not in _FORMATS.values():
            raise ConfigurationError(f"S3Select: format must be 'csv', 'jsonl', or 'parquet', not {self.format!r}")

    async def pin(self, backend: Backend, prefix: str = "") -> Mapping[str, Any]:  # noqa: ARG002 - this source writes no objects
        """Return the plan, with the current ETag of the object.

        Raises:
            SourceError: If the object is missing.
        """
        return {
            "type": "s3-select",
            "bucket": self.bucket,
            "key": self.key,
            "etag": await _etag(backend, self.bucket, self.key),
            "column": self.column,
            "segments": self.segments,
            "where": self.where,
            "format": self.format,
            "compression": self.compression,
        }

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the SQL of each segment, from segment number ``first``."""
        shared = {name: plan[name] for name in ("type", "bucket", "key", "etag", "format", "compression")}
        for number in range(first, plan["segments"]):
            yield {**shared, "sql": _sql(plan["column"], plan["segments"], number, plan["where"])}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, None]], None]:
        """Yield the rows of one segment, several at a time.

        Raises:
            SourceError: If the object was replaced or deleted since the run was planned; possibly after some rows.
            ServiceError: If S3 refuses the SQL or fails while running it.
            ConfigurationError: If S3 Select is not available.
        """
        await _check_pinned(part, backend)
        async with aclosing(_lines(part, backend)) as chunks:
            async for lines in chunks:
                yield ((json.loads(line), None) for line in lines)
        await _check_pinned(part, backend)

    @staticmethod
    def rest(part: Mapping[str, Any], mark: Any) -> Mapping[str, Any]:
        """Raise an error, because S3 Select cannot resume.

        Raises:
            SourceError: Always.
        """
        raise SourceError(f"s3://{part['bucket']}/{part['key']}: S3 Select cannot resume after {mark!r}")


async def _lines(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[list[bytes], None]:
    store = backend.store
    if not isinstance(store, SelectStore):
        raise ConfigurationError(f"S3Select: {type(store).__name__} does not support S3 Select: use S3Lines")
    pieces = store.select(
        part["bucket"], part["key"], part["sql"], kind=part["format"], compression=part["compression"]
    )
    unfinished = b""
    async with aclosing(pieces):
        async for piece in pieces:
            *lines, unfinished = (unfinished + piece).split(b"\n")
            yield lines
    if unfinished:
        yield [unfinished]


async def _check_pinned(part: Mapping[str, Any], backend: Backend) -> None:
    if await _etag(backend, part["bucket"], part["key"]) != part["etag"]:
        raise SourceError(
            f"s3://{part['bucket']}/{part['key']} was replaced since the run was planned: start a new run"
        )


async def _etag(backend: Backend, bucket: str, key: str) -> str:
    try:
        return (await backend.store.head(bucket, key)).etag
    except ObjectMissingError as error:
        raise SourceError(f"s3://{bucket}/{key} does not exist: check the bucket and the key") from error


def _sql(column: str, segments: int, number: int, where: str | None) -> str:
    remainder = f'cast(s."{column}" as integer) % {segments}'
    conditions = [f"{remainder} = {number}"]
    if number:
        conditions.append(f"{remainder} = {number - segments}")  # negative numbers have negative remainders
    else:
        conditions.append(f's."{column}" is null')
    condition = f"({' or '.join(conditions)})"
    return " ".join(["select * from S3Object s where", condition, *([f"and ({where})"] if where else [])])


def _format_of(key: str) -> str:
    name = key.lower()
    for suffix in _COMPRESSIONS:
        name = name.removesuffix(suffix)
    for suffix, known in _FORMATS.items():
        if name.endswith(suffix):
            return known
    raise ConfigurationError(f"S3Select: the format of {key!r} is unknown: specify format='csv', 'jsonl', or 'parquet'")
