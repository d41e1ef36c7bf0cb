"""The elements of an array in a JSON document are found with their text however the document arrives, or refused."""

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.errors import SourceError
from fanfold.sources.json_rows import JsonRows, tokens_of
from strategies import BOM, TEXTS, json_values

INDENTS = st.sampled_from([None, 0, 2, "\t"])
NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?\Z")


def rows_of(data: bytes, pointer: str = "", *, cuts: Sequence[int] = (), window: int = 65_536) -> list[str]:
    """Return the rows of a document that arrives in pieces."""
    rows = JsonRows("s3://bucket/key", pointer, window=window)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    first_rows = [row for start, stop in itertools.pairwise(edges) for row in rows.feed(data[start:stop])]
    return [*first_rows, *rows.close()]


def values_of(rows: Sequence[str]) -> list[Any]:
    return [json.loads(row) for row in rows]


def refused(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, str, list[Any]]:
    """Return a document with an array: its bytes, the pointer, and the elements."""
    rows = draw(st.lists(json_values(), max_size=5))
    document: Any = rows
    tokens: list[str] = []
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            before = draw(st.lists(json_values(), max_size=3))
            document = [*before, document, *draw(st.lists(json_values(), max_size=2))]
            tokens.insert(0, str(len(before)))
        else:
            name = draw(TEXTS | st.sampled_from(["a/b", "~", "~1", "0"]))
            others = draw(st.dictionaries(TEXTS.filter(lambda other, name=name: other != name), json_values()))
            document = {**others, name: document} if draw(st.booleans()) else {name: document, **others}
            tokens.insert(0, name.replace("~", "~0").replace("/", "~1"))
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(INDENTS))
    return draw(st.sampled_from([b"", BOM])) + text.encode(), "".join(f"/{token}" for token in tokens), rows


@given(document=documents(), cuts=st.lists(st.integers(0, 2**32), max_size=8), window=st.integers(0, 60))
@settings(deadline=None, max_examples=200)
async def test_every_element_is_found_once_and_in_order(document, cuts, window):
    """This holds for any content around the array, and for any cuts of the document."""
    data, pointer, rows = document
    assert values_of(rows_of(data, pointer, cuts=cuts, window=window)) == rows


@given(document=documents(), window=st.integers(0, 60))
@settings(deadline=None, max_examples=100)
async def test_a_document_may_arrive_byte_by_byte(document, window):
    """A character, a number, or a literal may arrive in parts."""
    data, pointer, rows = document
    assert values_of(rows_of(data, pointer, cuts=range(len(data)), window=window)) == rows


@given(numbers=st.lists(NUMBERS, min_size=1), cuts=st.lists(st.integers(0, 2**32), max_size=8))
@settings(deadline=None)
async def test_a_number_keeps_its_text(numbers, cuts):
    """A number of any length and format keeps its original text, wherever the document is cut."""
    data = f"[{', '.join(numbers)}]".encode()
    assert rows_of(data, cuts=cuts) == numbers


@given(rows=st.lists(json_values(), max_size=4), indent=INDENTS)
@settings(deadline=None)
async def test_a_row_is_one_line(rows, indent):
    """No row contains a line end, however the document is formatted."""
    lines = rows_of(json.dumps(rows, indent=indent).replace("\n", "\r\n").encode())
    assert not [row for row in lines if "\n" in row or "\r" in row]
    assert values_of(lines) == rows


@given(
    rows=st.lists(json_values(), max_size=3),
    where=st.integers(0, 2**32),
    removed=st.integers(0, 3),
    inserted=st.binary(max_size=2)
    | st.sampled_from([b",", b"]", b"[", b"{", b"}", b'"', b"\\", b":", b"NaN", b"1", b"-"]),
    cuts=st.lists(st.integers(0, 2**32), max_size=4),
    window=st.integers(0, 60),
)
@settings(deadline=None, max_examples=300)
async def test_only_invalid_json_is_refused(rows, where, removed, inserted, cuts, window):
    """A damaged document is read as the standard library reads it, or both refuse it."""
    valid = json.dumps(rows, ensure_ascii=False).encode()
    position = where % (len(valid) + 1)
    data = valid[:position] + inserted + valid[position + removed :]
    try:
        expected = json.loads(data.decode(), parse_constant=refused)
    except (ValueError, RecursionError):
        expected = None
    if not isinstance(expected, list):
        with pytest.raises(SourceError):
            rows_of(data, cuts=cuts, window=window)
    else:
        assert values_of(rows_of(data, cuts=cuts, window=window)) == expected


