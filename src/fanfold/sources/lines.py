"""Lines of a byte range: a line belongs to the range that holds its first byte.

So contiguous ranges yield every line of an object exactly once, wherever the object is cut. A line ends with LF; a CR
before it is part of the line. The last line of an object may lack an LF.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, TypeAlias

ReadRange: TypeAlias = Callable[[int, int], AsyncGenerator[bytes, None]]
"""Yields the bytes from the first position up to but not including the second."""

MAX_LINE_BYTES: Final = 16_777_216
"""Default of the maximum length of a line: 16 MiB. Reading a line takes several times its length of memory."""
UNLIMITED: Final = 2**63
"""More bytes than any object has."""
_TAIL_BYTES: Final = 65_536
"""Size of the first read past the end of the range, for the rest of its last line; doubled for each further read."""


class LineTooLongError(ValueError):
    """A line exceeds the maximum length; nothing more of it is read."""


async def lines_of_range(
    read: ReadRange, *, start: int, stop: int, begin: int, size_bytes: int, max_line_bytes: int = UNLIMITED
) -> AsyncGenerator[tuple[int, Sequence[bytes]], None]:
    """Yield the lines whose first byte is at ``start`` <= position < ``stop``, without their LF.

    Args:
        read: Reads a byte range of the object.
        start: First byte of the range, from ``begin``.
        stop: One past the last byte of the range.
        begin: Position at which the lines of the object start, after any header.
        size_bytes: Size of the object; nothing is read past it.
        max_line_bytes: Maximum length of a line.

    Yields:
        Several lines at a time, with the position of the first of them.

    Raises:
        LineTooLongError: If a line is too long.
    """
    # The byte before ``start`` decides whether a line starts there.
    position = start if start == begin else start - 1
    skipping = start != begin
    unfinished: list[bytes] = []
    unfinished_bytes = 0
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
                lines, line_start = complete.split(b"\n"), position - len(tail) - 1 - len(complete)
                _check_lengths(line_start, lines, max_line_bytes)
                yield line_start, lines
                unfinished, unfinished_bytes = [], 0
            if tail:
                unfinished.append(tail)
                unfinished_bytes += len(tail)
                _check_length(position - unfinished_bytes, unfinished_bytes, max_line_bytes)
    if unfinished:  # the last line starts in this range and ends after it
        line_start = position - unfinished_bytes
        async with aclosing(_until_newline(read, stop, size_bytes)) as rest:
            async for piece in rest:
                unfinished.append(piece)
                unfinished_bytes += len(piece)
                _check_length(line_start, unfinished_bytes, max_line_bytes)
        yield line_start, [b"".join(unfinished)]


def _check_length(position: int, length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise LineTooLongError(
            f"the line at byte {position} is longer than {max_bytes:,} bytes: if that is right, raise max_line_bytes"
        )


def _check_lengths(position: int, lines: Sequence[bytes], max_bytes: int) -> None:
    if max(map(len, lines)) > max_bytes:
        lengths = [len(line) for line in lines]
        first = next(number for number, length in enumerate(lengths) if length > max_bytes)
        _check_length(position + sum(lengths[:first]) + first, lengths[first], max_bytes)


async def _until_newline(read: ReadRange, position: int, size_bytes: int) -> AsyncGenerator[bytes, None]:
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
