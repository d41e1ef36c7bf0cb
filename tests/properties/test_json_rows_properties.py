"""However a JSON document arrives, the elements of the array in it are found with their text, or it is refused."""

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
    """The rows of a document that arrives cut at some places."""
    rows = JsonRows("s3://bucket/key", pointer, window=window)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found = [row for start, stop in itertools.pairwise(edges) for row in rows.feed(data[start:stop])]
    return [*found, *rows.close()]


def values_of(rows: Sequence[str]) -> list[Any]:
    return [json.loads(row) for row in rows]


def refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, str, list[Any]]:
    """A document with an array in it: its bytes, the pointer, and the elements."""
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


@given(found=documents(), cuts=st.lists(st.integers(0, 2**32), max_size=8), window=st.integers(0, 60))
@settings(deadline=None, max_examples=200)
async def test_every_element_is_found_once_and_in_order(found, cuts, window):
    """Whatever stands around the array, and wherever the document is cut, its elements are those of the whole."""
    data, pointer, rows = found
    assert values_of(rows_of(data, pointer, cuts=cuts, window=window)) == rows


@given(found=documents(), window=st.integers(0, 60))
@settings(deadline=None, max_examples=100)
async def test_a_document_may_arrive_byte_by_byte(found, window):
    """A character, a number or a literal that arrives in parts is read whole."""
    data, pointer, rows = found
    assert values_of(rows_of(data, pointer, cuts=range(len(data)), window=window)) == rows


@given(numbers=st.lists(NUMBERS, min_size=1), cuts=st.lists(st.integers(0, 2**32), max_size=8))
@settings(deadline=None)
async def test_a_number_keeps_its_text(numbers, cuts):
    """A number of any length and form is the text that stands in the document, wherever that is cut."""
    data = f"[{', '.join(numbers)}]".encode()
    assert rows_of(data, cuts=cuts) == numbers


@given(rows=st.lists(json_values(), max_size=4), indent=INDENTS)
@settings(deadline=None)
async def test_a_row_is_one_line(rows, indent):
    """No row holds a line end, however the document is laid out."""
    found = rows_of(json.dumps(rows, indent=indent).replace("\n", "\r\n").encode())
    assert not [row for row in found if "\n" in row or "\r" in row]
    assert values_of(found) == rows


@given(
    rows=st.lists(json_values(), max_size=3),
    where=st.integers(0, 2**32),
    removed=st.integers(0, 3),
    put=st.binary(max_size=2) | st.sampled_from([b",", b"]", b"[", b"{", b"}", b'"', b"\\", b":", b"NaN", b"1", b"-"]),
    cuts=st.lists(st.integers(0, 2**32), max_size=4),
    window=st.integers(0, 60),
)
@settings(deadline=None, max_examples=300)
async def test_what_is_no_json_is_refused_and_nothing_else(rows, where, removed, put, cuts, window):
    """A document that was damaged anywhere is read as the standard library reads it, or both refuse it."""
    good = json.dumps(rows, ensure_ascii=False).encode()
    place = where % (len(good) + 1)
    data = good[:place] + put + good[place + removed :]
    try:
        expected = json.loads(data.decode(), parse_constant=refused)
    except (ValueError, RecursionError):
        expected = None
    if not isinstance(expected, list):
        with pytest.raises(SourceError):
            rows_of(data, cuts=cuts, window=window)
    else:
        assert values_of(rows_of(data, cuts=cuts, window=window)) == expected


@given(found=documents(), where=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 2**32), max_size=4))
@settings(deadline=None, max_examples=150)
async def test_a_document_that_breaks_off_is_refused(found, where, cuts):
    """Half a document is never taken for a whole one, also when the array in it is whole."""
    data, pointer, _ = found
    with pytest.raises(SourceError):
        rows_of(data[: where % len(data)], pointer, cuts=cuts, window=10)


@pytest.mark.parametrize("before", ["", "[1,2],", '"é",', '"🜁" ,\n', "1.5,"])
@pytest.mark.parametrize("piece", [1, 5, 1_000])
@pytest.mark.parametrize(
    ("wrong", "place"),
    [("tru", 0), ("nul ", 0), ('{"a" 1}', 5), ("[1 2]", 3), ("{1:2}", 1), ("NaN", 0), ("1 2", 2), ('"\t"', 1)],
)
async def test_the_byte_that_is_named_is_where_the_fault_is(before, piece, wrong, place):
    """A fault is named by its byte in the object, with characters of any width before it, however it arrives."""
    head = f"[{before}"
    data = f"{head}{wrong}, {'7, ' * 50}8]".encode()
    where = len(head.encode()) + place
    with pytest.raises(SourceError, match=rf"^s3://bucket/key: malformed JSON near byte {where}: "):
        rows_of(data, cuts=range(0, len(data), piece))


