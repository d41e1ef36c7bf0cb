"""Byte ranges of S3 objects of lines: CSV with a header, JSON Lines, or text."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError, ObjectMissingError, SourceError
from fanfold.sources import manifest
from fanfold.sources.compression import MAX_DECOMPRESSED_BYTES, check_sizes
from fanfold.sources.line_object import cut_object, format_of, name_of, pin_object, read_object
from fanfold.sources.lines import MAX_LINE_BYTES
from fanfold.sources.rows import FORMATS

_DEFAULTS: Final = {"max_line_bytes": MAX_LINE_BYTES, "max_decompressed_bytes": MAX_DECOMPRESSED_BYTES}
_UNREADABLE: Final = (".xz", ".zip", ".7z", ".lz4", ".snappy", ".parquet")


class S3Lines:
    """One S3 object of lines, or all objects with a key prefix, cut into byte ranges.

    A line belongs to the range that holds its first byte, so every line is read exactly once. Objects are pinned by
    their ETags when the run is planned: if one is replaced later, its segments fail instead of mixing two versions.

    Items depend on the format. ``csv``: a dict of strings by column name for each row; ``jsonl``: the JSON value of
    each line; ``text``: each line. The encoding is UTF-8, and lines end with LF or CR LF. Blank lines are skipped,
    except in ``text``.

    In ``jsonl``, several objects may share a line, as Amazon Data Firehose writes them. ``NaN``, ``Infinity``, a number
    beyond the largest float, an object with two members of one name, and half of a surrogate pair are refused.

    A reader that starts in the middle of an object cannot distinguish a row that spans lines (a newline inside quotes)
    from two rows. So a line with an odd number of quotes is refused.

    A compressed object (``.gz``, ``.bz2``, ``.zst``, or a ``Content-Encoding`` of ``gzip``, ``bzip2``, or ``zstd``)
    cannot be cut by bytes: it is one segment of any size.

    Args:
        bucket: The bucket.
        key: The key of one object.
        prefix: Beginning of the keys of several objects, instead of ``key``; their ranges are written under the run's
            prefix when it is planned. Objects without lines are skipped.
        suffix: End of the keys of several objects.
        chunk_bytes: Size of a range, from 1; each is one segment.
        format: ``csv``, ``jsonl``, or ``text``; None to derive it from the suffix of each key.
        decimals: Whether JSON numbers with a fraction or an exponent are ``decimal.Decimal``, which is exact and which
            DynamoDB requires, instead of ``float``.
        max_line_bytes: Maximum length of a line, from 1; a longer one is refused, because reading it takes several
            times its length of memory.
        max_decompressed_bytes: Maximum size of a compressed object when decompressed, from 1; a larger one is refused.

    Raises:
        ConfigurationError: If a setting is invalid, or the format is unknown or not supported.
    """

    def __init__(  # noqa: PLR0913 - one keyword per setting
        self,
        bucket: str,
        key: str | None = None,
        *,
        prefix: str | None = None,
        suffix: str = "",
        chunk_bytes: int = 64_000_000,
        format: str | None = None,  # noqa: A002 - the term users know
        decimals: bool = False,
        max_line_bytes: int = MAX_LINE_BYTES,
        max_decompressed_bytes: int = MAX_DECOMPRESSED_BYTES,
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
        check_sizes(
            "S3Lines",
            chunk_bytes=chunk_bytes,
            max_line_bytes=max_line_bytes,
            max_decompressed_bytes=max_decompressed_bytes,
        )
        if format is not None and format not in FORMATS.values():
            raise ConfigurationError(f"S3Lines: format must be 'csv', 'jsonl', or 'text', not {format!r}")
        _check_decimals(decimals, format)
        self.bucket: str = bucket
        self.key: str | None = key
        self.prefix: str | None = prefix
        self.suffix: str = suffix
        self.chunk_bytes: int = chunk_bytes
        self.format = format
        self.decimals: bool = decimals
        self.max_line_bytes: int = max_line_bytes
        self.max_decompressed_bytes: int = max_decompressed_bytes
        if key is not None:
            self.format = self._format_of(key)

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Return the plan: the size, the ETag, and, for CSV, the header of the object; or the manifest of several.

        Raises:
            SourceError: If the object is missing or has no lines, the bucket does not exist or has no matching object
                with lines, or a CSV object has no header.
        """
        if self.key is not None:
            pinned = await self._pinned(backend, self.key)
            if pinned["begin"] >= pinned["size"]:
                raise SourceError(f"{name_of(self.bucket, self.key)} {_without_lines(pinned)}: check the key")
            return {"type": "s3-lines", "chunk_bytes": self.chunk_bytes, **pinned}
        totals = {"objects": 0, "compressed": 0, "bytes": 0, "largest_bytes": 0}
        written = await manifest.write(backend, prefix, self._ranges(backend, totals))
        if not written["items"]:
            raise SourceError(f"{name_of(self.bucket, self.prefix or '')}*{self.suffix}: no matching object has lines")
        return {"type": "s3-lines", **written, **totals}

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

    async def _pinned(self, backend: Backend, key: str) -> dict[str, Any]:
        form = self._format_of(key)
        options = {"max_line_bytes": self.max_line_bytes, "max_decompressed_bytes": self.max_decompressed_bytes}
        unusual = {name: value for name, value in options.items() if value != _DEFAULTS[name]}
        if form == "jsonl" and self.decimals:
            unusual["decimals"] = True
        return await pin_object(backend.store, self.bucket, key, form, unusual)

    async def _ranges(self, backend: Backend, totals: dict[str, int]) -> AsyncIterator[Sequence[bytes]]:
        """Yield each range of each object as one line of a manifest, and update the totals."""
        try:
            async with aclosing(backend.store.list(self.bucket, self.prefix or "")) as listing:
                async for listed in listing:
                    if not listed.key.endswith(self.suffix) or not listed.size_bytes:
                        continue
                    pinned = await self._pinned(backend, listed.key)
                    totals["objects"] += 1
                    totals["compressed"] += "compression" in pinned
                    for part in cut_object(pinned, self.chunk_bytes):
                        totals["bytes"] += part["stop"] - part["start"]
                        totals["largest_bytes"] = max(totals["largest_bytes"], part["stop"] - part["start"])
                        yield [json.dumps(part, separators=(",", ":")).encode()]
        except ObjectMissingError as error:
            raise SourceError(f"s3://{self.bucket} does not exist: check the bucket") from error


def _check_decimals(decimals: object, form: str | None) -> None:
    if not isinstance(decimals, bool):
        raise ConfigurationError(f"S3Lines: decimals must be True or False, not {decimals!r}")
    if decimals and form not in {None, "jsonl"}:
        raise ConfigurationError(f"S3Lines: decimals=True is for the format 'jsonl', not {form!r}")


def _without_lines(pinned: Mapping[str, Any]) -> str:
    if not pinned["size"]:
        return "is empty"
    return "has a header and no rows" if pinned["format"] == "csv" else "has no rows"


async def _range_in_manifest(part: Mapping[str, Any], backend: Backend) -> Mapping[str, Any]:
    """Return the byte range of a segment, which is its only line in the manifest."""
    lines = [line async for chunk in manifest.read(part, backend) for line, _ in chunk]
    byte_range: Mapping[str, Any] = json.loads(lines[0])
    return byte_range
