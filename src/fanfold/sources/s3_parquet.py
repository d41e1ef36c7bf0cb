"""Row groups of Parquet objects in S3."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import repeat
from typing import Any, Final

from fanfold._base.concurrency import for_each
from fanfold._base.thread_iterator import iterate_in_thread
from fanfold._ports.backend import Backend
from fanfold._ports.stores import Listed, Store
from fanfold.errors import ConfigurationError
from fanfold.sources import manifest, parquet_filter
from fanfold.sources.object_reads import info_of, read_ranges
from fanfold.sources.parquet_footer import Footer, pyarrow, read_footer
from fanfold.sources.parquet_pieces import Pieces, SameColumns
from fanfold.sources.planning import listing
from fanfold.sources.uri_list import uris_in

_YIELDS: Final = ("rows", "batches")
_CONCURRENT_FOOTERS: Final = 16
_SHARED: Final = ("type", "columns", "filter", "yields")
"""Entries of the plan that each segment contains."""


class S3Parquet:
    """The rows of one Parquet object, or of many, cut into row groups.

    Several small row groups, also of different objects, are one segment; a row group is never cut. Objects are pinned
    by their ETags when the run is planned: if one is replaced later, its segments fail instead of mixing two versions.
    A segment reads only the needed columns of its row groups, a batch of rows at a time. It needs
    ``pip install 'fanfold[parquet]'``.

    Items are dicts by column name, or Arrow record batches. The values of a dict are those of pyarrow: ``Decimal``,
    ``datetime``, ``date``, ``bytes``, lists, and dicts; a map is a list of pairs. A value that Python cannot represent
    exactly, such as a timestamp with nanoseconds, fails the segment. Timestamps of type INT96 are in microseconds.

    Objects under a prefix whose name begins with ``_`` or ``.`` are skipped, as are empty ones. The columns of all
    objects must have the same names and types.

    Args:
        bucket: The bucket.
        key: The key of one object.
        prefix: Beginning of the keys of several objects, instead of ``key``.
        suffix: End of the keys of several objects.
        manifest: The key of a list of objects, one ``s3://`` address per line, instead of ``key``; Athena writes one
            for UNLOAD and CREATE TABLE AS.
        columns: Names of the top-level columns to read; None for all.
        filter: Conditions that a row must meet, such as ``[("rank", ">=", 4), ("city", "in", ["Oslo", "Rome"])]``, or a
            list of such lists, of which it must meet one. Operators are ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``,
            ``in``, and ``not in``; null meets none. Row groups whose statistics exclude a match are not read.
        yields: ``rows`` or ``batches``.
        bytes_per_segment: Maximum stored bytes of the needed columns in a segment, but at least one row group; from 1.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(  # noqa: PLR0913 - one keyword per setting
        self,
        bucket: str,
        key: str | None = None,
        *,
        prefix: str | None = None,
        suffix: str = "",
        manifest: str | None = None,
        columns: Sequence[str] | None = None,
        filter: Sequence[Any] | None = None,  # noqa: A002 - the term users know
        yields: str = "rows",
        bytes_per_segment: int = 64_000_000,
    ) -> None:
        _check_place(bucket, key, prefix, suffix, manifest)
        if yields not in _YIELDS:
            raise ConfigurationError(f"S3Parquet: yields must be 'rows' or 'batches', not {yields!r}")
        if type(bytes_per_segment) is not int or bytes_per_segment < 1:
            raise ConfigurationError(
                f"S3Parquet: bytes_per_segment must be an integer of at least 1, not {bytes_per_segment!r}"
            )
        self.bucket: str = bucket
        self.key: str | None = key
        self.prefix: str | None = prefix
        self.suffix: str = suffix
        self.manifest: str | None = manifest
        self.columns: list[str] | None = _columns(columns)
        self.filter: list[list[list[Any]]] | None = None if filter is None else parquet_filter.checked(filter)
        self.yields: str = yields
        self.bytes_per_segment: int = bytes_per_segment

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Read the footer of each object, write the row groups of each segment, and return the plan.

        Raises:
            SourceError: If an object is missing or not Parquet, or its columns differ from those of another one or do
                not fit ``columns`` and ``filter``.
            MissingExtraError: If pyarrow is not installed.
        """
        pyarrow()
        totals = {"objects": 0, "rows": 0, "bytes": 0, "largest_bytes": 0}
        written = await manifest.write(backend, prefix, self._segments(backend.store, totals))
        shared = {"type": "s3-parquet", "columns": self.columns, "filter": self.filter, "yields": self.yields}
        return {**{name: value for name, value in shared.items() if value is not None}, **written, **totals}

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the location of the row groups of each segment, from segment number ``first``."""
        shared = {name: plan[name] for name in _SHARED if name in plan}
        for part in manifest.cut(plan, first):
            yield {**shared, **part}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
        """Yield the rows or record batches of one segment; the mark states the object and the rows up to there.

        Raises:
            SourceError: If an object was replaced or deleted since the run was planned, a row group is damaged, or
                Python has no equal value; names the object, row group, and column.
            MissingExtraError: If pyarrow is not installed.
        """
        pyarrow()
        first, skip = part.get("from", (0, 0))
        lines = [line async for chunk in manifest.read(_place_in_manifest(part), backend) for line, _ in chunk]
        for number in range(first, len(lines)):
            piece = json.loads(lines[number])
            chunks = _read_piece(piece, part, backend.store, skip)
            async with aclosing(chunks):
                async for items, marks in chunks:
                    yield zip(items, zip(repeat(number), marks), strict=True)
            skip = 0

    @staticmethod
    def rest(part: Mapping[str, Any], mark: Sequence[int]) -> Mapping[str, Any]:
        """Return the same segment, without the rows up to a mark."""
        return {**part, "from": list(mark)}

    async def _segments(self, store: Store, totals: dict[str, int]) -> AsyncIterator[Sequence[bytes]]:
        """Yield the pieces of each segment, and update the totals."""
        alternatives = parquet_filter.decoded(self.filter or [])
        pieces = Pieces(self.bytes_per_segment, totals)
        same = SameColumns(self.columns, exact=self.yields == "batches")
        async with aclosing(self._footers(store)) as footers:
            async for bucket, listed, footer in footers:
                footer.check_columns(self.columns or ())
                footer.check_filter(alternatives)
                same.check(footer)
                needed = None
                if self.columns is not None:
                    needed = [*self.columns, *parquet_filter.columns_of(alternatives)]
                place = {
                    "bucket": bucket,
                    "key": listed.key,
                    "etag": listed.etag,
                    "size": listed.size_bytes,
                    "footer": footer.start,
                }
                for segment in pieces.add(place, footer.groups(needed, alternatives)):
                    yield segment
        for segment in pieces.close():
            yield segment

    async def _footers(self, store: Store) -> AsyncGenerator[tuple[str, Listed, Footer], None]:
        """Yield the objects with their footers, in the order of the listing."""
        waiting: list[tuple[str, Listed]] = []
        async with aclosing(self._objects(store)) as objects:
            async for placed in objects:
                waiting.append(placed)
                if len(waiting) == _CONCURRENT_FOOTERS:
                    for footer in await _read_footers(store, waiting):
                        yield footer
                    waiting = []
        for footer in await _read_footers(store, waiting):
            yield footer

    async def _objects(self, store: Store) -> AsyncGenerator[tuple[str, Listed], None]:
        if self.prefix is not None:
            async with aclosing(listing(store, self.bucket, self.prefix)) as listed_objects:
                async for listed in listed_objects:
                    name = listed.key.rpartition("/")[2]
                    if listed.key.endswith(self.suffix) and not name.startswith(("_", ".")):
                        yield self.bucket, listed
        elif self.manifest is not None:
            async with aclosing(uris_in(store, self.bucket, self.manifest)) as uris:
                async for bucket, key in uris:
                    yield bucket, Listed(key, -1, "", 0.0)
        else:
            yield self.bucket, Listed(self.key or "", -1, "", 0.0)


