"""A DynamoDB table that was exported to S3."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold._ports.stores import Store
from fanfold.errors import ConfigurationError, SourceError
from fanfold.sources import manifest
from fanfold.sources.compression import CompressionError, expanded
from fanfold.sources.dynamodb_json import DynamoDBJsonError, plain_item
from fanfold.sources.object_reads import info_of, lines_in, name_of, read_checked, read_range, read_small

_SUMMARY: Final = "manifest-summary.json"
_SUMMARY_BYTES: Final = 1_000_000
_FOLDER: Final = "AWSDynamoDB/"
"""The folder under the prefix of an export that contains all its objects."""
_FORMAT: Final = "DYNAMODB_JSON"
_IMAGES: Final = ("Keys", "NewImage", "OldImage")
_MAX_FILES: Final = 1_000
"""Maximum files in a segment."""


class DynamoDBExport:
    """The items of a DynamoDB table that ``ExportTableToPointInTime`` has written to S3 in DynamoDB JSON.

    Unlike ``DynamoDBScan``, an export is a snapshot, and it uses no read capacity. Files are pinned by their ETags, and
    the number of items and the checksum of each one are compared with those in the manifest.

    Items are dicts of Python values, like those of ``DynamoDBScan``: numbers are ``Decimal``, exactly; binaries
    ``bytes``; sets ``set``. Items of an incremental export are dicts with ``Keys``, ``WriteTimestampMicros``, and, as
    far as they exist, ``NewImage`` and ``OldImage``.

    A file cannot be cut, because it is compressed: small ones share a segment.

    Args:
        bucket: The bucket of the export.
        key: The key of its ``manifest-summary.json``, as ``DescribeExport`` returns it (``ExportManifest``), or of the
            folder with this object, with a final ``/``.
        items_per_segment: Maximum items in a segment of several files, from 1.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(self, bucket: str, key: str, *, items_per_segment: int = 100_000) -> None:
        for name, text in (("bucket", bucket), ("key", key)):
            if not isinstance(text, str) or not text:
                raise ConfigurationError(f"DynamoDBExport: {name} must be a non-empty string, not {text!r}")
        if type(items_per_segment) is not int or items_per_segment < 1:
            raise ConfigurationError(
                f"DynamoDBExport: items_per_segment must be an integer of at least 1, not {items_per_segment!r}"
            )
        self.bucket: str = bucket
        self.key: str = f"{key}{_SUMMARY}" if key.endswith("/") else key
        self.items_per_segment: int = items_per_segment

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Read the manifests, write the files of each segment, and return the plan.

        Raises:
            SourceError: If a manifest or a file is missing or malformed, the export has another format, or the numbers
                of items differ.
        """
        summary = await self._summary(backend.store)
        totals = {"rows": 0, "bytes": 0}
        written = await manifest.write(backend, prefix, self._segments(backend.store, summary, totals))
        name = name_of(self.bucket, self.key)
        if summary["itemCount"] != totals["rows"]:
            raise SourceError(
                f"{name} states {summary['itemCount']:,} items, but its list of files {totals['rows']:,}: the export "
                "is incomplete or was changed"
            )
        return {"type": "dynamodb-export", **written, **totals}

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the location of the files of each segment, from segment number ``first``."""
        for part in manifest.cut(plan, first):
            yield {"type": "dynamodb-export", **part}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
        """Yield the items of one segment; the mark of an item states its file and its number in it.

        Raises:
            SourceError: If a file was replaced or deleted since the run was planned, differs from its checksum or its
                number of items, or has a malformed item; names the file, the line, and the attribute.
        """
        first, skip = part.get("from", (0, 0))
        place = {name: part[name] for name in ("manifest", "chunk", "place")}
        lines = [line async for chunk in manifest.read(place, backend) for line, _ in chunk]
        for number in range(first, len(lines)):
            async with aclosing(_read_file(backend.store, json.loads(lines[number]), skip)) as chunks:
                async for items in chunks:
                    yield [(item, [number, count]) for item, count in items]
            skip = 0

    @staticmethod
    def rest(part: Mapping[str, Any], mark: Sequence[int]) -> Mapping[str, Any]:
        """Return the same segment, without the items up to a mark."""
        return {**part, "from": list(mark)}

    async def _summary(self, store: Store) -> Mapping[str, Any]:
        name = name_of(self.bucket, self.key)
        data = await read_small(store, self.bucket, self.key, max_bytes=_SUMMARY_BYTES)
        try:
            summary = json.loads(data)
            form, count, files = summary["outputFormat"], summary["itemCount"], summary["manifestFilesS3Key"]
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{name} is not the summary of an export, which has outputFormat, itemCount, and manifestFilesS3Key: "
                f"check the key, which ends with {_SUMMARY}"
            ) from error
        if form != _FORMAT:
            raise SourceError(f"{name}: the format is {form!r}: export the table with ExportFormat={_FORMAT}")
        if type(count) is not int or not isinstance(files, str):
            raise SourceError(f"{name}: malformed itemCount or manifestFilesS3Key: {count!r}, {files!r}")
        return {"itemCount": count, "manifestFilesS3Key": files}

    async def _segments(
        self, store: Store, summary: Mapping[str, Any], totals: dict[str, int]
    ) -> AsyncIterator[Sequence[bytes]]:
        """Yield the files of each segment, and update the totals."""
        segment: list[bytes] = []
        items = 0
        async with aclosing(self._files(store, self._place_of(summary["manifestFilesS3Key"]))) as files:
            async for file in files:
                if segment and (items + file["items"] > self.items_per_segment or len(segment) == _MAX_FILES):
                    yield segment
                    segment, items = [], 0
                segment.append(json.dumps(file, separators=(",", ":")).encode())
                items += file["items"]
                totals["rows"] += file["items"]
                totals["bytes"] += file["size"]
        if segment:
            yield segment

    async def _files(self, store: Store, key: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the pinned files with items, in the order of the manifest."""
        name, number = name_of(self.bucket, key), 0
        pieces = read_range(store, self.bucket, key)
        async with aclosing(pieces), aclosing(lines_in(pieces, name)) as chunks:
            async for lines in chunks:
                for line in lines:
                    number += 1
                    if line.strip() and (file := _file_in(line, f"{name}, line {number}"))["items"]:
                        place = {"bucket": self.bucket, "key": self._place_of(file["key"])}
                        info = await info_of(store, **place)
                        yield {**file, **place, "size": info.size_bytes, "etag": info.etag}

    def _place_of(self, key: str) -> str:
        """Return where an object of the export is now: it may have been copied under another prefix."""
        root, folder, _ = self.key.rpartition(_FOLDER)
        _, stated, rest = key.rpartition(_FOLDER)
        return f"{root}{folder}{rest}" if folder and stated else key


def _file_in(line: bytes, place: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        key, items, checksum = entry["dataFileS3Key"], entry["itemCount"], entry.get("md5Checksum")
        digest = None if checksum is None else base64.b64decode(checksum, validate=True).hex()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{place} does not describe a file of an export: {error!r:.200}") from error
    if not isinstance(key, str) or type(items) is not int or items < 0:
        raise SourceError(f"{place}: malformed dataFileS3Key or itemCount: {key!r:.80}, {items!r:.80}")
    return {"key": key, "items": items, "md5": digest}


async def _read_file(
    store: Store, file: Mapping[str, Any], skip: int
) -> AsyncGenerator[list[tuple[dict[str, Any], int]], None]:
    """Yield the items of a file after the first ``skip`` ones, several at a time, each with its number."""
    name, number = name_of(file["bucket"], file["key"]), 0
    pieces = read_checked(store, file)
    text = expanded(pieces, "gzip") if file["key"].endswith(".gz") else pieces
    try:
        async with aclosing(pieces), aclosing(text), aclosing(lines_in(text, name)) as chunks:
            async for lines in chunks:
                items = []
                for line in lines:
                    if line.strip():
                        number += 1
                        if number > skip:
                            items.append((_item_in(line, f"{name}, line {number}"), number))
                yield items
    except CompressionError as error:
        raise SourceError(f"{name}: {error}") from error
    if number != file["items"]:
        raise SourceError(f"{name} has {number:,} items, but the manifest states {file['items']:,}")


def _item_in(line: bytes, place: str) -> dict[str, Any]:
    try:
        document = json.loads(line, parse_constant=_refuse)
        if isinstance(document, dict) and set(document) == {"Item"}:
            return plain_item(document["Item"])
        return _change_in(document)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"{place}: malformed item: {error}") from error


def _change_in(document: Any) -> dict[str, Any]:
    """Return a line of an incremental export.

    Raises:
        DynamoDBJsonError: If it is not one.
    """
    if not isinstance(document, dict) or "Keys" not in document or not set(document) <= {*_IMAGES, "Metadata"}:
        raise DynamoDBJsonError("a line must have either Item, or Metadata, Keys, and images")
    change: dict[str, Any] = {name: plain_item(document[name], name) for name in _IMAGES if name in document}
    written = plain_item(document.get("Metadata", {}), "Metadata").get("WriteTimestampMicros")
    return {**change, "WriteTimestampMicros": None if written is None else int(written)}


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")
