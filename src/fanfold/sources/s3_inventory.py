"""A list of objects that AWS has written: an S3 Inventory, or the manifest of Athena or of a Distributed Map."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold._ports.stores import Store
from fanfold.errors import ConfigurationError, SourceError
from fanfold.sources import manifest
from fanfold.sources.inventory_files import counted_rows, rows_in
from fanfold.sources.inventory_items import (
    STANDARD,
    VERSIONS,
    Item,
    check_fields,
    condition_of,
    conditions_of,
    item_maker,
)
from fanfold.sources.inventory_manifest import Inventory, inventory_in, result_files_in
from fanfold.sources.object_reads import info_of, name_of, read_small
from fanfold.sources.parquet_footer import pyarrow
from fanfold.sources.s3_objects import S3Objects
from fanfold.sources.uri_list import uris_in

_MANIFEST_BYTES: Final = 64_000_000
_VERSIONS: Final = ("current", "all")


class S3Inventory:
    """The objects in a list that AWS has written, so that hundreds of millions of keys need no listing.

    The list is one of these, by its content:

    - the ``manifest.json`` of an S3 Inventory, with files in CSV, Parquet, or ORC. Its files are pinned by their ETags,
      and those in CSV are compared with the checksums in the manifest. Parquet and ORC need
      ``pip install 'fanfold[parquet]'``.
    - the ``manifest.json`` that the ``ResultWriter`` of a Distributed Map writes
    - a list with one ``s3://`` address per line, such as Athena's manifest of UNLOAD, if the key does not end with
      ``.json``

    Items are dicts: ``bucket``, ``key``, ``size`` in bytes, ``etag`` in quotes, ``last_modified`` as ISO 8601 in UTC,
    as far as the list has them, and ``version_id`` for a bucket with versions. Keys are decoded.

    An inventory shows the bucket as it was, up to two days ago: an object may have been replaced or deleted since.

    Args:
        bucket: The bucket of the list.
        key: The key of the list.
        prefix: Beginning of the keys.
        suffix: End of the keys.
        pattern: A case-sensitive shell pattern for the whole key, or a compiled regular expression to search for in it.
        min_bytes: Minimum size.
        max_bytes: Maximum size.
        modified_after: Only objects last modified at or after this time; with a time zone.
        modified_before: Only objects last modified before this time; with a time zone.
        versions: ``current``, for the latest versions that are not delete markers; or ``all``, with ``is_latest`` and
            ``is_delete_marker`` in each item.
        fields: Names of further fields for the items, such as ``storage_class``.
        keys_per_segment: Maximum number of keys in a segment, from 1 to 100,000: the inventory is read when the run is
            planned. None for one segment per file of the inventory, which is read by its segment only.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(  # noqa: PLR0913 - one keyword per condition
        self,
        bucket: str,
        key: str,
        *,
        prefix: str = "",
        suffix: str = "",
        pattern: str | re.Pattern[str] | None = None,
        min_bytes: int | None = None,
        max_bytes: int | None = None,
        modified_after: datetime | None = None,
        modified_before: datetime | None = None,
        versions: str = "current",
        fields: Sequence[str] = (),
        keys_per_segment: int | None = 1_000,
    ) -> None:
        if not isinstance(key, str) or not key:
            raise ConfigurationError(f"S3Inventory: key must be a non-empty string, not {key!r}")
        if versions not in _VERSIONS:
            raise ConfigurationError(f"S3Inventory: versions must be 'current' or 'all', not {versions!r}")
        if isinstance(fields, str) or not all(isinstance(field, str) and field for field in fields):
            raise ConfigurationError(f"S3Inventory: fields must be a list of names, not {fields!r}")
        try:
            listing = S3Objects(
                bucket,
                prefix=prefix,
                suffix=suffix,
                pattern=pattern,
                min_bytes=min_bytes,
                max_bytes=max_bytes,
                modified_after=modified_after,
                modified_before=modified_before,
                keys_per_segment=1 if keys_per_segment is None else keys_per_segment,
            )
        except ConfigurationError as error:
            raise ConfigurationError(str(error).replace("S3Objects", "S3Inventory")) from error
        self.bucket: str = bucket
        self.key: str = key
        self.conditions: Mapping[str, Any] = conditions_of(listing)
        self.versions: str = versions
        self.fields: list[str] = [field for field in dict.fromkeys(fields) if field not in {*STANDARD, *VERSIONS}]
        self.keys_per_segment: int | None = keys_per_segment

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Read the list, write the objects or files of each segment, and return the plan.

        Raises:
            SourceError: If the list or a file is missing or malformed, or lacks a needed field.
            MissingExtraError: If the files are in Parquet or ORC, and pyarrow is not installed.
        """
        store = backend.store
        inventory = await self._inventory(store)
        if inventory is not None and inventory.format != "CSV":
            pyarrow()
        if inventory is None or self.keys_per_segment is not None:
            segments = self._segments(self._items(store, inventory), self.keys_per_segment or 1_000)
            return {"type": "s3-inventory", **await manifest.write(backend, prefix, segments)}
        written = await manifest.write(backend, prefix, self._files(store, inventory))
        return {"type": "s3-inventory", "files": self._settings(inventory), **written}

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the location of the keys of each segment, from segment number ``first``."""
        shared = {name: plan[name] for name in ("type", "files") if name in plan}
        for part in manifest.cut(plan, first):
            yield {**shared, **part}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, int]], None]:
        """Yield the objects of one segment; the mark of an object is the number of listed objects so far.

        Raises:
            SourceError: If the written list no longer exists, or a file of the inventory was replaced or is damaged.
        """
        if "files" not in part:
            async with aclosing(manifest.read(part, backend)) as chunks:
                async for lines in chunks:
                    yield ((json.loads(line), count) for line, count in lines)
            return
        place = {name: part[name] for name in ("manifest", "chunk", "place")}
        (line,) = [line async for chunk in manifest.read(place, backend) for line, _ in chunk]
        file = json.loads(line)
        rows = counted_rows(_rows(backend.store, file, part["files"]), part.get("skip", 0))
        select = _selection(part["files"], name_of(file["bucket"], file["key"]))
        async with aclosing(rows):
            async for chunk in rows:
                yield [(item, count) for row, count in chunk if (item := select(row)) is not None]

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the same segment without the first ``mark`` listed objects."""
        return manifest.rest(part, mark)

    async def _inventory(self, store: Store) -> Inventory | None:
        """Return the inventory; None for another list."""
        if not self.key.endswith(".json"):
            check_fields(name_of(self.bucket, self.key), self.conditions, self.fields, ["bucket", "key"])
            return None
        document = await self._document(store)
        if isinstance(document, dict) and "ResultFiles" in document:
            fields = ["bucket", "key", "size", "status"]
            check_fields(name_of(self.bucket, self.key), self.conditions, self.fields, fields)
            return None
        inventory = inventory_in(document, name_of(self.bucket, self.key))
        check_fields(name_of(self.bucket, self.key), self.conditions, self.fields, inventory.fields)
        return inventory

    async def _document(self, store: Store) -> Any:
        try:
            return json.loads(await read_small(store, self.bucket, self.key, max_bytes=_MANIFEST_BYTES))
        except ValueError as error:
            raise SourceError(f"{name_of(self.bucket, self.key)} is not JSON: {error}") from error

    def _settings(self, inventory: Inventory) -> dict[str, Any]:
        """Return what a reader of the files needs, as JSON."""
        wanted = [field for field in (*STANDARD, *VERSIONS, *self.fields) if field in inventory.fields]
        return {
            "format": inventory.format,
            "fields": list(inventory.fields),
            "wanted": wanted,
            "versions": self.versions,
            "conditions": dict(self.conditions),
        }

    async def _files(self, store: Store, inventory: Inventory) -> AsyncGenerator[Sequence[bytes], None]:
        """Yield each file of the inventory as a segment."""
        for file in inventory.files:
            info = await info_of(store, self.bucket, file["key"])
            if info.size_bytes != file["size"]:
                raise SourceError(
                    f"{name_of(self.bucket, file['key'])} has {info.size_bytes:,} bytes, but the manifest states "
                    f"{file['size']:,}: the inventory is incomplete or was changed"
                )
            if info.size_bytes:
                place = {"bucket": self.bucket, "etag": info.etag, **file}
                yield [json.dumps(place, separators=(",", ":")).encode()]

    async def _items(self, store: Store, inventory: Inventory | None) -> AsyncGenerator[Sequence[Item], None]:
        """Yield the matching items, several at a time."""
        if inventory is None:
            is_selected = condition_of(self.conditions)
            async with aclosing(self._other_items(store)) as items:
                async for item in items:
                    if is_selected(item):
                        yield [item]
            return
        settings = self._settings(inventory)
        async with aclosing(self._files(store, inventory)) as files:
            async for (line,) in files:
                file = json.loads(line)
                select = _selection(settings, name_of(file["bucket"], file["key"]))
                async with aclosing(_rows(store, file, settings)) as chunks:
                    async for rows in chunks:
                        yield [chosen for row in rows if (chosen := select(row)) is not None]

    async def _other_items(self, store: Store) -> AsyncGenerator[Item, None]:
        """Yield the items of a list that is not an inventory."""
        if self.key.endswith(".json"):
            for item in result_files_in(await self._document(store), name_of(self.bucket, self.key)):
                yield item
            return
        async with aclosing(uris_in(store, self.bucket, self.key)) as addresses:
            async for bucket, key in addresses:
                yield {"bucket": bucket, "key": key}

    @staticmethod
    async def _segments(
        chunks: AsyncGenerator[Sequence[Item], None], keys_per_segment: int
    ) -> AsyncIterator[Sequence[bytes]]:
        encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        lines: list[bytes] = []
        async with aclosing(chunks):
            async for items in chunks:
                lines += [encode(item).encode() for item in items]
                stop = len(lines) - len(lines) % keys_per_segment
                for begin in range(0, stop, keys_per_segment):
                    yield lines[begin : begin + keys_per_segment]
                lines = lines[stop:]
        if lines:
            yield lines


def _rows(
    store: Store, file: Mapping[str, Any], settings: Mapping[str, Any]
) -> AsyncGenerator[Sequence[Sequence[Any]], None]:
    return rows_in(store, file, settings["format"], settings["fields"], settings["wanted"])


def _selection(settings: Mapping[str, Any], name: str) -> Callable[[Sequence[Any]], Item | None]:
    """Return a function that returns the item of a row of a file, or None if it is not selected."""
    item_of = item_maker(
        settings["wanted"], is_csv=settings["format"] == "CSV", all_versions=settings["versions"] == "all"
    )
    is_selected = condition_of(settings["conditions"])

    def select(row: Sequence[Any]) -> Item | None:
        try:
            item = item_of(row)
            return item if item is not None and is_selected(item) else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{name}: malformed row {list(row)!r}: {error}") from error

    return select
