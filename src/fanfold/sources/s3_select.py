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
    """One S3 object, its rows dealt out by a column of whole numbers: segment k of n has those with column % n = k.

    For accounts that still have S3 Select, which AWS has closed to new customers; ``S3Lines`` needs no such thing, and
    reads the object once, where here each segment has S3 scan the whole of it, which AWS bills. Tested against
    recorded answers, and the SQL against another database; the emulator has no S3 Select.

    Each row is in one segment: also with a negative number, or none (segment 0). A value that is no whole number fails
    every segment, with S3's words for it. The object's ETag is pinned: S3 Select has no condition for it, so that each
    segment looks before and after.

    Items are dicts, from S3's JSON; the values of a CSV object are texts.

    Args:
        bucket: The bucket.
        key: The object's key.
        column: Name of the column.
        segments: How many, from 1.
        where: A further condition, in S3 Select's SQL, where ``s`` is the object, as in ``s."rank" = '5'``.
        format: ``csv`` with a header, ``jsonl`` or ``parquet``; None to tell by the key's ending, also before ``.gz``
            or ``.bz2``.

    Raises:
        ConfigurationError: If a setting is impossible, or the format cannot be told.
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
                raise ConfigurationError(f"S3Select: {name} must be a name, not {value!r}")
        if '"' in column:
            raise ConfigurationError(
                f"S3Select: column {column!r} has a quote in it, which the SQL has no way to write"
            )
        if type(segments) is not int or segments < 1:
            raise ConfigurationError(f"S3Select: segments must be a whole number from 1, not {segments!r}")
        if where is not None and (not isinstance(where, str) or not where.strip()):
            raise ConfigurationError(f"S3Select: where must be a condition, not {where!r}")
        self.bucket: str = bucket
        self.key: str = key
        self.column: str = column
        self.segments: int = segments
        self.where: str | None = where
        self.compression: str | None = next(
            (known for ending, known in _COMPRESSIONS.items() if key.lower().endswith(ending)), None
        )
        self.format: str = format or _format_of(key)
        if self.format not in _FORMATS.values():
            raise ConfigurationError(f"S3Select: format must be 'csv', 'jsonl' or 'parquet', not {self.format!r}")

    async def pin(self, backend: Backend, prefix: str = "") -> Mapping[str, Any]:  # noqa: ARG002 - writes nothing down
        """Return the plan: the object's ETag as of now.

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
        """Yield the SQL of each segment, from segment number ``first`` on."""
        shared = {name: plan[name] for name in ("type", "bucket", "key", "etag", "format", "compression")}
        for number in range(first, plan["segments"]):
            yield {**shared, "sql": _sql(plan["column"], plan["segments"], number, plan["where"])}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, None]], None]:
        """Yield the rows of one segment, several at a time.

        Raises:
            SourceError: If the object was replaced or deleted since the run was planned; rows may have come before.
            ServiceError: If S3 refuses the SQL or stops amid it.
            ConfigurationError: If there is no S3 Select.
        """
        await _check_pinned(part, backend)
        async with aclosing(_lines(part, backend)) as found:
            async for lines in found:
                yield ((json.loads(line), None) for line in lines)
        await _check_pinned(part, backend)

    @staticmethod
    def rest(part: Mapping[str, Any], mark: Any) -> Mapping[str, Any]:
        """S3 Select has no place to go on from.

        Raises:
            SourceError: Always.
        """
        raise SourceError(f"s3://{part['bucket']}/{part['key']}: S3 Select cannot go on after {mark!r}")


async def _lines(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[list[bytes], None]:
    store = backend.store
    if not isinstance(store, SelectStore):
        raise ConfigurationError(f"S3Select: {type(store).__name__} has no S3 Select; use S3Lines")
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
    rest = f'cast(s."{column}" as integer) % {segments}'
    conditions = [f"{rest} = {number}"]
    if number:
        conditions.append(f"{rest} = {number - segments}")  # negative numbers have negative rests
    else:
        conditions.append(f's."{column}" is null')
    condition = f"({' or '.join(conditions)})"
    return " ".join(["select * from S3Object s where", condition, *([f"and ({where})"] if where else [])])


def _format_of(key: str) -> str:
    name = key.lower()
    for ending in _COMPRESSIONS:
        name = name.removesuffix(ending)
    for ending, known in _FORMATS.items():
        if name.endswith(ending):
            return known
    raise ConfigurationError(f"S3Select: cannot tell the format of {key!r}: say format='csv', 'jsonl' or 'parquet'")
