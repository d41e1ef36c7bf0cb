"""What is no CSV, no JSON or no UTF-8, or is replaced during a run, is refused and never half read."""

import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.errors import ConfigurationError, SourceError
from fanfold.sources import read_items
from fanfold.sources.s3_lines import S3Lines
from piece_store import PieceStore, backend_with, plan_of, read_all, read_parts, rows_of, values_of
from strategies import TEXTS, csv_fields, csv_lines, csv_objects

ANYWHERE = st.integers(0, 2**32)
"""Drawn before it is known how many places there are; taken modulo that."""


class ReplacedAfterOneRead(PieceStore):
    """A store whose object is replaced between the first read of a segment and the second."""

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        async for piece in super().read(bucket, key, start=start, stop=stop, etag=etag):
            yield piece
        self.replace(self.data)


@given(lines=csv_lines(max_rows=8), where=ANYWHERE, column=ANYWHERE, chunk_bytes=st.integers(1, 200))
@settings(deadline=None, max_examples=50)
async def test_an_odd_number_of_quotes_is_refused(lines, where, column, chunk_bytes):
    """A quote too many in any row, at any place, is refused with the object and the row's first byte, however cut."""
    number = 1 + where % (len(lines) - 1)
    place = column % (len(lines[number]) + 1)
    lines[number] = lines[number][:place] + '"' + lines[number][place:]
    began = sum(len(line.encode()) + 1 for line in lines[:number])
    with pytest.raises(SourceError, match=rf"^s3://bucket/o\.csv: .*near byte {began}: an odd number of quotes"):
        await read_all("\n".join(lines).encode(), key="o.csv", chunk_bytes=chunk_bytes)


@given(columns=st.integers(1, 4), fields=st.lists(TEXTS, min_size=1, max_size=6).flatmap(csv_fields), cut=ANYWHERE)
@settings(deadline=None, max_examples=50)
async def test_a_row_of_another_width_is_refused(columns, fields, cut):
    """A row with more or fewer fields than the header is refused with the object and the row's first byte."""
    row = ",".join(fields if len(fields) != columns else [*fields, "more"]) or '""'
    header = ",".join(f"c{number}" for number in range(columns)) + "\n"
    good = ",".join("1" * columns) + "\n"
    data = f"{header}{good}{row}\n{good}".encode()
    began = len(header) + len(good)
    with pytest.raises(SourceError, match=rf"^s3://bucket/o\.csv: .*near byte {began}: \d fields where the header has"):
        await read_all(data, key="o.csv", chunk_bytes=1 + cut % len(data))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("before", [0, 1, 1_000])
async def test_the_byte_that_is_named_is_the_first_of_the_line(line_end, before):
    """A malformed line is named by its first byte, with either line end and however many lines stand before it."""
    data = b"a,b" + line_end + (b"1,2" + line_end) * before + b"1,2,3" + line_end
    began = (3 + len(line_end)) * (1 + before)
    with pytest.raises(SourceError, match=f"near byte {began}: 3 fields where the header has 2"):
        await read_all(data, key="o.csv", chunk_bytes=1_000_000)


@given(
    rows=st.lists(st.lists(st.sampled_from(["a", 'a"', '"a', '"a"', '""', "a\r"]), min_size=1, max_size=3), max_size=4),
    chunk_bytes=st.integers(1, 50),
)
@settings(deadline=None, max_examples=150)
async def test_fields_that_break_the_rules_of_csv_read_as_the_whole_or_are_refused(rows, chunk_bytes):
    """Stray quotes and line ends in any field are read as the whole is, or refused; never read otherwise."""
    data = "\n".join(["a,b", *map(",".join, rows), "a,b"]).encode()
    try:
        read = await read_all(data, key="o.csv", chunk_bytes=chunk_bytes)
    except SourceError:
        return
    assert read == rows_of(data)


@given(lines=st.lists(st.binary(max_size=6) | st.sampled_from([b"1", b'"a"', b"[]"]), min_size=1, max_size=5))
@settings(deadline=None, max_examples=150)
async def test_any_bytes_read_as_json_lines_of_utf_8_or_are_refused(lines):
    """Lines of any bytes are read as the JSON values that their UTF-8 text says, or refused."""
    data = b"1\n" + b"\n".join(lines)
    try:
        read = await read_all(data, key="o.jsonl", chunk_bytes=5)
    except SourceError:
        return
    assert read == values_of(data)


@pytest.mark.parametrize("chunk_bytes", [1_000, 5])
async def test_quotes_that_are_even_by_chance_are_never_read_wrongly(chunk_bytes):
    """A row over two lines whose stray quotes make each line's number even is refused, not joined to one row."""
    data = b'pipe,text,size\n5" pipe,"long\ntext",6" wide\n'
    with pytest.raises(SourceError, match=r"s3://bucket/o\.csv"):
        await read_all(data, key="o.csv", chunk_bytes=chunk_bytes)


@pytest.mark.parametrize("key", ["o.csv", "o.jsonl", "o.txt"])
@pytest.mark.parametrize("wrong", [b"\xff", b"\xc3", b"\xe6\x97", b"\xc0\xaf", b"\xed\xa0\x80"])
async def test_what_is_no_utf_8_is_refused(key, wrong):
    """A line with bytes that are no UTF-8 is refused in every format, with the object and the byte."""
    data = b'"good"\n"good"\n"' + wrong + b'"\n'
    with pytest.raises(SourceError, match=rf"^s3://bucket/{key}: malformed line near byte 14: "):
        await read_all(data, key=key, chunk_bytes=1_000)


