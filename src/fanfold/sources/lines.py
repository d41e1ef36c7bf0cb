"""Lines of a byte range: a line belongs to the range that holds its first byte.

So ranges that tile an object give every line exactly once, wherever the cuts fall. A line ends with LF, and a CR before
it is part of the line; the last line of an object need not end. Lines may have any length.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TypeAlias

ReadRange: TypeAlias = Callable[[int, int], AsyncGenerator[bytes, None]]
"""Yields the bytes from the first position up to but not including the second."""

_TAIL_BYTES = 65_536
"""How much is read past the end of the range at first, for the rest of its last line; doubled each time."""


async def lines_of_range(
    read: ReadRange, *, start: int, stop: int, begin: int, size_bytes: int
) -> AsyncGenerator[tuple[int, Sequence[bytes]], None]:
    """Yield the lines whose first byte lies in ``start`` <= position < ``stop``, without their LF.

    Args:
        read: Reads the object.
        start: First byte of the range, from ``begin``.
        stop: One past the last byte of the range.
        begin: Where the lines of the object begin (after a header), so that a line does begin there.
        size_bytes: Size of the object; nothing is read past it.

    Yields:
        Several lines at a time, with the position of the first of them.
    """
    # Whether a line begins at ``start`` is told by the byte before it.
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
                whole = b"".join([*unfinished, head])
                yield position - len(tail) - 1 - len(whole), whole.split(b"\n")
                unfinished = []
            if tail:
                unfinished.append(tail)
    if unfinished:  # the last line began in this range; its end lies beyond
        began = position - sum(map(len, unfinished))
        rest = b"".join([each async for each in _until_newline(read, stop, size_bytes)])
        yield began, [b"".join([*unfinished, rest])]


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
