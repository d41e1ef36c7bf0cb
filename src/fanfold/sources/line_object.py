"""One S3 object of lines: pinned, cut into byte ranges, and read; a compressed object is one range."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from fanfold._ports.stores import Store
from fanfold.errors import ConfigurationError, ObjectChangedError, ObjectMissingError, SourceError
from fanfold.sources.compression import (
    COMPRESSIONS,
    MAX_DECOMPRESSED_BYTES,
    CompressionError,
    compression_of,
    expanded,
)
from fanfold.sources.lines import MAX_LINE_BYTES, UNLIMITED, LineTooLongError, lines_of_range
from fanfold.sources.rows import BOM, FORMATS, Parser, csv_header, parsed, parser_of

_HEADER_BYTES: Final = 1_048_576
"""Maximum size of the header of a CSV object."""


def name_of(bucket: str, key: str) -> str:
    """Return the name of an object in errors."""
    return f"s3://{bucket}/{key}"


def format_of(key: str) -> str:
    """Return the format of an object's lines, derived from the suffix of its key before that of a compression.

    Raises:
        ConfigurationError: If the suffix is unknown.
    """
    uncompressed = key.lower()
    for suffix in COMPRESSIONS:
        uncompressed = uncompressed.removesuffix(suffix)
    for suffix, known in FORMATS.items():
        if uncompressed.endswith(suffix):
            return known
    raise ConfigurationError(f"S3Lines: the format of {key!r} is unknown: specify format='csv', 'jsonl', or 'text'")


async def pin_object(
    store: Store, bucket: str, key: str, form: str, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the pinned object: its size, its ETag, the start of its lines, and, for CSV, its header.

    In an object without lines, the start is the end. Of the options of reading, ``decimals``, ``max_line_bytes``, and
    ``max_decompressed_bytes`` are part of the pinned object.

    Raises:
        SourceError: If the object is missing, or a CSV object has no header.
    """
    name = name_of(bucket, key)
    try:
        info = await store.head(bucket, key)
    except ObjectMissingError as error:
        raise SourceError(f"{name} does not exist: check the bucket and the key") from error
    pinned: dict[str, Any] = {"bucket": bucket, "key": key, "etag": info.etag, "size": info.size_bytes, "format": form}
    pinned |= options or {}
    if info.size_bytes == 0:
        return {**pinned, "begin": 0}
    if compression := compression_of(key, info.content_encoding, None, name):
        return {**pinned, "begin": 0, "compression": compression}
    head = await _read_head(store, pinned, _HEADER_BYTES if form == "csv" else len(BOM))
    if form != "csv":
        return {**pinned, "begin": len(BOM) if head.startswith(BOM) else 0}
    line, newline, _ = head.partition(b"\n")
    if not newline and len(line) >= _HEADER_BYTES:
        raise SourceError(f"{name} has no line end in its first {_HEADER_BYTES} bytes: it is not CSV with a header")
    return {**pinned, "header": csv_header(line, name), "begin": len(line) + len(newline)}


def cut_object(pinned: Mapping[str, Any], chunk_bytes: int, first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the byte ranges of a pinned object, from range number ``first``; a compressed object is one range."""
    begin, size = pinned["begin"], pinned["size"]
    if "compression" in pinned:
        chunk_bytes = size
    for start in range(begin + first * chunk_bytes, size, chunk_bytes):
        yield {**pinned, "start": start, "stop": min(start + chunk_bytes, size)}


async def read_object(part: Mapping[str, Any], store: Store) -> AsyncGenerator[Iterable[tuple[Any, int | None]], None]:
    """Yield the items of one byte range, several at a time; the mark of an item is the byte after its line.

    The mark is None if no range can start there.

    Raises:
        SourceError: If the object was replaced or deleted since it was pinned, or a line is malformed.
    """
    if "compression" in part:
        async with aclosing(_read_compressed(part, store)) as chunks:
            async for chunk in chunks:
                yield chunk
        return
    read = partial(_read_range, store, part)
    parse, name = _parser(part, part.get("header")), name_of(part["bucket"], part["key"])
    ranges = lines_of_range(
        read,
        start=part["start"],
        stop=part["stop"],
        begin=part["begin"],
        size_bytes=part["size"],
        max_line_bytes=part.get("max_line_bytes", MAX_LINE_BYTES),
    )
    try:
        async with aclosing(ranges):
            async for position, lines in ranges:
                yield parsed(parse, lines, position, name)
    except LineTooLongError as error:
        raise SourceError(f"{name}: {error}") from error


async def _read_compressed(part: Mapping[str, Any], store: Store) -> AsyncGenerator[Iterable[tuple[Any, None]], None]:
    name = name_of(part["bucket"], part["key"])
    max_bytes = part.get("max_decompressed_bytes", MAX_DECOMPRESSED_BYTES)
    pieces = expanded(_read_range(store, part, 0, part["size"]), part["compression"], max_bytes=max_bytes)
    parse = None if part["format"] == "csv" else _parser(part, None)
    chunks = lines_of_range(
        lambda _start, _stop: pieces,
        start=0,
        stop=UNLIMITED,
        begin=0,
        size_bytes=0,
        max_line_bytes=part.get("max_line_bytes", MAX_LINE_BYTES),
    )
    try:
        async with aclosing(pieces), aclosing(chunks):
            async for position, chunk in chunks:
                lines = [chunk[0].removeprefix(BOM), *chunk[1:]] if position == 0 else chunk
                if parse is None:
                    parse = parser_of("csv", csv_header(lines[0].removesuffix(b"\r"), name))
                    position, lines = position + len(lines[0]) + 1, lines[1:]  # noqa: PLW2901 - the header is not an item
                yield ((item, None) for item, _ in parsed(parse, lines, position, name))
    except (CompressionError, LineTooLongError) as error:
        raise SourceError(f"{name}: {error}") from error


def _parser(part: Mapping[str, Any], header: Sequence[str] | None) -> Parser:
    return parser_of(part["format"], header, decimals=part.get("decimals", False))


async def _read_range(store: Store, part: Mapping[str, Any], start: int, stop: int) -> AsyncGenerator[bytes, None]:
    name = name_of(part["bucket"], part["key"])
    try:
        async with aclosing(store.read(part["bucket"], part["key"], start=start, stop=stop, etag=part["etag"])) as read:
            async for piece in read:
                yield piece
    except ObjectMissingError as error:
        raise SourceError(f"{name} was deleted since the run was planned") from error
    except ObjectChangedError as error:
        raise SourceError(f"{name} was replaced since the run was planned: start a new run") from error


async def _read_head(store: Store, pinned: Mapping[str, Any], max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    async with aclosing(_read_range(store, pinned, 0, min(max_bytes, pinned["size"]))) as read:
        async for piece in read:
            pieces.append(piece)
            if b"\n" in piece:
                break
    return b"".join(pieces)
