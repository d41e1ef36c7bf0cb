"""Byte ranges of S3 objects of lines: CSV with a header, JSON Lines, or text."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError, ObjectMissingError, SourceError
from fanfold.sources import manifest
from fanfold.sources.line_object import cut_object, format_of, name_of, pin_object, read_object
from fanfold.sources.rows import FORMATS

_UNREADABLE: Final = (".xz", ".zip", ".7z", ".lz4", ".snappy", ".parquet")


class S3Lines:
    """One S3 object of lines, or all those whose keys begin alike, cut into byte ranges.

    A line belongs to the range that holds its first byte, so every line is read exactly once. Objects are pinned by
    their ETags when the run is planned: one that is replaced meanwhile fails clearly instead of being half read.

    Items are, by format: ``csv``: a dict of header name to text per row; ``jsonl``: the JSON value of each line;
    ``text``: each line. The text is UTF-8, lines end with LF or CR LF, blank lines are no rows (in ``text`` they are).

    A row that spans lines (a newline inside quotes) cannot be told from two rows by a reader that starts in the middle
    of an object; a line with an odd number of quotes is refused, never read wrongly.

    A compressed object (``.gz``, ``.bz2``, ``.zst``) cannot be cut by bytes: it is one segment, whatever its size.

    Args:
        bucket: The bucket.
        key: The object's key.
        prefix: Beginning of the keys of several objects, in place of ``key``; their ranges are written down under the
            run's prefix when it is planned. Objects without lines are left out.
        suffix: End of the keys of several objects.
        chunk_bytes: Size of a range, from 1; each is one segment.
        format: ``csv``, ``jsonl`` or ``text``; None to tell by each key's ending.

    Raises:
        ConfigurationError: If a setting is impossible, or the format cannot be told or read.
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
            raise ConfigurationError(f"S3Lines: bucket must be a name, not {bucket!r}")
        if (key is None) == (prefix is None):
            raise ConfigurationError("S3Lines: say either key, for one object, or prefix, for several")
        if key is not None and (not isinstance(key, str) or not key):
            raise ConfigurationError(f"S3Lines: key must be a name, not {key!r}")
        for name, text in (("prefix", "" if prefix is None else prefix), ("suffix", suffix)):
            if not isinstance(text, str):
                raise ConfigurationError(f"S3Lines: {name} must be a text, not {text!r}")
        if suffix and key is not None:
            raise ConfigurationError("S3Lines: suffix goes with prefix; with key there is one object")
        if type(chunk_bytes) is not int or chunk_bytes < 1:
            raise ConfigurationError(f"S3Lines: chunk_bytes must be a whole number from 1, not {chunk_bytes!r}")
        if format is not None and format not in FORMATS.values():
            raise ConfigurationError(f"S3Lines: format must be 'csv', 'jsonl' or 'text', not {format!r}")
        self.bucket: str = bucket
        self.key: str | None = key
        self.prefix: str | None = prefix
        self.suffix: str = suffix
        self.chunk_bytes: int = chunk_bytes
        self.format = format
        if key is not None:
            self.format = self._format_of(key)

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Return the plan: the object's size and ETag as of now and, for CSV, its header; of several, where it is.

        Raises:
            SourceError: If the object is missing or has no lines, there is no such bucket or no object with lines in
                it, or a CSV object has no header.
        """
        if self.key is not None:
            pinned = await pin_object(backend.store, self.bucket, self.key, self._format_of(self.key))
            if pinned["begin"] >= pinned["size"]:
                raise SourceError(f"{name_of(self.bucket, self.key)} {_without_lines(pinned)}: there is nothing to cut")
            return {"type": "s3-lines", "chunk_bytes": self.chunk_bytes, **pinned}
        told = {"objects": 0, "compressed": 0, "bytes": 0, "largest_bytes": 0}
        written = await manifest.write(backend, prefix, self._ranges(backend, told))
        if not written["items"]:
            raise SourceError(f"{name_of(self.bucket, self.prefix or '')}*{self.suffix}: no object there has lines")
        return {"type": "s3-lines", **written, **told}

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the byte range of each segment, or where it is written, from segment number ``first`` on."""
        if "manifest" in plan:
            for part in manifest.cut(plan, first):
                yield {"type": "s3-lines", **part}
            return
        pinned = {name: value for name, value in plan.items() if name != "chunk_bytes"}
        yield from cut_object(pinned, plan["chunk_bytes"], first)

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
        """Yield the items of one byte range, each with the byte after its line.

        Raises:
            SourceError: If the object was replaced or deleted since the run was planned, or a line is malformed.
        """
        found = await _written(part, backend) if "manifest" in part else part
        if "from" in part:
            found = {**found, "start": min(part["from"], found["stop"])}  # a last line may end beyond the range
        async with aclosing(read_object(found, backend.store)) as items:
            async for some in items:
                yield some

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the same range from a byte on, where a line begins."""
        return {**part, "from": mark}

    def _format_of(self, key: str) -> str:
        if key.lower().endswith(_UNREADABLE):
            raise ConfigurationError(f"S3Lines: {key} cannot be read as lines; store it plain, or as .gz, .bz2 or .zst")
        return self.format or format_of(key)

    async def _ranges(self, backend: Backend, told: dict[str, int]) -> AsyncIterator[Sequence[bytes]]:
        """Yield each range of each object as one line of a manifest; sum up what there is to tell of them."""
        try:
            async with aclosing(backend.store.list(self.bucket, self.prefix or "")) as listing:
                async for each in listing:
                    if not each.key.endswith(self.suffix) or not each.size_bytes:
                        continue
                    pinned = await pin_object(backend.store, self.bucket, each.key, self._format_of(each.key))
                    told["objects"] += 1
                    told["compressed"] += "compression" in pinned
                    for part in cut_object(pinned, self.chunk_bytes):
                        told["bytes"] += part["stop"] - part["start"]
                        told["largest_bytes"] = max(told["largest_bytes"], part["stop"] - part["start"])
                        yield [json.dumps(part, separators=(",", ":")).encode()]
        except ObjectMissingError as error:
            raise SourceError(f"s3://{self.bucket} does not exist: check the bucket") from error


def _without_lines(pinned: Mapping[str, Any]) -> str:
    if not pinned["size"]:
        return "is empty"
    return "has a header and no rows" if pinned["format"] == "csv" else "has no rows"


async def _written(part: Mapping[str, Any], backend: Backend) -> Mapping[str, Any]:
    """Return the range that is written down for a segment: its one line in the manifest."""
    written = [line async for lines in manifest.read(part, backend) for line, _ in lines]
    found: Mapping[str, Any] = json.loads(written[0])
    return found
