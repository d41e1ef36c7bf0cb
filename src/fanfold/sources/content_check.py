"""Refuse objects whose first bytes show that they are not text as it was declared; each refusal names the setting."""

from __future__ import annotations

import codecs
import re
from typing import Final

from fanfold.errors import SourceError
from fanfold.sources.text_encoding import UTF_8

_COMPRESSED: Final = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_STORE: Final = "store it uncompressed, or as .gz, .bz2, or .zst"
_BINARY: Final = {
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", f"{_STORE}; save a workbook as CSV"),
    b"PAR1": ("Parquet", "use S3Parquet"),
    b"\xfd7zXZ": ("xz", _STORE),
}
_MARKS: Final = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: UTF_8,
}
_ISO_2022: Final = re.compile(rb"\x1b\$(?:[@B]|\([CDOPQ]|\)C)")
"""How text of seven bits changes to Japanese or Korean characters."""
_NULS_WITHIN: Final = 64
_MANY_CHARACTERS: Final = 3
"""Characters of several bytes in valid UTF-8, from which another encoding is unlikely."""


def check_bytes(head: bytes, encoding: str, name: str) -> None:
    """Check the first bytes of an object after decompression.

    Args:
        head: The first bytes.
        encoding: The declared encoding.
        name: The object, for errors.

    Raises:
        SourceError: If they are compressed, of a binary format, or in another encoding.
    """
    check_not_compressed(head, name)
    for magic, (kind, fix) in _BINARY.items():
        if head.startswith(magic):
            raise SourceError(f"{name} is {kind} and cannot be read as lines: {fix}")
    likely = _encoding_of(head, encoding)
    if likely is not None:
        raise SourceError(f"{name} is not {encoding}, but looks like {likely}: specify encoding={likely!r}")


def check_not_compressed(head: bytes, name: str) -> None:
    """Refuse the first bytes of compressed content.

    Raises:
        SourceError: If they are compressed; names the setting.
    """
    for magic, compression in _COMPRESSED.items():
        if head.startswith(magic):
            raise SourceError(f"{name} is compressed: specify compression={compression!r}")


def check_line_ends(head: bytes, name: str) -> None:
    """Refuse lines that end with CR alone.

    Args:
        head: The first bytes of an object, in an encoding in which CR and LF are single bytes.
        name: The object, for errors.

    Raises:
        SourceError: If the head has a CR inside and no LF.
    """
    if b"\n" not in head and b"\r" in head.rstrip(b"\r"):
        raise SourceError(f"{name}: lines end with CR (0x0D) alone: convert their ends to LF or CR LF")


def _encoding_of(head: bytes, encoding: str) -> str | None:
    """Return the encoding that the first bytes show, if it is not the declared one."""
    is_wide = encoding.startswith(("utf-16", "utf-32"))
    for mark, marked in _MARKS.items():
        if head.startswith(mark):
            return None if encoding.startswith(marked) else marked
    if is_wide:
        return _other_byte_order(head, encoding) if b"\0" in head else UTF_8
    begin = head[:_NULS_WITHIN]
    if begin.count(0) * 4 > len(begin):
        return "utf-16-le" if begin[1::2].count(0) >= begin[::2].count(0) else "utf-16-be"
    if not encoding.startswith("iso2022") and head.isascii() and (shift := _ISO_2022.search(head)):
        return "iso2022_kr" if shift[0].endswith(b")C") else "iso2022_jp"
    if encoding != UTF_8 and not head.isascii():
        return UTF_8 if _has_utf_8(head) else None
    return None


def _other_byte_order(head: bytes, encoding: str) -> str | None:
    """Return UTF-16 in the other byte order if the text has line ends only in that one; None otherwise."""
    units = {head[first : first + 2] for first in range(0, len(head), 2)}
    is_little, is_big = b"\n\0" in units, b"\0\n" in units
    if encoding in {"utf-16", "utf-16-le"} and is_big and not is_little:
        return "utf-16-be"
    return "utf-16-le" if encoding == "utf-16-be" and is_little and not is_big else None


def _has_utf_8(head: bytes) -> bool:
    """Return whether bytes, which may end inside a character, are UTF-8 with several characters beyond ASCII."""
    try:
        text = codecs.getincrementaldecoder(UTF_8)().decode(head)
    except UnicodeDecodeError:
        return False
    return len({letter for letter in text if letter > "\x7f"}) >= _MANY_CHARACTERS
