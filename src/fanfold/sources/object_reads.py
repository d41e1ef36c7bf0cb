"""Reads of pinned objects: resumed where a connection broke off, with errors that name the object."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fanfold._base.concurrency import for_each
from fanfold._base.retry import resume, retry
from fanfold._ports.stores import ObjectInfo, Store
from fanfold.errors import ObjectChangedError, ObjectMissingError, SourceError

_CONCURRENT_RANGES = 4
MAX_LINE_BYTES = 16_000_000
"""Maximum bytes of a line, which a reader keeps in memory."""


def name_of(bucket: str, key: str) -> str:
    """Return the name of an object in errors."""
    return f"s3://{bucket}/{key}"


async def info_of(store: Store, bucket: str, key: str) -> ObjectInfo:
    """Return the size and the ETag of an object.

    Raises:
        SourceError: If it does not exist.
    """
    try:
        return await retry(lambda: store.head(bucket, key))
    except ObjectMissingError as error:
        raise SourceError(f"{name_of(bucket, key)} does not exist: check the bucket and the key") from error


async def read_range(
    store: Store, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a range of an object; after a transient error, resume after the last byte.

    Args:
        store: The store.
        bucket: The bucket.
        key: The key.
        start: First byte.
        stop: One past the last byte; None for the end of the object.
        etag: The pinned ETag; None for the current version.

    Raises:
        SourceError: If the object was deleted or replaced since it was pinned, or is shorter than the range.
    """
    name, position = name_of(bucket, key), start
    try:
        pinned = etag or (await retry(lambda: store.head(bucket, key))).etag
        rest = resume(lambda: store.read(bucket, key, start=position, stop=stop, etag=pinned))
        async with aclosing(rest):
            async for piece in rest:
                position += len(piece)
                yield piece
    except ObjectMissingError as error:
        reason = "does not exist: check the bucket and the key" if etag is None else "was deleted since it was planned"
        raise SourceError(f"{name} {reason}") from error
    except ObjectChangedError as error:
        raise SourceError(f"{name} was replaced since the run was planned: start a new run") from error
    if stop is not None and position < stop:
        raise SourceError(f"{name} ends at byte {position}, but bytes up to {stop} are needed: start a new run")


async def read_checked(store: Store, file: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of an object; at the end, compare them with the checksum that its manifest states.

    Args:
        store: The store.
        file: ``bucket``, ``key``, ``etag``, ``size``, and ``md5`` of the object, in hexadecimal digits or None.

    Raises:
        SourceError: As ``read_range``, or if the checksum is different.
    """
    digest = hashlib.md5(usedforsecurity=False)
    pieces = read_range(store, file["bucket"], file["key"], stop=file["size"], etag=file["etag"])
    async with aclosing(pieces):
        async for piece in pieces:
            digest.update(piece)
            yield piece
    if file["md5"] not in {None, digest.hexdigest()}:
        raise SourceError(
            f"{name_of(file['bucket'], file['key'])}: the checksum in the manifest is {file['md5']}, but that of the "
            "file is different"
        )


async def read_ranges(
    store: Store, bucket: str, key: str, etag: str, ranges: Sequence[tuple[int, int]]
) -> Sequence[bytearray]:
    """Return the bytes of several ranges of an object, each with its first byte and one past its last byte.

    Raises:
        SourceError: As ``read_range``.
    """
    parts = [bytearray(stop - start) for start, stop in ranges]

    async def fetch(numbered: tuple[int, tuple[int, int]]) -> None:
        number, (start, stop) = numbered
        part, filled = memoryview(parts[number]), 0
        pieces = read_range(store, bucket, key, start=start, stop=stop, etag=etag)
        async with aclosing(pieces):
            async for piece in pieces:
                part[filled : filled + len(piece)] = piece
                filled += len(piece)

    await for_each(fetch, enumerate(ranges), concurrency=_CONCURRENT_RANGES)
    return parts


async def read_small(store: Store, bucket: str, key: str, *, max_bytes: int) -> bytes:
    """Return the content of a small object.

    Raises:
        SourceError: If it does not exist, or has more than ``max_bytes``.
    """
    info = await info_of(store, bucket, key)
    if info.size_bytes > max_bytes:
        raise SourceError(
            f"{name_of(bucket, key)} has {info.size_bytes:,} bytes, over the limit of {max_bytes:,}: check the key"
        )
    pieces = read_range(store, bucket, key, stop=info.size_bytes, etag=info.etag)
    async with aclosing(pieces):
        return b"".join([piece async for piece in pieces])


async def lines_in(pieces: AsyncIterator[bytes], name: str) -> AsyncGenerator[Sequence[bytes], None]:
    """Yield the lines in pieces of any size, without their LF, several at a time; the last line may lack one.

    Raises:
        SourceError: If a line is longer than 16 MB; ``name`` is the name of the object.
    """
    unfinished: list[bytes] = []
    unfinished_bytes = 0
    async for piece in pieces:
        head, newline, tail = piece.rpartition(b"\n")
        if newline:
            yield b"".join([*unfinished, head]).split(b"\n")
            unfinished, unfinished_bytes = [], 0
        if tail:
            unfinished.append(tail)
            unfinished_bytes += len(tail)
            if unfinished_bytes > MAX_LINE_BYTES:
                raise SourceError(f"{name} has a line of more than {MAX_LINE_BYTES:,} bytes: check the format")
    if unfinished:
        yield [b"".join(unfinished)]