@pytest.mark.parametrize("wrong", [b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xc0\xaf"])
@pytest.mark.parametrize("piece", [1, 3, 1_000])
async def test_what_is_no_utf_8_is_named_by_its_byte(wrong, piece):
    """A byte that is no UTF-8 is named, wherever the pieces of the document begin."""
    data = '["é", "'.encode() + wrong + b'"]'
    with pytest.raises(SourceError, match="near byte 8: no UTF-8"):
        rows_of(data, cuts=range(0, len(data), piece))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "near byte 0: Expecting value"),
        (b"  ", "near byte 2: Expecting value"),
        (b"[", "near byte 1: "),
        (b"[1", "near byte 2: .*breaks off"),
        (b"[1,", "near byte 3: "),
        (b"[1,]", "near byte 3: "),
        (b"[1}", "near byte 2: a ',' or ']' is missing"),
        (b"[1] 2", "near byte 4: something follows the document"),
        (b"[1]]", "near byte 3: something follows the document"),
        (b'["\xe6\x97', "near byte 2: no UTF-8"),
        (b"[" + b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5_000 + b"]", "near byte 1: "),
        (b"{}", r"has no array at '', but what begins with '\{'"),
        (b'"text"', "has no array at '', but what begins with"),
    ],
    ids=str,
)
async def test_what_is_no_array_is_refused(data, told):
    """A document that is no array, or no JSON, is refused with what is wrong with it."""
    with pytest.raises(SourceError, match=f"^s3://bucket/key:? (malformed JSON )?.*{told}"):
        rows_of(data)


@pytest.mark.parametrize(
    ("pointer", "told"),
    [
        ("/b", "has nothing at '/b': check the pointer"),
        ("/a/2", "has nothing at '/a/2'"),
        ("/a/-", "has nothing at '/a/-'"),
        ("/a/00", "has nothing at '/a/00'"),
        ("/a/0/1", "has nothing at '/a/0/1'"),
        ("/c/x", "has nothing at '/c/x'"),
        ("/c", "has no array at '/c', but what begins with '1'"),
        ("/a/1", r"has no array at '/a/1', but what begins with '\{'"),
    ],
)
@pytest.mark.parametrize("window", [0, 1_000])
async def test_a_pointer_to_no_array_is_refused(pointer, told, window):
    """A pointer that leads nowhere, or to something else, is named."""
    with pytest.raises(SourceError, match=told):
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
async def test_what_is_passed_over_is_looked_at_too(data, byte, window):
    """A fault before or behind the array is named by its byte, whether it lies in something large or small."""
    with pytest.raises(SourceError, match=f"near byte {byte}: "):
        rows_of(data + b" " * 40, "/a", cuts=range(len(data)), window=window)


async def test_of_two_members_of_one_name_the_first_counts():
    """The array that comes first is read, and the second is passed over."""
    assert rows_of(b'{"a": [1], "a": [2]}', "/a") == ["1"]


@pytest.mark.parametrize(
    "document",
    [
        "[{row}]",
        '{{"skip": [{row}], "a": [1]}}',
        '{{"skip": {{"x": [{row}]}}, "a": [1]}}',
        '{{"a": [1], "z": [{row}]}}',
    ],
)
async def test_no_more_is_held_than_a_window(document):
    """Of a document of 8 MB no more than a window and a piece are held, whether its rows are read or passed over."""
    data = document.format(row=",".join(f'{{"number": {number}}}' for number in range(400_000))).encode()
    rows = JsonRows("s3://bucket/key", "" if document.startswith("[") else "/a", window=10_000)
    most = 0
    for start in range(0, len(data), 10_000):
        assert len(list(rows.feed(data[start : start + 10_000]))) <= 10_000
        most = max(most, len(rows._text))
    assert len(list(rows.close())) <= 1
    assert most <= 30_000


async def test_a_giant_row_is_read_whole():
    """A row of a megabyte that arrives in pieces of a kilobyte is one row."""
    data = json.dumps(["small", "é" * 500_000, {"a": "x" * 500_000}], ensure_ascii=False).encode()
    rows = rows_of(data, cuts=range(0, len(data), 1_000))
    assert values_of(rows) == json.loads(data)


@pytest.mark.parametrize(
    ("pointer", "tokens"),
    [("", ()), ("/", ("",)), ("/a/b", ("a", "b")), ("/a~1b/~0/~01", ("a/b", "~", "~1")), ("/日本/0", ("日本", "0"))],
)
def test_a_pointer_is_taken_apart(pointer, tokens):
    """The steps of a pointer are its names, with what was escaped."""
    assert tokens_of(pointer) == tokens


@pytest.mark.parametrize("pointer", ["a", "data/rows", "/~", "/~2", "/a~"])
def test_what_is_no_pointer_is_refused(pointer):
    """A pointer that the standard does not know is refused with what it is like."""
    with pytest.raises(ValueError, match=re.escape(repr(pointer))):
        tokens_of(pointer)
