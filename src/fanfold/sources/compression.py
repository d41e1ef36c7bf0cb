"""Streaming decompression of gzip, bzip2, and Zstandard, with one or several members."""

from __future__ import annotations

import bz2
import sys
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, Final, Protocol

from fanfold.errors import MissingExtraError

COMPRESSIONS: Final = {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}
"""Compression by the suffix of a key."""
_PIECE_BYTES: Final = 262_144
"""Maximum bytes of one decompressed chunk, at any compression ratio."""


class CompressionError(ValueError):
    """The bytes are not compressed in the expected format, or are damaged."""


class _Expander(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """An adapter of zlib to the interface of bz2."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _zstd() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ModuleNotFoundError as error:
        raise MissingExtraError("zstd", "objects compressed with Zstandard") from error
    return zstd


def _maker(compression: str) -> tuple[Callable[[], _Expander], tuple[type[Exception], ...]]:
    if compression == "gzip":
        return _Gzip, (zlib.error,)
    if compression == "bzip2":
        return bz2.BZ2Decompressor, (OSError,)
    zstd = _zstd()
    return zstd.ZstdDecompressor, (zstd.ZstdError,)


async def expanded(pieces: AsyncIterator[bytes], compression: str) -> AsyncGenerator[bytes, None]:
    """Yield the decompressed bytes, in chunks of at most 256 KiB.

    Args:
        pieces: The compressed bytes, in chunks of any size.
        compression: ``gzip``, ``bzip2``, or ``zstd``.

    Raises:
        CompressionError: If the bytes are in another format, damaged, or truncated.
        MissingExtraError: If the Zstandard library is not installed.
    """
    make, faults = _maker(compression)
    padding = b"\0" if compression == "gzip" else b""  # some writers add padding after a member
    expander: _Expander | None = make()
    try:
        async for piece in pieces:
            data = piece if expander else piece.lstrip(padding)
            while data:
                expander = expander or make()
                for part in _expand(expander, data):
                    yield part
                data = expander.unused_data.lstrip(padding)
                if expander.eof:
                    expander = None  # another member may follow
    except faults as error:
        raise CompressionError(f"the bytes are not valid {compression}: {error}") from error
    if expander is not None:
        raise CompressionError(f"the {compression} data is truncated")


def _expand(expander: _Expander, data: bytes) -> Iterator[bytes]:
    """Yield the decompressed chunks of some bytes; bytes after the end of the member are in ``unused_data``."""
    while not expander.eof:
        if part := expander.decompress(data, _PIECE_BYTES):
            yield part
        data = b""
        if expander.needs_input:
            return