@given(document=documents(), where=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 2**32), max_size=4))
@settings(deadline=None, max_examples=150)
async def test_a_truncated_document_is_refused(document, where, cuts):
    """A truncated document is refused even if its array is complete."""
    data, pointer, _ = document
    with pytest.raises(SourceError):
        rows_of(data[: where % len(data)], pointer, cuts=cuts, window=10)


@pytest.mark.parametrize("before", ["", "[1,2],", '"é",', '"🜁" ,\n', "1.5,"])
@pytest.mark.parametrize("piece", [1, 5, 1_000])
@pytest.mark.parametrize(
    ("wrong", "offset"),
    [("tru", 0), ("nul ", 0), ('{"a" 1}', 5), ("[1 2]", 3), ("{1:2}", 1), ("NaN", 0), ("1 2", 2), ('"\t"', 1)],
)
async def test_an_error_states_the_byte_of_the_problem(before, piece, wrong, offset):
    """The byte is correct with characters of any width before it, and for any pieces."""
    head = f"[{before}"
    data = f"{head}{wrong}, {'7, ' * 50}8]".encode()
    where = len(head.encode()) + offset
    with pytest.raises(SourceError, match=rf"^s3://bucket/key: malformed JSON near byte {where}: "):
        rows_of(data, cuts=range(0, len(data), piece))


@pytest.mark.parametrize("wrong", [b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xc0\xaf"])
@pytest.mark.parametrize("piece", [1, 3, 1_000])
async def test_invalid_utf_8_is_refused_with_its_byte(wrong, piece):
    """The byte is correct wherever the pieces of the document begin."""
    data = '["é", "'.encode() + wrong + b'"]'
    with pytest.raises(SourceError, match="near byte 8: not UTF-8"):
        rows_of(data, cuts=range(0, len(data), piece))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "near byte 0: Expecting value"),
        (b"  ", "near byte 2: Expecting value"),
        (b"[", "near byte 1: "),
        (b"[1", "near byte 2: expected ',' or ']', but the document ends"),
        (b"[1,", "near byte 3: "),
        (b"[1,]", "near byte 3: "),
        (b"[1}", "near byte 2: expected ',' or ']'"),
        (b"[1] 2", "near byte 4: unexpected data after the document"),
        (b"[1]]", "near byte 3: unexpected data after the document"),
        (b'["\xe6\x97', "near byte 2: not UTF-8"),
        (b"[" + b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5_000 + b"]", "near byte 1: "),
        (b"{}", r"has no array at '', but a value that begins with '\{': specify pointer="),
        (b'"text"', "has no array at '', but a value that begins with"),
    ],
    ids=str,
)
async def test_a_document_that_is_not_an_array_is_refused(data, message):
    """The error states the problem of a document that is not an array or not JSON."""
    with pytest.raises(SourceError, match=f"^s3://bucket/key:? (malformed JSON )?.*{message}"):
        rows_of(data)


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        ("/b", "has no value at '/b': check the pointer"),
        ("/a/2", "has no value at '/a/2'"),
        ("/a/-", "has no value at '/a/-'"),
        ("/a/00", "has no value at '/a/00'"),
        ("/a/0/1", "has no value at '/a/0/1'"),
        ("/c/x", "has no value at '/c/x'"),
        ("/c", "has no array at '/c', but a value that begins with '1'"),
        ("/a/1", r"has no array at '/a/1', but a value that begins with '\{'"),
    ],
)
@pytest.mark.parametrize("window", [0, 1_000])
async def test_a_pointer_that_does_not_lead_to_an_array_is_refused(pointer, message, window):
    """The error states whether the pointer leads to no value or to another value."""
    with pytest.raises(SourceError, match=message):
        rows_of(b'{"a": [[], {"x": 1}], "c": 1, "d": {"e": [1, {"f": 2}], "g": {}}}', pointer, window=window)


@pytest.mark.parametrize(
    ("data", "byte"),
    [
        (b'{"d": {"e" 1}, "a": []}', 11),
        (b'{"d": {"e": 1 "f"}, "a": []}', 14),
        (b'{"d": {1}, "a": []}', 7),
        (b'{"d": [1 2], "a": []}', 9),
        (b'{"d": "long text that goes on\n", "a": []}', 29),
        (b'{"a": [] "d": 1}', 9),
        (b'{"a": [], "d" 1}', 14),
        (b'{"a": [], 1}', 10),
        (b'{"a": [], "d": tru }', 15),
    ],
)
@pytest.mark.parametrize("window", [0, 1_000])
async def test_skipped_values_are_validated_too(data, byte, window):
    """A problem before or after the array is refused with its byte, in large and small values."""
    with pytest.raises(SourceError, match=f"near byte {byte}: "):
        rows_of(data + b" " * 40, "/a", cuts=range(len(data)), window=window)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [('{"a": [1], "a": [2]}', "/a"), ('{"b": {}, "a": {"c": 1}, "a": {"b": [1]}}', "/a/b"), ('{"a":[],"a":7}', "/a")],
)
async def test_two_members_with_a_name_in_the_pointer_are_refused(document, pointer):
    """Either could be meant; members elsewhere are skipped."""
    with pytest.raises(SourceError, match="two members are named 'a', which is in the pointer"):
        rows_of(document.encode(), pointer)
    assert rows_of(b'{"b": 1, "b": 2, "a": [1]}', "/a") == ["1"]


