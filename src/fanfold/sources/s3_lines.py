"""Byte ranges of S3 objects of lines: CSV with a header, JSON Lines, or text."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold._ports.stores import Listed
from fanfold.errors import ConfigurationError
from fanfold.sources import manifest
from fanfold.sources.line_object import cut_object, format_of, pin_object, read_object
from fanfold.sources.planning import Planned, Step, listing, map_in_order
from fanfold.sources.rows import FORMATS

_UNREADABLE: Final = (".xz", ".zip", ".7z", ".lz4", ".snappy", ".parquet")


class S3Lines:
    """One S3 object of lines, or all objects with a key prefix, cut into byte ranges.

    A line belongs to the range that holds its first byte, so every line is read exactly once. Objects are pinned by
    their ETags when the run is planned: if one is replaced later, its segments fail instead of mixing two versions.

    Items depend on the format. ``csv``: a dict of strings by column name for each row; ``jsonl``: the JSON value of
    each line; ``text``: each line. The encoding is UTF-8, and lines end with LF or CR LF. Blank lines are skipped,
    except in ``text``.

    A reader that starts in the middle of an object cannot distinguish a row that spans lines (a newline inside quotes)
    from two rows. So a line with an odd number of quotes is refused.

    A compressed object (``.gz``, ``.bz2``, ``.zst``) cannot be cut by bytes: it is one segment of any size.

    Args:
        bucket: The bucket.
        key: The key of one object.
        prefix: Beginning of the keys of several objects, instead of ``key``; their ranges are written under the run's
            prefix when it is planned. Objects without lines have no segments.
        suffix: End of the keys of several objects.
        chunk_bytes: Size of a range, from 1; each is one segment.
        format: ``csv``, ``jsonl``, or ``text``; None to derive it from the suffix of each key.

    Raises:
        ConfigurationError: If a setting is invalid, or the format is unknown or not supported.
    """

    def __init__(
        self,
        bucket: str,
        key: str | None = None,
        *,
        prefix: str | None = None,
        suffix: str = "",
        chunk_bytes: int = 64_000_000,
        format: str | None = None,  # noqa: A002 - the term users know
    ) -> None:
        if not isinstance(bucket, str) or not bucket:
            raise ConfigurationError(f"S3Lines: bucket must be a non-empty string, not {bucket!r}")
        if (key is None) == (prefix is None):
            raise ConfigurationError("S3Lines: specify either key, for one object, or prefix, for several")
        if key is not None and (not isinstance(key, str) or not key):
            raise ConfigurationError(f"S3Lines: key must be a non-empty string, not {key!r}")
        for name, text in (("prefix", "" if prefix is None else prefix), ("suffix", suffix)):
            if not isinstance(text, str):
                raise ConfigurationError(f"S3Lines: {name} must be a string, not {text!r}")
        if suffix and key is not None:
            raise ConfigurationError("S3Lines: suffix requires prefix; key already selects one object")
        if type(chunk_bytes) is not int or chunk_bytes < 1:
            raise ConfigurationError(f"S3Lines: chunk_bytes must be an integer of at least 1, not {chunk_bytes!r}")
        if format is not None and format not in FORMATS.values():
            raise ConfigurationError(f"S3Lines: format must be 'csv', 'jsonl', or 'text', not {format!r}")
        self.bucket: str = bucket
        self.key: str | None = key
        self.prefix: str | None = prefix
        self.suffix: str = suffix
        self.chunk_bytes: int = chunk_bytes
        self.format = format
        if key is not None:
            self.format = self._format_of(key)

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Return the plan: the size, the ETag, and, for CSV, the header of the object; or the manifest of several.

        Raises:
            SourceError: If the object is missing, the bucket does not exist, or a CSV object has no header.
        """
        return await self.plan(backend, Step(prefix))

    async def plan(self, backend: Backend, step: Step) -> Mapping[str, Any]:
        """Return the plan of one object, or of the objects after the last step.

        Raises:
            SourceError: As ``pin``.
        """
        if self.key is not None:
            pinned = await pin_object(backend.store, self.bucket, self.key, self._format_of(self.key))
            return {"type": "s3-lines", "chunk_bytes": self.chunk_bytes, **pinned}
        return await manifest.extend(backend, step, self._planned(backend, step), type="s3-lines")

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the byte range of each segment, or its location in the manifest, from segment number ``first``."""
        if "manifest" in plan:
            for part in manifest.cut(plan, first):
                yield {"type": "s3-lines", **part}
            return
        pinned = {name: value for name, value in plan.items() if name != "chunk_bytes"}
        yield from cut_object(pinned, plan["chunk_bytes"], first)

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
        """Yield the items of one byte range; the mark of an item is the byte after its line.

        Raises:
            SourceError: If the object was replaced or deleted since the run was planned, or a line is malformed.
        """
        byte_range = await _range_in_manifest(part, backend) if "manifest" in part else part
        if "from" in part:  # the last line may end after the range
            byte_range = {**byte_range, "start": min(part["from"], byte_range["stop"])}
        async with aclosing(read_object(byte_range, backend.store)) as chunks:
            async for chunk in chunks:
                yield chunk

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the same range, starting at a byte where a line begins."""
        return {**part, "from": mark}

    def _format_of(self, key: str) -> str:
        if key.lower().endswith(_UNREADABLE):
            raise ConfigurationError(
                f"S3Lines: {key} cannot be read as lines: store it uncompressed, or as .gz, .bz2, or .zst"
            )
        return self.format or format_of(key)

    async def _planned(self, backend: Backend, step: Step) -> AsyncGenerator[Planned, None]:
        """Yield each range of each object as one line of a manifest, and the totals after each object."""
        totals = {name: step.begun.get(name, 0) for name in ("objects", "compressed", "bytes", "largest_bytes")}

        async def pin(listed: Listed) -> tuple[str, Mapping[str, Any] | None]:
            if not listed.key.endswith(self.suffix) or not listed.size_bytes:
                return listed.key, None
            form = self._format_of(listed.key)
            return listed.key, await pin_object(backend.store, self.bucket, listed.key, form, listed=listed)

        listed_objects = listing(backend.store, self.bucket, self.prefix or "", after=step.after)
        async with aclosing(map_in_order(pin, listed_objects)) as objects:
            async for key, pinned in objects:
                if pinned is not None:
                    totals["objects"] += 1
                    totals["compressed"] += "compression" in pinned
                    for part in cut_object(pinned, self.chunk_bytes):
                        totals["bytes"] += part["stop"] - part["start"]
                        totals["largest_bytes"] = max(totals["largest_bytes"], part["stop"] - part["start"])
                        yield Planned([json.dumps(part, separators=(",", ":")).encode()])
                yield Planned(after=key, fields=totals)


async def _range_in_manifest(part: Mapping[str, Any], backend: Backend) -> Mapping[str, Any]:
    """Return the byte range of a segment, which is its only line in the manifest."""
    lines = [line async for chunk in manifest.read(part, backend) for line, _ in chunk]
    byte_range: Mapping[str, Any] = json.loads(lines[0])
    return byte_range
