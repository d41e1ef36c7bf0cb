"""One S3 object of lines: pinned, cut into byte ranges, and read.

An object that is compressed, or in an encoding such as UTF-16, can only be read from its start: it is one range.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

from fanfold._base.retry import retry
from fanfold._ports.stores import Listed, ObjectInfo, Store
from fanfold.errors import ObjectChangedError, ObjectMissingError, SourceError
from fanfold.sources.compression import MAX_DECOMPRESSED_BYTES, CompressionError, expanded
from fanfold.sources.content_check import check_bytes, check_line_ends
from fanfold.sources.csv_header import Declared, Layout, layout_of
from fanfold.sources.csv_rows import RowLines, RowParser
from fanfold.sources.line_settings import LineSettings
from fanfold.sources.lines import MAX_LINE_BYTES, UNLIMITED, LineTooLongError, ReadRange, lines_of_range
from fanfold.sources.rows import BOM, Reader, reader_of
from fanfold.sources.text_encoding import UTF_8, to_utf_8

_HEAD_BYTES: Final = 65_536
"""Bytes that are read to plan an object; more only if its first row is longer."""
_HEADER_BYTES: Final = 1_048_576
"""Maximum size of the first row of a CSV object."""

Chunks: TypeAlias = AsyncGenerator[Iterable[tuple[Any, int | None]], None]
"""Items, several at a time, each with a mark."""


def name_of(bucket: str, key: str) -> str:
    """Return the name of an object in errors."""
    return f"s3://{bucket}/{key}"


async def pin_object(
    store: Store, bucket: str, key: str, settings: LineSettings, listed: Listed | None = None
) -> dict[str, Any]:
    """Return the pinned object: its size, its ETag, the start of its lines, and, for CSV, its header and dialect.

    An object without lines has no ``begin``.

    Args:
        store: Holds the object.
        bucket: The bucket.
        key: The key.
        settings: How objects are read.
        listed: The object's entry in a listing, which saves a request; None without one.

    Raises:
        SourceError: If the object is missing, or does not look like what the settings declare.
    """
    form, name = settings.format_of(key), name_of(bucket, key)
    info: Listed | ObjectInfo
    start = b""
    try:
        if listed is not None and form != "csv" and settings.compression_of(key, None, name):
            info = listed
        else:
            info, start = await retry(partial(store.read_start, bucket, key, _HEAD_BYTES))
    except ObjectMissingError as error:
        raise SourceError(f"{name} does not exist: check the bucket and the key") from error
    pinned: dict[str, Any] = {"bucket": bucket, "key": key, "etag": info.etag, "size": info.size_bytes, "format": form}
    if info.size_bytes == 0:
        return pinned
    pinned |= settings.part_settings(form)
    content_encoding = info.content_encoding if isinstance(info, ObjectInfo) else None
    if compression := settings.compression_of(key, content_encoding, name):
        pinned["compression"] = compression
    if not settings.is_cuttable:
        pinned["converted_from"] = settings.encoding
    if form == "csv":
        return await _with_layout(store, pinned, settings, start)
    if is_whole(pinned):
        return {**pinned, "begin": 0, "line": 1}
    head, _ = await _head_of(store, pinned, _HEAD_BYTES, settings.encoding, start)
    begin = len(BOM) if head.startswith(BOM) else 0
    return {**pinned, "begin": begin, "line": 1} if begin < info.size_bytes else pinned


async def _with_layout(store: Store, pinned: dict[str, Any], settings: LineSettings, start: bytes) -> dict[str, Any]:
    """Return a pinned CSV object with its header and dialect, and where its rows begin."""
    declared = settings.declared(pinned["key"])
    layout = await _layout_of(store, pinned, declared, settings.encoding, _HEAD_BYTES, start)
    layout = layout or await _layout_of(store, pinned, declared, settings.encoding, _HEADER_BYTES, start)
    if layout is None:
        name = name_of(pinned["bucket"], pinned["key"])
        raise SourceError(f"{name}: line 1 does not end in the first {_HEADER_BYTES} bytes: it is not CSV")
    pinned |= {**declared.dialect(), "header": list(layout.header)}
    if settings.columns is not None and list(settings.columns) != pinned["header"]:
        pinned["columns"] = list(settings.columns)
    return pinned if layout.is_empty else {**pinned, "begin": layout.begin, "line": layout.line}


async def _layout_of(
    store: Store, pinned: Mapping[str, Any], declared: Declared, encoding: str, most: int, start: bytes
) -> Layout | None:
    head, is_complete = await _head_of(store, pinned, most, encoding, start)
    mark = len(BOM) if head.startswith(BOM) else 0
    name = name_of(pinned["bucket"], pinned["key"])
    layout = layout_of(head[mark:], declared, name, is_complete=is_complete)
    return None if layout is None else replace(layout, begin=mark + layout.begin)


def cut_object(pinned: Mapping[str, Any], chunk_bytes: int, first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the byte ranges of a pinned object, from range number ``first``.

    An object without lines has none. If it can only be read from its start, it is one range.
    """
    begin, size = pinned.get("begin", pinned["size"]), pinned["size"]
    if begin == size and "begin" not in pinned:
        return
    if is_whole(pinned) or size - begin <= chunk_bytes:
        if first == 0:
            rows = {"rows": str(RowLines.SPANNING)} if pinned.get("rows") == RowLines.UNKNOWN else {}
            yield {**pinned, **rows, "start": begin, "stop": size}
        return
    ranged = {name: value for name, value in pinned.items() if name != "line"}
    for start in range(begin + first * chunk_bytes, size, chunk_bytes):
        yield {**(pinned if start == begin else ranged), "start": start, "stop": min(start + chunk_bytes, size)}


