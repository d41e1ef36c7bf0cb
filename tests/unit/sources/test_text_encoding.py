"""Which encodings can be cut at any line end, shown for every character and for the bytes before a line end."""

import itertools

import pytest

from fanfold.errors import ConfigurationError
from fanfold.sources.text_encoding import CUTTABLE, check_encoding, decoded, decoding_error, to_utf_8

MULTI_BYTE = {
    "big5", "big5hkscs", "cp932", "cp949", "cp950", "euc_jis_2004", "euc_jisx0213", "euc_jp", "euc_kr", "gb18030",
    "gb2312", "gbk", "johab", "shift_jis", "shift_jis_2004", "shift_jisx0213", "utf-8",
}  # fmt: skip
OTHERS = ["utf-16", "utf-16-le", "utf-32", "utf-7", "iso2022_jp", "iso2022_kr", "hz", "cp037", "cp500", "cp864"]
ASSIGNED = itertools.chain(range(10), range(11, 0xD800), range(0xE000, 0x32400))
CHARACTERS = "".join(map(chr, ASSIGNED))
"""Every character that Unicode assigns, except the line end; those above are for private use."""


@pytest.mark.parametrize("encoding", sorted(CUTTABLE))
def test_no_other_character_contains_the_byte_of_a_line_end(encoding):
    """So a cut at such a byte is a cut between lines."""
    assert b"\n" not in CHARACTERS.encode(encoding, "ignore")
    assert "\n".encode(encoding) == b"\n"


@pytest.mark.parametrize("encoding", sorted(CUTTABLE))
@pytest.mark.uncounted
def test_a_line_end_ends_a_line_after_any_byte(encoding):
    """Also after the first half of a character: it is invalid, and does not take the line end with it."""
    assert {decoded(bytes([byte]) + b"\n", encoding)[0][-1] for byte in range(256)} == {"\n"}


@pytest.mark.parametrize("encoding", sorted(MULTI_BYTE))
@pytest.mark.uncounted
def test_a_line_end_ends_a_line_after_any_two_bytes(encoding):
    """Characters of three and four bytes are invalid if they are cut."""
    pairs = itertools.product(range(256), repeat=2)
    assert {decoded(bytes(pair) + b"\n", encoding)[0][-1] for pair in pairs} == {"\n"}


@pytest.mark.uncounted
def test_a_line_end_ends_a_line_after_three_of_four_bytes_of_gb18030():
    """The second and the fourth byte are digits."""
    triples = itertools.product(range(0x81, 0xFF), range(0x30, 0x3A), range(0x81, 0xFF))
    assert {decoded(bytes(triple) + b"\n", "gb18030")[0][-1] for triple in triples} == {"\n"}


@pytest.mark.parametrize("encoding", OTHERS)
def test_encodings_with_state_or_other_line_ends_are_not_cut(encoding):
    """An object in one of these is one segment."""
    assert check_encoding(encoding) not in CUTTABLE


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("UTF8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("latin1", "iso8859-1"),
        ("ms932", "cp932"),
    ],
)
def test_an_encoding_has_one_name(encoding, name):
    """Aliases are those of Python."""
    assert check_encoding(encoding) == name


@pytest.mark.parametrize("encoding", ["utf-9", "", None, 8, "hex", "rot13", "idna", "unicode_escape", "a\0b"])
def test_an_unknown_encoding_is_refused(encoding):
    """Also one that is not an encoding of text, or not of files."""
    with pytest.raises(ConfigurationError, match="S3Lines: encoding"):
        check_encoding(encoding)


async def pieces_of(data: bytes, size: int):
    for first in range(0, len(data), size):
        yield data[first : first + size]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-7", "iso2022_jp", "cp037"])
@pytest.mark.parametrize("size", [1, 3, 100])
async def test_text_is_converted_in_pieces_of_any_size(encoding, size):
    """A piece may end inside a character."""
    text = "a,b\n1,2\n" if encoding == "cp037" else "a,b\n1,日本\n"
    converted = [piece async for piece in to_utf_8(pieces_of(text.encode(encoding), size), encoding)]
    assert b"".join(converted).decode() == text


async def test_text_that_ends_without_the_end_of_a_sequence_is_complete():
    """UTF-7 may omit the last sign of a sequence."""
    assert [piece async for piece in to_utf_8(pieces_of(b"a+ZeU", 9), "utf-7")] == [b"a", "日".encode()]


def test_an_invalid_byte_becomes_a_lone_surrogate():
    """The rest of the text is decoded."""
    assert decoded(b"a\xffb", "utf-8") == ("a\udcffb", False)
    assert decoded("aé".encode(), "utf-8") == ("aé", True)


def test_a_decoding_error_names_the_setting():
    """Also if Python raises no error to explain it."""
    advice = "if the object has another encoding, specify encoding="
    assert decoding_error(b"\xff", "utf-8").endswith(f"invalid start byte; {advice}")
    assert decoding_error(b"a", "utf-8") == f"the bytes are not valid utf-8; {advice}"
