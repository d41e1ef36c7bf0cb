"""One S3 object of lines: pinned, cut into byte ranges, and read; a compressed object is one range."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from fanfold._base.retry import retry
from fanfold._ports.stores import Listed, ObjectInfo, Store
from fanfold.errors import ConfigurationError, ObjectChangedError, ObjectMissingError, SourceError
from fanfold.sources.compression import COMPRESSIONS, CompressionError, expanded
from fanfold.sources.lines import lines_of_range
from fanfold.sources.rows import BOM, FORMATS, csv_header, parsed, parser_of

_HEADER_BYTES: Final = 1_048_576
"""Maximum size of the header of a CSV object."""
_START_BYTES: Final = 16_384
"""Bytes of a CSV object that are read first; most headers are shorter."""
_MESSAGE_HEADER_BYTES: Final = 16_384
"""Maximum size of a header that is part of each message or manifest line; a larger one is read from the object."""
_ANYWHERE: Final = 2**63
"""A position past the end of any object."""


def name_of(bucket: str, key: str) -> str:
    """Return the name of an object in errors."""
    return f"s3://{bucket}/{key}"


def compression_of(key: str) -> str | None:
    """Return the compression of an object, derived from the suffix of its key; None without compression."""
    return next((known for suffix, known in COMPRESSIONS.items() if key.lower().endswith(suffix)), None)


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


async def pin_object(store: Store, bucket: str, key: str, form: str, *, listed: Listed | None = None) -> dict[str, Any]:
    """Return the pinned object: its size, its ETag, the start of its lines, and, for CSV, its header.

    In an object without lines, the start is the end. A header that is too large for messages is left out.

    Args:
        store: Holds the object.
        bucket: The bucket.
        key: The key of the object.
        form: The format of its lines.
        listed: Its entry in a listing; if that is enough, no request is made. If the object was replaced since it was
            listed, its current version is pinned.

    Raises:
        SourceError: If the object is missing, or a CSV object has no header.
    """
    if listed is not None and (compression := compression_of(key)):
        pinned = _pinned(bucket, key, form, ObjectInfo(listed.size_bytes, listed.etag))
        return {**pinned, "begin": 0, "compression": compression}
    name = name_of(bucket, key)
    try:
        info, head = await retry(partial(store.read_start, bucket, key, _START_BYTES if form == "csv" else len(BOM)))
    except ObjectMissingError as error:
        raise SourceError(f"{name} does not exist: check the bucket and the key") from error
    pinned = _pinned(bucket, key, form, info)
    if info.size_bytes == 0:
        return {**pinned, "begin": 0}
    if compression := compression_of(key):
        return {**pinned, "begin": 0, "compression": compression}
    if form != "csv":
        return {**pinned, "begin": len(BOM) if head.startswith(BOM) else 0}
    if b"\n" not in head and len(head) < info.size_bytes:
        head = await _read_head(store, pinned, _HEADER_BYTES)
    if len(head) == info.size_bytes and not head.removeprefix(BOM).strip(b"\r\n"):
        return {**pinned, "begin": info.size_bytes}
    line, newline, _ = head.partition(b"\n")
    if not newline and len(line) >= _HEADER_BYTES:
        raise SourceError(f"{name} has no line end in its first {_HEADER_BYTES} bytes: it is not CSV with a header")
    header = csv_header(line, name)
    in_message = {"header": header} if len(line) <= _MESSAGE_HEADER_BYTES else {}
    return {**pinned, **in_message, "begin": len(line) + len(newline)}


def _pinned(bucket: str, key: str, form: str, info: ObjectInfo) -> dict[str, Any]:
    return {"bucket": bucket, "key": key, "etag": info.etag, "size": info.size_bytes, "format": form}


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
    read, name = partial(_read_range, store, part), name_of(part["bucket"], part["key"])
    header = part.get("header")
    if header is None and part["format"] == "csv":  # too large for a message
        header = csv_header(b"".join([piece async for piece in read(0, part["begin"])]).rstrip(b"\n"), name)
    parse = parser_of(part["format"], header)
    ranges = lines_of_range(read, start=part["start"], stop=part["stop"], begin=part["begin"], size_bytes=part["size"])
    async with aclosing(ranges):
        async for position, lines in ranges:
            yield parsed(parse, lines, position, name)


async def _read_compressed(part: Mapping[str, Any], store: Store) -> AsyncGenerator[Iterable[tuple[Any, None]], None]:
    name = name_of(part["bucket"], part["key"])
    pieces = expanded(_read_range(store, part, 0, part["size"]), part["compression"])
    parse = None if part["format"] == "csv" else parser_of(part["format"], None)
    chunks = lines_of_range(lambda _start, _stop: pieces, start=0, stop=_ANYWHERE, begin=0, size_bytes=0)
    blank = False
    try:
        async with aclosing(pieces), aclosing(chunks):
            async for position, chunk in chunks:
                lines = [chunk[0].removeprefix(BOM), *chunk[1:]] if position == 0 else chunk
                if parse is None:
                    if not any(map(bytes.strip, lines)):  # an object of blank lines alone has no header and no rows
                        blank = True
                        continue
                    parse = parser_of("csv", csv_header(b"" if blank else lines[0].removesuffix(b"\r"), name))
                    position, lines = position + len(lines[0]) + 1, lines[1:]  # noqa: PLW2901 - the header is not an item
                yield ((item, None) for item, _ in parsed(parse, lines, position, name))
    except CompressionError as error:
        raise SourceError(f"{name}: {error}") from error


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
