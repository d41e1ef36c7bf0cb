"""Streaming decompression of gzip, bzip2, and Zstandard, with one or several members."""

from __future__ import annotations

import bz2
import sys
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, Final, Protocol

from fanfold.errors import ConfigurationError, MissingExtraError, SourceError

COMPRESSIONS: Final = {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}
"""Compression by the suffix of a key."""
MAX_DECOMPRESSED_BYTES: Final = 16_000_000_000
"""Default of the maximum size of a decompressed object: more than an invocation can read."""
_ENCODINGS: Final = {"gzip": "gzip", "x-gzip": "gzip", "bzip2": "bzip2", "x-bzip2": "bzip2", "zstd": "zstd"}
"""Compression by content coding (RFC 9110, and RFC 8878 for zstd)."""
_NOT_COMPRESSIONS: Final = frozenset({"", "identity", "aws-chunked"})
"""Content codings that leave the bytes as they are; S3 may store that of a chunked upload."""
_PIECE_BYTES: Final = 262_144
"""Maximum bytes of one decompressed chunk, at any compression ratio."""


class CompressionError(ValueError):
    """The bytes are not compressed in the expected format, or are damaged."""


def check_compression(source: str, value: object) -> str | None:
    """Return a valid setting of a compression.

    Raises:
        ConfigurationError: If it is not ``gzip``, ``bzip2``, ``zstd``, ``none``, or None.
    """
    if value is not None and value not in (*COMPRESSIONS.values(), "none"):
        raise ConfigurationError(
            f"{source}: compression must be 'gzip', 'bzip2', 'zstd', 'none', or None, not {value!r}"
        )
    return None if value is None else str(value)


def compression_of(key: str, content_encoding: str | None, setting: str | None, name: str) -> str | None:
    """Return the compression of an object; None without compression.

    It is the setting; without one, it is derived from the suffix of the key or else from the content encoding.

    Args:
        key: The key of the object.
        content_encoding: The value of its ``Content-Encoding`` header; None if it has none.
        setting: A value that ``check_compression`` returned.
        name: The name of the object in errors.

    Raises:
        SourceError: If the content encoding is unknown, or the object was encoded more than once.
    """
    if setting is not None:
        return None if setting == "none" else setting
    for suffix, known in COMPRESSIONS.items():
        if key.lower().endswith(suffix):
            return known
    codings = {coding.strip().lower() for coding in (content_encoding or "").split(",")} - _NOT_COMPRESSIONS
    if not codings:
        return None
    if len(codings) > 1 or not codings <= _ENCODINGS.keys():
        raise SourceError(
            f"{name} has the Content-Encoding {content_encoding!r}, which cannot be read: store it as gzip, bzip2, or "
            "zstd, or specify compression="
        )
    return _ENCODINGS[codings.pop()]


def check_sizes(source: str, **sizes: object) -> None:
    """Refuse a setting that is not a number of bytes.

    Raises:
        ConfigurationError: If one is not an integer of at least 1; names it.
    """
    for name, value in sizes.items():
        if type(value) is not int or value < 1:
            raise ConfigurationError(f"{source}: {name} must be an integer of at least 1, not {value!r}")


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


async def expanded(
    pieces: AsyncIterator[bytes], compression: str, *, max_bytes: int = MAX_DECOMPRESSED_BYTES
) -> AsyncGenerator[bytes, None]:
    """Yield the decompressed bytes, in chunks of at most 256 KiB.

    Args:
        pieces: The compressed bytes, in chunks of any size.
        compression: ``gzip``, ``bzip2``, or ``zstd``.
        max_bytes: Maximum number of decompressed bytes.

    Raises:
        CompressionError: If the bytes are in another format, damaged, truncated, or more than ``max_bytes``.
        MissingExtraError: If the Zstandard library is not installed.
    """
    make, faults = _maker(compression)
    padding = b"\0" if compression == "gzip" else b""  # some writers add padding after a member
    expander: _Expander | None = make()
    remaining = max_bytes
    try:
        async for piece in pieces:
            data = piece if expander else piece.lstrip(padding)
            while data:
                expander = expander or make()
                for part in _expand(expander, data):
                    remaining -= len(part)
                    if remaining < 0:
                        raise CompressionError(
                            f"more than {max_bytes:,} bytes when decompressed: if that is right, raise "
                            "max_decompressed_bytes"
                        )
                    yield part
                data = expander.unused_data.lstrip(padding)
                if expander.eof:
                    expander = None  # another member may follow
    except faults as error:
        raise CompressionError(
            f"the bytes are not valid {compression} ({error}): repair the object, or specify compression="
        ) from error
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