async def cut_by_rows(store: Store, pinned: Mapping[str, Any], chunk_bytes: int) -> AsyncIterator[dict[str, Any]]:
    """Yield byte ranges of a CSV object that begin and end between rows, which may span lines: reads all of it.

    The object must have lines, and must not be read as a whole; a range has at least ``chunk_bytes``, except the last.

    Raises:
        SourceError: If the object was replaced since it was pinned, or its quotes do not show where rows begin.
    """
    begin, size = pinned["begin"], pinned["size"]
    start = {"start": begin, "line": pinned["line"]}
    parser = RowParser(pinned, name_of(pinned["bucket"], pinned["key"]), RowLines.SPANNING, pinned["line"])
    blocks = _lines(pinned, partial(_read_range, store, pinned), begin, size)
    async with aclosing(blocks):
        async for position, lines in blocks:
            for byte, line in parser.starts(lines, position):
                if byte - start["start"] >= chunk_bytes:
                    yield {**pinned, "rows": str(RowLines.SPANNING), **start, "stop": byte}
                    start = {"start": byte, "line": line}
    list(parser.last_rows(size))  # raises if the last row has not ended
    yield {**pinned, "rows": str(RowLines.SPANNING), **start, "stop": size}


async def read_object(part: Mapping[str, Any], store: Store) -> Chunks:
    """Yield the items of one byte range, several at a time; the mark of an item is the byte after it.

    The mark is None if no range can start there.

    Raises:
        SourceError: If the object was replaced or deleted since it was pinned, or a line is malformed.
    """
    name = name_of(part["bucket"], part["key"])
    reader = reader_of(part, name, part.get("line"))
    read = _read_whole(part, store, reader, name) if is_whole(part) else _read_part(part, store, reader)
    async with aclosing(read):
        async for chunk in read:
            yield chunk


async def _read_part(part: Mapping[str, Any], store: Store, reader: Reader) -> Chunks:
    read = partial(_read_range, store, part)
    end = part["start"]
    blocks = _lines(part, read, end, part["stop"])
    async with aclosing(blocks):
        async for position, lines in blocks:
            end = position + sum(map(len, lines)) + len(lines)
            yield reader.items(lines, position)
    yield reader.last_items(end)


async def _read_whole(part: Mapping[str, Any], store: Store, reader: Reader, name: str) -> Chunks:
    begin = end = part["begin"]
    content = _content(store, part)
    rest = _without(content, begin)
    blocks = _lines({**part, "size": 0}, lambda _start, _stop: rest, begin, UNLIMITED)
    try:
        async with aclosing(content), aclosing(rest), aclosing(blocks):
            async for position, block in blocks:
                end = position + sum(map(len, block)) + len(block)
                mark = len(BOM) if position == 0 and block[0].startswith(BOM) else 0
                lines = [block[0][mark:], *block[1:]] if mark else block
                yield ((item, None) for item, _ in reader.items(lines, position + mark))
    except (CompressionError, UnicodeDecodeError) as error:
        raise SourceError(f"{name}: {error}") from error
    yield ((item, None) for item, _ in reader.last_items(end))


