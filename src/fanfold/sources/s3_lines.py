"""Byte ranges of one S3 object of lines: CSV with a header, JSON Lines, or text."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from fanfold.errors import ConfigurationError, ObjectChangedError, ObjectMissingError, SourceError
from fanfold.protocols import Backend, Store
from fanfold.sources.lines import lines_of_range

__all__ = ["S3Lines"]

_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text", ".log": "text"}
_COMPRESSED = (".gz", ".bz2", ".zst", ".xz", ".zip")
_BOM = b"\xef\xbb\xbf"
_HEADER_BYTES = 1_048_576
"""Longest header of a CSV object."""
_ONE_LINE = 'write each row on one line, with quotes inside a field doubled ("")'


class S3Lines:
    """One S3 object of lines, cut into byte ranges.

    A line belongs to the range that holds its first byte, so every line is read exactly once. The object is pinned by
    its ETag when the run is planned: one that is replaced meanwhile fails clearly instead of being half read.

    Items are, by format: ``csv``: a dict of header name to text per row; ``jsonl``: the JSON value of each line;
    ``text``: each line. The text is UTF-8, lines end with LF or CR LF, blank lines are no rows (in ``text`` they are).

    A row that spans lines (a newline inside quotes) cannot be told from two rows by a reader that starts in the middle
    of an object; a line with an odd number of quotes is refused, never read wrongly.

    Args:
        bucket: The bucket.
        key: The object's key.
        chunk_bytes: Size of a range, from 1; each is one segment.
        format: ``csv``, ``jsonl`` or ``text``; None to tell by the key's ending.

    Raises:
        ConfigurationError: If a setting is impossible, the format cannot be told, or the object is compressed.
    """

    def __init__(self, bucket: str, key: str, *, chunk_bytes: int = 64_000_000, format: str | None = None) -> None:  # noqa: A002 - the term users know
        for name, value in (("bucket", bucket), ("key", key)):
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"S3Lines: {name} must be a name, not {value!r}")
        if not isinstance(chunk_bytes, int) or isinstance(chunk_bytes, bool) or chunk_bytes < 1:
            raise ConfigurationError(f"S3Lines: chunk_bytes must be a whole number from 1, not {chunk_bytes!r}")
        if key.lower().endswith(_COMPRESSED):
            raise ConfigurationError(f"S3Lines: {key} is compressed and cannot be cut by bytes; store it uncompressed")
        self.bucket = bucket
        self.key = key
        self.chunk_bytes = chunk_bytes
        self.format = format or _format_of(key)
        if self.format not in _FORMATS.values():
            raise ConfigurationError(f"S3Lines: format must be 'csv', 'jsonl' or 'text', not {self.format!r}")

    async def pin(self, backend: Backend, prefix: str = "") -> Mapping[str, Any]:  # noqa: ARG002 - writes nothing down
        """Return the plan: the object's size and ETag as of now and, for CSV, its header.

        Raises:
            SourceError: If the object is missing or empty, or a CSV object has no header or no rows.
        """
        name = _name(self.bucket, self.key)
        try:
            info = await backend.store.head(self.bucket, self.key)
        except ObjectMissingError as error:
            raise SourceError(f"{name} does not exist: check the bucket and the key") from error
        if info.size_bytes == 0:
            raise SourceError(f"{name} is empty: there is nothing to cut")
        plan: dict[str, Any] = {
            "type": "s3-lines",
            "bucket": self.bucket,
            "key": self.key,
            "etag": info.etag,
            "size": info.size_bytes,
            "format": self.format,
            "chunk_bytes": self.chunk_bytes,
        }
        head = await _read_head(backend.store, plan, _HEADER_BYTES if self.format == "csv" else len(_BOM))
        if self.format == "csv":
            plan["header"], plan["begin"] = _header(head, name)
        else:
            plan["begin"] = len(_BOM) if head.startswith(_BOM) else 0
        if plan["begin"] >= info.size_bytes:
            raise SourceError(
                f"{name} has {'a header and ' if self.format == 'csv' else ''}no rows: there is nothing to cut"
            )
        return plan

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the byte range of each segment, from segment number ``first`` on."""
        begin, size, chunk = plan["begin"], plan["size"], plan["chunk_bytes"]
        shared = {name: plan[name] for name in ("type", "bucket", "key", "etag", "size", "format", "begin")}
        if "header" in plan:
            shared["header"] = plan["header"]
        for start in range(begin + first * chunk, size, chunk):
            yield {**shared, "start": start, "stop": min(start + chunk, size)}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[tuple[Any, int], None]:
        """Yield the items of one byte range, each with the byte after its line.

        Raises:
            SourceError: If the object was replaced or deleted since the run was planned, or a line is malformed.
        """
        name = _name(part["bucket"], part["key"])
        read = partial(_read_range, backend.store, part)
        parse = _parser(part)
        found = lines_of_range(
            read, start=part["start"], stop=part["stop"], begin=part["begin"], size_bytes=part["size"]
        )
        async with aclosing(found):
            async for position, lines in found:
                for item in _parsed(parse, lines, position, name):
                    yield item

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the same range from a byte on, where a line begins."""
        return {**part, "start": min(mark, part["stop"])}  # the last line may end beyond the range


def _name(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"


def _format_of(key: str) -> str:
    for ending, known in _FORMATS.items():
        if key.lower().endswith(ending):
            return known
    raise ConfigurationError(f"S3Lines: cannot tell the format of {key!r}: say format='csv', 'jsonl' or 'text'")


async def _read_range(store: Store, part: Mapping[str, Any], start: int, stop: int) -> AsyncGenerator[bytes, None]:
    name = _name(part["bucket"], part["key"])
    try:
        async with aclosing(store.read(part["bucket"], part["key"], start=start, stop=stop, etag=part["etag"])) as read:
            async for piece in read:
                yield piece
    except ObjectMissingError as error:
        raise SourceError(f"{name} was deleted since the run was planned") from error
    except ObjectChangedError as error:
        raise SourceError(f"{name} was replaced since the run was planned: start a new run") from error


async def _read_head(store: Store, plan: Mapping[str, Any], most: int) -> bytes:
    pieces: list[bytes] = []
    async with aclosing(_read_range(store, plan, 0, min(most, plan["size"]))) as read:
        async for piece in read:
            pieces.append(piece)
            if b"\n" in piece:
                break
    return b"".join(pieces)


def _header(head: bytes, name: str) -> tuple[list[str], int]:
    line, newline, _ = head.partition(b"\n")
    if not newline and len(line) >= _HEADER_BYTES:
        raise SourceError(f"{name} has no line end in its first {_HEADER_BYTES} bytes: it is no CSV with a header")
    header: list[str] = next((row for row, _ in _parsed(_csv_rows, [line.removeprefix(_BOM)], 0, name)), [])
    if not any(header):
        raise SourceError(f"{name} begins with an empty line: a CSV object begins with a header")
    if len(set(header)) < len(header):
        twice = sorted({column for column in header if header.count(column) > 1})
        raise SourceError(f"{name} has the column {twice[0]!r} twice in its header")
    return header, len(line) + len(newline)


_Parser = Callable[[Iterable[bytes]], Iterator[Any]]


def _parser(part: Mapping[str, Any]) -> _Parser:
    if part["format"] == "csv":
        return partial(_csv_dicts, part["header"])
    if part["format"] == "jsonl":
        return _json_values
    return _texts


def _parsed(parse: _Parser, lines: Sequence[bytes], position: int, name: str) -> Iterator[tuple[Any, int]]:
    """Yield the items of some lines, each with the byte after its line.

    A fault names the object, the byte and the mend.
    """
    line_at = after = position

    def placed() -> Iterator[bytes]:
        nonlocal line_at, after
        for line in lines:
            line_at, after = after, after + len(line) + 1
            yield line.removesuffix(b"\r")

    try:
        for item in parse(placed()):
            yield item, after
    except (csv.Error, ValueError, RecursionError) as error:
        raise SourceError(f"{name}: malformed line near byte {line_at}: {error}") from error


def _csv_dicts(header: Sequence[str], lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    for row in _csv_rows(lines):
        if len(row) != len(header):
            raise ValueError(f"{len(row)} fields where the header has {len(header)}")
        yield dict(zip(header, row, strict=True))


def _csv_rows(lines: Iterable[bytes]) -> Iterator[list[str]]:
    rows = csv.reader(map(_csv_line, lines), strict=True)
    for number, row in enumerate(rows, 1):
        if rows.line_num != number:
            raise ValueError(f"a row goes on after the end of its line; {_ONE_LINE}")
        if row:
            yield row


def _csv_line(line: bytes) -> str:
    if line.count(b'"') % 2:
        raise ValueError(f"an odd number of quotes: a row that spans lines, or a stray quote; {_ONE_LINE}")
    if len(line) > csv.field_size_limit():
        csv.field_size_limit(len(line))  # a setting of the whole process; it is only ever raised
    return line.decode()


def _json_values(lines: Iterable[bytes]) -> Iterator[Any]:
    for line in lines:
        if line.strip():
            yield json.loads(line.decode())


def _texts(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        yield line.decode()