def _check_place(bucket: Any, key: Any, prefix: Any, suffix: Any, manifest: Any) -> None:
    if sum(place is not None for place in (key, prefix, manifest)) != 1:
        raise ConfigurationError(
            "S3Parquet: specify one of key, for one object, prefix, for several, and manifest, for a list"
        )
    for name, text in (("bucket", bucket), ("key", key), ("manifest", manifest)):
        if not isinstance(text, str | None) or not (text or (text is None and name != "bucket")):
            raise ConfigurationError(f"S3Parquet: {name} must be a non-empty string, not {text!r}")
    for name, text in (("prefix", prefix or ""), ("suffix", suffix)):
        if not isinstance(text, str):
            raise ConfigurationError(f"S3Parquet: {name} must be a string, not {text!r}")
    if suffix and prefix is None:
        raise ConfigurationError("S3Parquet: suffix requires prefix")


def _columns(columns: Any) -> list[str] | None:
    if columns is None:
        return None
    names = [columns] if isinstance(columns, str) else list(columns)
    if isinstance(columns, str) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"S3Parquet: columns must be a list of at least one name, not {columns!r}")
    if len(set(names)) < len(names):
        raise ConfigurationError(f"S3Parquet: columns must not contain a name twice, but are {columns!r}")
    return names


async def _read_footers(store: Store, objects: Sequence[tuple[str, Listed]]) -> list[tuple[str, Listed, Footer]]:
    """Return several objects with their footers, read concurrently; empty objects are left out."""
    read: dict[int, tuple[str, Listed, Footer]] = {}

    async def read_one(numbered: tuple[int, tuple[str, Listed]]) -> None:
        number, (bucket, listed) = numbered
        if listed.size_bytes < 0:
            info = await info_of(store, bucket, listed.key)
            listed = Listed(listed.key, info.size_bytes, info.etag, 0.0)
        if listed.size_bytes:
            read[number] = (
                bucket,
                listed,
                await read_footer(store, bucket, listed.key, listed.etag, listed.size_bytes),
            )

    await for_each(read_one, enumerate(objects), concurrency=_CONCURRENT_FOOTERS)
    return [read[number] for number in sorted(read)]


async def _read_piece(
    piece: Mapping[str, Any], part: Mapping[str, Any], store: Store, skip: int
) -> AsyncGenerator[tuple[Iterable[Any], Iterable[int]], None]:
    """Yield some items of the row groups of one object at a time, and the number of rows up to each."""
    from fanfold.sources.parquet_rows import Reader

    bucket, key, etag, size = piece["bucket"], piece["key"], piece["etag"], piece["size"]
    footer = await read_footer(store, bucket, key, etag, size, piece["footer"])
    as_rows = part["yields"] == "rows"
    alternatives = parquet_filter.decoded(part.get("filter", []))
    reader = Reader(footer, piece["groups"], part.get("columns"), alternatives, as_rows=as_rows)

    async def fetch(ranges: Sequence[tuple[int, int]]) -> Sequence[bytearray]:
        return await read_ranges(store, bucket, key, etag, ranges)

    batches = iterate_in_thread(lambda file: reader.batches(file, skip), size, fetch)
    async with aclosing(batches):
        async for batch in batches:
            if not as_rows:
                yield [batch.table], [batch.last_mark]
                continue
            for rows, marks in batch.rows():
                yield rows, marks


def _place_in_manifest(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part[name] for name in ("manifest", "chunk", "place")}