def fed(rows: JsonRows, data: bytes, piece: int) -> list[str]:
    return [row for start in range(0, len(data), piece) for row in rows.feed(data[start : start + piece])]


@pytest.mark.parametrize("document", ['["{long}"]', '[1, {{"a": "{long}"}}]'])
@pytest.mark.parametrize("piece", [7, 1_000, 100_000])
async def test_a_row_longer_than_the_limit_is_refused_however_it_arrives(document, piece):
    """No more of it is read; one of exactly the limit is read."""
    data = document.format(long="x" * 5_000).encode()
    rows = JsonRows("s3://bucket/key", window=10, max_row_bytes=5_001)
    with pytest.raises(
        SourceError, match=r"^s3://bucket/key: the value at byte \d+ is longer than 5,001 bytes: .*raise"
    ):
        fed(rows, data, piece)
    assert len(fed(JsonRows("s3://bucket/key", max_row_bytes=5_002), b'["' + b"x" * 5_000 + b'"]', piece)) == 1


async def test_a_skipped_string_longer_than_the_limit_is_refused():
    """It would have to be in memory as a whole."""
    data = b'{"b": "' + b"x" * 5_000 + b'", "a": []}'
    with pytest.raises(SourceError, match="the value at byte 6 is longer than 1,000 bytes"):
        fed(JsonRows("s3://bucket/key", "/a", window=10, max_row_bytes=1_000), data, 7)


async def test_the_limit_of_a_row_counts_bytes():
    """A character may have four bytes."""
    rows = JsonRows("s3://bucket/key", max_row_bytes=41)
    assert list(rows.feed(b'["1234567890123456789", ')) == ['"1234567890123456789"']
    with pytest.raises(SourceError, match="the value at byte 24 is longer than 41 bytes"):
        list(rows.feed('"🜁🜁🜁🜁🜁🜁🜁🜁🜁🜁"]'.encode()))


@pytest.mark.parametrize(
    "document",
    [
        "[{row}]",
        '{{"skip": [{row}], "a": [1]}}',
        '{{"skip": {{"x": [{row}]}}, "a": [1]}}',
        '{{"a": [1], "z": [{row}]}}',
    ],
)
async def test_memory_is_bounded_by_the_window(document):
    """Of a document of 2 MB, at most a window and a piece are in memory, whether its rows are read or skipped."""
    data = document.format(row=",".join(f'{{"number": {number}}}' for number in range(100_000))).encode()
    rows = JsonRows("s3://bucket/key", "" if document.startswith("[") else "/a", window=10_000)
    peak = 0
    for start in range(0, len(data), 10_000):
        assert len(list(rows.feed(data[start : start + 10_000]))) <= 10_000
        peak = max(peak, len(rows._text))
    assert len(list(rows.close())) <= 1
    assert peak <= 30_000


async def test_a_very_long_row_is_read_completely():
    """A row of 1 MB that arrives in pieces of 1 KB is one row."""
    data = json.dumps(["small", "é" * 500_000, {"a": "x" * 500_000}], ensure_ascii=False).encode()
    rows = rows_of(data, cuts=range(0, len(data), 1_000))
    assert values_of(rows) == json.loads(data)


@pytest.mark.parametrize(
    ("pointer", "tokens"),
    [("", ()), ("/", ("",)), ("/a/b", ("a", "b")), ("/a~1b/~0/~01", ("a/b", "~", "~1")), ("/日本/0", ("日本", "0"))],
)
def test_a_pointer_is_split_into_tokens(pointer, tokens):
    """The tokens are unescaped."""
    assert tokens_of(pointer) == tokens


@pytest.mark.parametrize("pointer", ["a", "data/rows", "/~", "/~2", "/a~"])
def test_an_invalid_pointer_is_refused(pointer):
    """The error includes the invalid pointer."""
    with pytest.raises(ValueError, match=re.escape(repr(pointer))):
        tokens_of(pointer)