async def test_json_lines_in_another_encoding_are_refused():
    """A line is UTF-8 and never taken for UTF-16, even where that would make a JSON value of it."""
    with pytest.raises(SourceError, match="near byte 2"):
        await read_all(b"7\n\x001\n", key="o.jsonl", chunk_bytes=1_000)


@pytest.mark.parametrize("line", ["{", "1 2", "nul", "[" * 100_000, '{"a":' * 100_000, "9" * 5_000])
async def test_what_is_no_json_is_refused(line):
    """A line that the JSON parser refuses, for whatever reason, is refused with the object and the byte."""
    with pytest.raises(SourceError, match=r"^s3://bucket/o\.jsonl: malformed line near byte 2: "):
        await read_all(f"7\n{line}\n8\n".encode(), key="o.jsonl", chunk_bytes=1_000_000)


@pytest.mark.parametrize("data", [b"a,b", b"a,b\n", b"a,b\r\n", b"\xef\xbb\xbfa,b\n", b'"a",b\n'])
async def test_a_header_without_rows_is_refused(data):
    """A CSV object that ends with its header holds nothing to cut, and says so."""
    with pytest.raises(SourceError, match=r"^s3://bucket/o\.csv has a header and no rows"):
        await plan_of(PieceStore(data), key="o.csv", chunk_bytes=10)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", r"is empty: there is nothing to cut"),
        (b"\n1\n", r"begins with an empty line: a CSV object begins with a header"),
        (b"\r\n1\r\n", r"begins with an empty line"),
        (b",\n1,2\n", r"begins with an empty line"),
        (b"a,b,a\n1,2,3\n", r"has the column 'a' twice in its header"),
        (b'a,"b\nc"\n1,2\n', r"malformed line near byte 0: an odd number of quotes"),
        (b"\xff,b\n1,2\n", r"malformed line near byte 0: .*utf-8"),
        (b"a" * 1_048_576 + b"\n1\n", r"has no line end in its first 1048576 bytes: it is no CSV with a header"),
        (None, r"does not exist: check the bucket and the key"),
    ],
    ids=["empty", "newline", "crlf", "no names", "twice", "newline in name", "no utf-8", "no line end", "missing"],
)
async def test_an_object_without_a_usable_header_is_refused_before_it_is_cut(data, told):
    """What cannot be planned is refused with the object's name and what is wrong with it."""
    with pytest.raises(SourceError, match=rf"^s3://bucket/o\.csv:? {told}"):
        await plan_of(PieceStore(data), key="o.csv", chunk_bytes=10)


@given(data=csv_objects(max_rows=10), chunk_bytes=st.integers(1, 50), where=ANYWHERE)
@settings(deadline=None, max_examples=50)
async def test_an_object_replaced_during_a_run_fails_every_segment_left(data, chunk_bytes, where):
    """Any segment read after the object was replaced, even by equal bytes, is refused and gives no row."""
    store = PieceStore(data)
    parts = list(S3Lines.cut(await plan_of(store, key="o.csv", chunk_bytes=chunk_bytes)))
    store.replace(data)
    rows = read_items(parts[where % len(parts)], backend_with(store))
    with pytest.raises(SourceError, match=r"^s3://bucket/o\.csv was replaced since the run was planned"):
        await anext(rows)


async def test_an_object_replaced_during_a_segment_is_not_half_read():
    """A line never has its head from one version of the object and its tail from another."""
    store = PieceStore(b"a,b\n11,22\n33,44\n")
    plan = await plan_of(store, key="o.csv", chunk_bytes=3)
    replaced = ReplacedAfterOneRead(store.data)
    with pytest.raises(SourceError, match="was replaced since the run was planned"):
        await read_parts(replaced, plan)


async def test_an_object_deleted_during_a_run_is_refused():
    """A segment of an object that is gone is refused with the object's name."""
    store = PieceStore(b"a\n1\n2\n")
    plan = await plan_of(store, key="o.csv", chunk_bytes=2)
    store.replace(None)
    with pytest.raises(SourceError, match=r"^s3://bucket/o\.csv was deleted since the run was planned"):
        await read_parts(store, plan)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"bucket": ""}, "bucket must be a name"),
        ({"bucket": None}, "bucket must be a name"),
        ({"key": ""}, "key must be a name"),
        ({"key": 7}, "key must be a name"),
        ({"chunk_bytes": 0}, "chunk_bytes must be a whole number from 1, not 0"),
        ({"chunk_bytes": -1}, "chunk_bytes must be a whole number from 1, not -1"),
        ({"chunk_bytes": 1.5}, "chunk_bytes must be a whole number from 1, not 1.5"),
        ({"chunk_bytes": True}, "chunk_bytes must be a whole number from 1, not True"),
        ({"key": "o.csv.xz"}, "o.csv.xz cannot be read as lines"),
        ({"key": "O.ZIP", "format": "csv"}, "O.ZIP cannot be read as lines"),
        ({"key": "o.parquet"}, "o.parquet cannot be read as lines"),
        ({"key": "o.gz"}, "cannot tell the format of 'o.gz': say format='csv', 'jsonl' or 'text'"),
        ({"key": None}, "say either key, for one object, or prefix, for several"),
        ({"prefix": "in/"}, "say either key, for one object, or prefix, for several"),
        ({"suffix": ".csv"}, "suffix goes with prefix"),
        ({"suffix": None}, "suffix must be a text, not None"),
        ({"key": None, "prefix": 3}, "prefix must be a text"),
        ({"format": "xml"}, "format must be 'csv', 'jsonl' or 'text', not 'xml'"),
    ],
)
def test_impossible_settings_are_refused_when_they_are_made(arguments, told):
    """A setting that cannot work is a configuration error that names it, before anything is read."""
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        S3Lines(**{"bucket": "bucket", "key": "o.csv", **arguments})
