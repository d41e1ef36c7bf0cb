"""Lines of a byte range: a line belongs to the range that holds its first byte.

So contiguous ranges yield every line of an object exactly once, wherever the object is cut. A line ends with LF; a CR
before it is part of the line. The last line of an object may lack an LF. Lines may have any length.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TypeAlias

ReadRange: TypeAlias = Callable[[int, int], AsyncGenerator[bytes, None]]
"""Yields the bytes from the first position up to but not including the second."""

_TAIL_BYTES = 65_536
"""Size of the first read past the end of the range, for the rest of its last line; doubled for each further read."""


async def lines_of_range(
    read: ReadRange, *, start: int, stop: int, begin: int, size_bytes: int
) -> AsyncGenerator[tuple[int, Sequence[bytes]], None]:
    """Yield the lines whose first byte is at ``start`` <= position < ``stop``, without their LF.

    Args:
        read: Reads a byte range of the object.
        start: First byte of the range, from ``begin``.
        stop: One past the last byte of the range.
        begin: Position at which the lines of the object start, after any header.
        size_bytes: Size of the object; nothing is read past it.

    Yields:
        Several lines at a time, with the position of the first of them.
    """
    # The byte before ``start`` decides whether a line starts there.
    position = start if start == begin else start - 1
    skipping = start != begin
    unfinished: list[bytes] = []
    async with aclosing(read(position, stop)) as pieces:
        async for piece in pieces:
            position += len(piece)
            data = piece
            if skipping:
                _, newline, data = data.partition(b"\n")
                if not newline:
                    continue
                skipping = False
            head, newline, tail = data.rpartition(b"\n")
            if newline:
                complete = b"".join([*unfinished, head])
                yield position - len(tail) - 1 - len(complete), complete.split(b"\n")
                unfinished = []
            if tail:
                unfinished.append(tail)
    if unfinished:  # the last line starts in this range and ends after it
        line_start = position - sum(map(len, unfinished))
        rest = b"".join([piece async for piece in _until_newline(read, stop, size_bytes)])
        yield line_start, [b"".join([*unfinished, rest])]


async def _until_newline(read: ReadRange, position: int, size_bytes: int) -> AsyncIterator[bytes]:
    length = _TAIL_BYTES
    while position < size_bytes:
        stop = min(position + length, size_bytes)
        async with aclosing(read(position, stop)) as pieces:
            async for piece in pieces:
                head, newline, _ = piece.partition(b"\n")
                yield head
                if newline:
                    return
        position, length = stop, length * 2
