"""Encodings of text: which ones can be cut at any line end, and how the others are read from the start."""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Final

from fanfold.errors import ConfigurationError

UTF_8: Final = "utf-8"
_CUTTABLE: Final = """
    ascii big5 big5hkscs cp1006 cp1125 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 cp437 cp720 cp737
    cp775 cp850 cp852 cp855 cp856 cp857 cp858 cp860 cp861 cp862 cp863 cp865 cp866 cp869 cp874 cp932 cp949 cp950
    euc_jis_2004 euc_jisx0213 euc_jp euc_kr gb18030 gb2312 gbk hp-roman8 iso8859-1 iso8859-10 iso8859-11 iso8859-13
    iso8859-14 iso8859-15 iso8859-16 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 iso8859-9
    johab koi8-r koi8-t koi8-u kz1048 mac-croatian mac-cyrillic mac-greek mac-iceland mac-latin2 mac-roman mac-romanian
    mac-turkish ptcp154 shift_jis shift_jis_2004 shift_jisx0213 tis-620 utf-8
"""
CUTTABLE: Final = frozenset(_CUTTABLE.split())
"""Encodings without state in which byte 0x0A is always a line end and a line end is always byte 0x0A, by the names of
``codecs.lookup``. So an object can be cut at any such byte, and each line can be decoded alone."""
_NOT_FOR_FILES: Final = frozenset(
    {"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
)


def check_encoding(encoding: object) -> str:
    """Return the canonical name of an encoding; ``utf-8`` for UTF-8 with or without a byte order mark.

    Raises:
        ConfigurationError: If Python does not know it as an encoding of text.
    """
    try:
        name = codecs.lookup(encoding).name  # type: ignore[arg-type] # anything else is a TypeError
        with suppress(UnicodeError):
            b" ".decode(name)  # a codec of bytes is a LookupError
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"S3Lines: encoding must be an encoding of text that Python knows, such as 'utf-8', 'cp1252', or 'cp932', "
            f"not {encoding!r}"
        ) from error
    if name in _NOT_FOR_FILES or name.replace("_", "-") in _NOT_FOR_FILES:
        raise ConfigurationError(f"S3Lines: encoding {encoding!r} is not an encoding of files")
    return UTF_8 if name == "utf-8-sig" else name


async def to_utf_8(
    pieces: AsyncIterator[bytes], encoding: str, *, complete: bool = True
) -> AsyncGenerator[bytes, None]:
    """Yield text that is read from its start as UTF-8. Unpaired surrogates of UTF-16 remain, as invalid UTF-8.

    Args:
        pieces: The text, in chunks of any size.
        encoding: Its encoding.
        complete: Whether the pieces reach the end of the text.

    Raises:
        UnicodeDecodeError: If the text is not in this encoding.
    """
    errors = "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "strict"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    async for piece in pieces:
        if text := decoder.decode(piece):
            yield text.encode(UTF_8, "surrogatepass")
    if complete and (text := decoder.decode(b"", final=True)):
        yield text.encode(UTF_8, "surrogatepass")


def decoded(data: bytes, encoding: str) -> tuple[str, bool]:
    """Return decoded lines, and whether they contain invalid bytes, each of which becomes a lone surrogate."""
    try:
        return data.decode(encoding), True
    except UnicodeDecodeError:
        return data.decode(encoding, "surrogateescape"), False


def decoding_error(data: bytes, encoding: str) -> str:
    """Return why some bytes are not text in an encoding, and the setting that may read them."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return f"{error}; if the object has another encoding, specify encoding="
    return f"the bytes are not valid {encoding}; if the object has another encoding, specify encoding="