async def _lines(
    part: Mapping[str, Any], read: ReadRange, start: int, stop: int
) -> AsyncGenerator[tuple[int, Sequence[bytes]], None]:
    """Yield the lines of a byte range, none longer than the limit of the part."""
    most = part.get("max_line_bytes", MAX_LINE_BYTES)
    sizes = {"begin": part["begin"], "size_bytes": part["size"], "max_line_bytes": most}
    blocks = lines_of_range(read, start=start, stop=stop, **sizes)
    try:
        async with aclosing(blocks):
            async for block in blocks:
                yield block
    except LineTooLongError as error:
        raise SourceError(f"{name_of(part['bucket'], part['key'])}: {error}") from error


def _content(store: Store, part: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
    """Yield the content of an object that is read from its start: decompressed, and in UTF-8 if it was converted."""
    pieces = _expanded(_read_range(store, part, 0, part["size"]), part)
    encoding = part.get("converted_from") or part.get("encoding", UTF_8)
    is_checked = part["format"] == "csv"  # when the run was planned, for its header
    name = name_of(part["bucket"], part["key"])
    if not is_checked:
        pieces = _checked(pieces, partial(check_bytes, encoding=encoding, name=name))
    if "converted_from" in part:
        pieces = to_utf_8(pieces, encoding)
    return pieces if is_checked else _checked(pieces, partial(check_line_ends, name=name))


async def _checked(pieces: AsyncIterator[bytes], check: Callable[[bytes], None]) -> AsyncGenerator[bytes, None]:
    """Yield pieces of content; before the first one, check the beginning.

    Raises:
        SourceError: If the check refuses it.
    """
    head: bytes | None = b""
    async for piece in pieces:
        if head is None:
            yield piece
        elif len(head := head + piece) >= _HEAD_BYTES:
            check(head)
            yield head
            head = None
    if head:
        check(head)
        yield head


def _expanded(pieces: AsyncGenerator[bytes, None], part: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
    if "compression" not in part:
        return pieces
    most = part.get("max_decompressed_bytes", MAX_DECOMPRESSED_BYTES)
    return expanded(pieces, part["compression"], max_bytes=most)


async def _without(pieces: AsyncIterator[bytes], first: int) -> AsyncGenerator[bytes, None]:
    """Yield the bytes after the first ones."""
    async for piece in pieces:
        if first < len(piece):
            yield piece[first:] if first else piece
        first = max(0, first - len(piece))


def is_whole(part: Mapping[str, Any]) -> bool:
    """Return whether an object can only be read from its start."""
    return "compression" in part or "converted_from" in part


async def _head_of(
    store: Store, pinned: Mapping[str, Any], most: int, encoding: str, start: bytes
) -> tuple[bytes, bool]:
    """Return the first bytes of the content of an object, and whether they are all of it.

    Args:
        store: Holds the object.
        pinned: The object.
        most: Bytes to read, before and after decompression.
        encoding: The declared encoding.
        start: The first bytes of the object, as far as they are known.

    Raises:
        SourceError: If they are not what was declared.
    """
    name, is_complete = name_of(pinned["bucket"], pinned["key"]), most >= pinned["size"]
    head = b""
    try:
        stop = min(most, pinned["size"])
        stored = _once(start[:stop]) if stop <= len(start) else _read_range(store, pinned, 0, stop)
        async with aclosing(_expanded(stored, pinned)) as pieces:
            async for piece in pieces:
                head += piece
                if len(head) > most:
                    is_complete = False
                    break
        check_bytes(head, encoding, name)
        if "converted_from" in pinned:
            head = b"".join([piece async for piece in to_utf_8(_once(head), encoding, complete=is_complete)])
    except (CompressionError, UnicodeDecodeError) as error:
        if is_complete or isinstance(error, UnicodeDecodeError):
            raise SourceError(f"{name}: {error}") from error
    check_line_ends(head, name)
    return head, is_complete


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


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
