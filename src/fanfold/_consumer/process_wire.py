"""Messages over a socket, and a page of memory, which a consumer and its worker processes share.

The page tells the consumer at any moment, also after the death of the process, which record runs since when, and which
records of the frame are done. A *frame* is the records that are sent to a process in one message.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from collections.abc import Iterator
from typing import Final

MOST_RECORDS: Final = 64
"""Maximum number of records in a frame."""
PAGE_BYTES: Final = 4096
BODY: Final = "body"
RECORD: Final = "record"
ARGUMENTS: Final = "arguments"
"""Content of the records that a process receives: the body, the whole record, or the arguments of the handler."""
NOTHING: Final = 0xFFFFFFFF
"""In place of a position: no record runs."""

_LENGTH: Final = struct.Struct("!I")
_RUNNING: Final = struct.Struct("=IId")
_NUMBERS: Final = struct.Struct("=II")
_LIMIT: Final = struct.Struct("=I")
_TIME: Final = struct.Struct("=d")
_RUNNING_AT, _TARGET_AT, _LIMIT_AT, _STOPS_AT, _DONE_AT = 0, 16, 24, 32, 64


def encode(message: object) -> bytes:
    """Return a message with its length in front.

    Raises:
        Exception: If it cannot be pickled, any error of its parts.
    """
    data = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(data)) + data


class Messages:
    """Splits the bytes of a socket into messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every message that these bytes complete, pickled: one that cannot be loaded must not affect others."""
        self._data += data
        while len(self._data) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._data)[0]
            if len(self._data) < end:
                return
            message = bytes(self._data[_LENGTH.size : end])
            del self._data[:end]
            yield message


class Page:
    """The shared page. The process writes what it does; the consumer writes what it must not do.

    Args:
        descriptor: A file of ``PAGE_BYTES`` bytes.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, PAGE_BYTES)

    def close(self) -> None:
        """Unmap the page."""
        self._memory.close()

    @property
    def running(self) -> tuple[int, int, float]:
        """Number of the frame, position of the record that runs or ``NOTHING``, and the monotonic time of its start."""
        first = _RUNNING.unpack_from(self._memory, _RUNNING_AT)
        while (second := _RUNNING.unpack_from(self._memory, _RUNNING_AT)) != first:
            first = second  # it was written between the two
        return second

    def run(self, frame: int, position: int, now: float) -> None:
        """Note that a record runs."""
        _RUNNING.pack_into(self._memory, _RUNNING_AT, frame, position, now)

    @property
    def target(self) -> tuple[int, int]:
        """The frame and the position of the only record that SIGTERM may interrupt."""
        return _NUMBERS.unpack_from(self._memory, _TARGET_AT)

    @target.setter
    def target(self, target: tuple[int, int]) -> None:
        _NUMBERS.pack_into(self._memory, _TARGET_AT, *target)

    @property
    def limit(self) -> int:
        """Position from which no record of the frame may start."""
        limit: int = _LIMIT.unpack_from(self._memory, _LIMIT_AT)[0]
        return limit

    @limit.setter
    def limit(self, limit: int) -> None:
        _LIMIT.pack_into(self._memory, _LIMIT_AT, limit)

    @property
    def stops_at(self) -> float:
        """Monotonic time from which no record may start."""
        moment: float = _TIME.unpack_from(self._memory, _STOPS_AT)[0]
        return moment

    @stops_at.setter
    def stops_at(self, moment: float) -> None:
        _TIME.pack_into(self._memory, _STOPS_AT, moment)

    def is_done(self, position: int) -> bool:
        """Return whether a record of the frame has returned None."""
        return self._memory[_DONE_AT + position] == 1

    def set_done(self, position: int) -> None:
        """Note that a record has returned None; this survives the death of the process."""
        self._memory[_DONE_AT + position] = 1

    def clear(self, stops_at: float) -> None:
        """Prepare for a new frame; no record runs now."""
        self._memory[_DONE_AT : _DONE_AT + MOST_RECORDS] = bytes(MOST_RECORDS)
        self.target, self.limit, self.stops_at = (NOTHING, NOTHING), NOTHING, stops_at


def new_page() -> int:
    """Return the descriptor of a file for a page, which has no name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("fanfold-page")
    else:  # macOS
        import tempfile  # needs memory that no other platform should spend in each process

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, PAGE_BYTES)
    return descriptor
