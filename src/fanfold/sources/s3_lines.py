"""Byte ranges of S3 objects of lines: CSV with a header, JSON Lines, or text."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold._ports.stores import Listed
from fanfold.errors import ConfigurationError, SourceError
from fanfold.sources import manifest
from fanfold.sources.compression import MAX_DECOMPRESSED_BYTES
from fanfold.sources.line_object import cut_by_rows, cut_object, is_whole, name_of, pin_object, read_object
from fanfold.sources.line_settings import LineSettings
from fanfold.sources.lines import MAX_LINE_BYTES
from fanfold.sources.planning import Planned, Step, listing, map_in_order

_INLINE_HEADER_BYTES: Final = 16_384
"""Size of a header above which it is in the manifest, not in each message."""


class S3Lines:
    """One S3 object of lines, or all objects with a key prefix, cut into byte ranges.

    A line belongs to the range that holds its first byte, so every line is read exactly once. Objects are pinned by
    their ETags when the run is planned: if one is replaced later, its segments fail instead of mixing two versions.

    Items depend on the format. ``csv``: a dict of strings by column name for each row; ``jsonl``: the JSON value of
    each line; ``text``: each line. Lines end with LF or CR LF. Blank lines are skipped, except in ``text``.

    CSV is read as by Python's ``csv`` module, in its strict mode. All objects of a prefix have the same delimiter and
    the same columns, in any order. An object that does not look like what was declared is refused when the run is
    planned, and the error names the setting that reads it.

    In ``jsonl``, several objects may share a line, as Amazon Data Firehose writes them. ``NaN``, ``Infinity``, a number
    beyond the largest float, an object with two members of one name, and half of a surrogate pair make a bad row.

    Rows may span lines (a newline inside quotes) if they are read from the start of the object: in an object of one
    segment, and in a compressed one. A reader that starts in the middle cannot know whether it is inside quotes; see
    ``quoted_newlines``.

    An object that is compressed, or in an encoding in which LF is not always byte 0x0A (such as UTF-16), cannot be cut
    by bytes: it is one segment of any size.

    Args:
        bucket: The bucket.
        key: The key of one object.
        prefix: Beginning of the keys of several objects, instead of ``key``; their ranges are written under the run's
            prefix when it is planned. Objects without lines are skipped.
        suffix: End of the keys of several objects.
        chunk_bytes: Size of a range, from 1; each is one segment.
        format: ``csv``, ``jsonl``, or ``text``; None to derive it from the suffix of each key.
        delimiter: Delimiter of CSV, one character; None for a tab in ``.tsv``, ``|`` in ``.psv``, else a comma.
        quotechar: Quote character of CSV, doubled inside a quoted field; None if quotes are text.
        encoding: Encoding of the text, as in Python; UTF-8 may begin with a byte order mark.
        columns: All columns of CSV. An object whose first row consists of some of these names has a header: it is read
            by name, and a column that it lacks is None in its items. Any other object has no header. None for objects
            that begin with the same header.
        header: True if the first row of CSV is a header whatever it looks like, False if it is a row. None to derive
            it from the first row and ``columns``.
        quoted_newlines: True if rows of CSV may span lines: objects larger than ``chunk_bytes`` are then read when the
            run is planned, to cut them between rows. False if each row is one line, so that a quote which is not closed
            on its line makes a bad row. None if neither is known: in an object that is cut, a line whose quotes do not
            enclose whole fields fails its segment.
        compression: ``gzip``, ``bzip2``, ``zstd``, or ``none``; None to derive it from the suffix of each key or
            else from the object's ``Content-Encoding``.
        on_bad_row: ``fail``, to fail the segment at a row that cannot be decoded or parsed, or whose number of fields
            differs from the header; ``collect``, to write such rows, with object, byte, line, and reason, to
            ``bad-rows.jsonl`` next to the output of the run, and to continue.
        max_bad_rows: Maximum number of bad rows as an integer, or their share of all rows as a float below 1; if there
            are more, the run fails. None for any number.
        decimals: Whether JSON numbers with a fraction or an exponent are ``decimal.Decimal``, which is exact and which
            DynamoDB requires, instead of ``float``.
        max_line_bytes: Maximum length of a line, from 1; a longer one is refused, because reading it takes several
            times its length of memory.
        max_decompressed_bytes: Maximum size of a compressed object when decompressed, from 1; a larger one is refused.

    Raises:
        ConfigurationError: If a setting is invalid, or the format is unknown or not supported.
    """

    def __init__(  # noqa: PLR0913 - one option each, by keyword
        self,
        bucket: str,
        key: str | None = None,
        *,
        prefix: str | None = None,
        suffix: str = "",
        chunk_bytes: int = 64_000_000,
        format: str | None = None,  # noqa: A002 - the term users know
        delimiter: str | None = None,
        quotechar: str | None = '"',
        encoding: str = "utf-8",
        columns: Sequence[str] | None = None,
        header: bool | None = None,
        quoted_newlines: bool | None = None,
        compression: str | None = None,
        on_bad_row: str = "fail",
        max_bad_rows: float | None = None,
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
        if type(chunk_bytes) is not int or chunk_bytes < 1:
            raise ConfigurationError(f"S3Lines: chunk_bytes must be an integer of at least 1, not {chunk_bytes!r}")
        self.bucket: str = bucket
        self.key: str | None = key
        self.prefix: str | None = prefix
        self.suffix: str = suffix
        self.chunk_bytes: int = chunk_bytes
        self.settings: LineSettings = LineSettings(
            format=format,
            delimiter=delimiter,
            quotechar=quotechar,
            encoding=encoding,
            columns=columns,
            header=header,
            quoted_newlines=quoted_newlines,
            compression=compression,
            on_bad_row=on_bad_row,
            max_bad_rows=max_bad_rows,
            decimals=decimals,
            max_line_bytes=max_line_bytes,
            max_decompressed_bytes=max_decompressed_bytes,
        )
        self.format: str | None = format if key is None else self.settings.format_of(key)
        """The format; None if it is derived from the suffix of each key."""

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """Return the plan: the size, the ETag, and, for CSV, the header of the object; or the manifest of several.

        Raises:
            SourceError: If the object is missing, or does not look like what was declared; or if the bucket does not
                exist.
        """
        return await self.plan(backend, Step(prefix))

    async def plan(self, backend: Backend, step: Step) -> Mapping[str, Any]:
        """Return the plan of one object, or of the objects after the last step.

        Raises:
            SourceError: As ``pin``.
        """
        most = self.settings.max_bad_rows
        plan = {"type": "s3-lines"} if most is None else {"type": "s3-lines", "max_bad_rows": most}
        if self.key is not None:
            pinned = await pin_object(backend.store, self.bucket, self.key, self.settings)
            if not self._is_cut_by_rows(pinned) and len(json.dumps(pinned)) <= _INLINE_HEADER_BYTES:
                return {**plan, "chunk_bytes": self.chunk_bytes, **pinned}
            objects = _only(pinned)
        else:
            objects = self._objects(backend, step)
        return await manifest.extend(backend, step, self._planned(backend, step, objects), **plan)

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the byte range of each segment, or its location in the manifest, from segment number ``first``."""
        if "manifest" in plan:
            for part in manifest.cut(plan, first):
                yield {"type": "s3-lines", **part}
            return
        pinned = {name: value for name, value in plan.items() if name not in {"chunk_bytes", "max_bad_rows"}}
        yield from cut_object(pinned, plan["chunk_bytes"], first)

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
        """Yield the items of one byte range; the mark of an item is the byte after its line.

        Raises:
            SourceError: If the object was replaced or deleted since the run was planned, or a line is malformed.
        """
        byte_range = await _range_in_manifest(part, backend) if "manifest" in part else part
        if "from" in part:  # the last line may end after the range
            byte_range = {**byte_range, "start": min(part["from"], byte_range["stop"]), "line": None}
        async with aclosing(read_object(byte_range, backend.store)) as chunks:
            async for chunk in chunks:
                yield chunk

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the same range, starting at a byte where a line begins."""
        return {**part, "from": mark}

    def _is_cut_by_rows(self, pinned: Mapping[str, Any]) -> bool:
        """Return whether an object is read to cut it: its rows may span lines, and it is more than one range."""
        ranges = islice(cut_object(pinned, self.chunk_bytes), 2)
        return bool(self.settings.quoted_newlines) and pinned["format"] == "csv" and sum(1 for _ in ranges) > 1

    async def _objects(self, backend: Backend, step: Step) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the pinned objects with the prefix after the last step; those without lines have no ``begin``.

        Raises:
            SourceError: If the bucket is missing, or CSV objects differ in their delimiter or columns.
        """
        store = backend.store
        first: Mapping[str, Any] | None = None
        if first_key := step.begun.get("first"):
            first = await pin_object(store, self.bucket, first_key, self.settings)

        async def pin(listed: Listed) -> Mapping[str, Any]:
            if not listed.key.endswith(self.suffix) or not listed.size_bytes:
                return {"key": listed.key}
            return await pin_object(store, self.bucket, listed.key, self.settings, listed)

        listed_objects = listing(store, self.bucket, self.prefix or "", after=step.after)
        async with aclosing(map_in_order(pin, listed_objects)) as objects:
            async for pinned in objects:
                if "begin" in pinned and pinned["format"] == "csv":
                    first = first or pinned
                    _check_alike(first, pinned)
                yield pinned

    async def _planned(
        self, backend: Backend, step: Step, objects: AsyncGenerator[Mapping[str, Any], None]
    ) -> AsyncGenerator[Planned, None]:
        """Yield each range of each object as one line of a manifest, and the totals after each object."""
        totals = {name: step.begun.get(name, 0) for name in ("objects", "compressed", "bytes", "largest_bytes")}
        first = {name: key for name, key in step.begun.items() if name == "first"}
        async with aclosing(objects):
            async for pinned in objects:
                if "begin" in pinned:
                    totals["objects"] += 1
                    totals["compressed"] += "compression" in pinned
                    if pinned["format"] == "csv":
                        first = first or {"first": pinned["key"]}
                    async for part in self._cut(backend, pinned):
                        size = part["size"] if is_whole(part) else part["stop"] - part["start"]
                        totals["bytes"] += size
                        totals["largest_bytes"] = max(totals["largest_bytes"], size)
                        yield Planned([json.dumps(part, separators=(",", ":")).encode()])
                yield Planned(after=pinned["key"], fields={**totals, **first})

    async def _cut(self, backend: Backend, pinned: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        if self._is_cut_by_rows(pinned):
            async for part in cut_by_rows(backend.store, pinned, self.chunk_bytes):
                yield part
        else:
            for part in cut_object(pinned, self.chunk_bytes):
                yield part


async def _only(pinned: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
    yield pinned


def _check_alike(first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse a CSV object whose delimiter or columns differ from those of the first object.

    Raises:
        SourceError: States the difference, and the setting that reads both.
    """
    name, known = name_of(other["bucket"], other["key"]), name_of(first["bucket"], first["key"])
    if other["delimiter"] != first["delimiter"]:
        raise SourceError(
            f"{name} has the delimiter {other['delimiter']!r}, but {known} has {first['delimiter']!r}: specify suffix= "
            "to select one kind, or delimiter= if all have the same"
        )
    mine, theirs = other.get("columns", other["header"]), first.get("columns", first["header"])
    if set(mine) != set(theirs):
        column = next(iter([column for column in mine if column not in theirs] or set(theirs) - set(mine)))
        owner, lacking = (name, known) if column in mine else (known, name)
        raise SourceError(
            f"{owner} has the column {column!r}, but {lacking} has not: specify columns=[…] with the columns of all "
            "objects, which are then None where an object lacks them; or suffix= to select one kind"
        )


async def _range_in_manifest(part: Mapping[str, Any], backend: Backend) -> Mapping[str, Any]:
    """Return the byte range of a segment, which is its only line in the manifest."""
    lines = [line async for chunk in manifest.read(part, backend) for line, _ in chunk]
    byte_range: Mapping[str, Any] = json.loads(lines[0])
    return byte_range
