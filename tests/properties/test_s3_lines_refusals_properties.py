"""Invalid CSV, JSON, or UTF-8, and objects that are replaced during a run, are refused."""

import gzip
import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.errors import ConfigurationError, SourceError
from fanfold.sources import read_items
from fanfold.sources.s3_lines import S3Lines
from piece_store import PieceStore, backend_with, header_of, plan_of, read_all, read_parts, rows_of, values_of
from strategies import TEXTS, csv_fields, csv_lines, csv_objects

ANYWHERE = st.integers(0, 2**32)
"""A position, taken modulo the number of possible positions."""


class ReplacedAfterOneRead(PieceStore):
    """A store whose object is replaced between the first read of a segment and the second."""

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        async for piece in super().read(bucket, key, start=start, stop=stop, etag=etag):
            yield piece
        self.replace(self.data)


@given(lines=csv_lines(max_rows=8), where=ANYWHERE, column=ANYWHERE)
@settings(deadline=None, max_examples=50)
async def test_an_extra_quote_is_refused_in_an_object_that_is_cut(lines, where, column):
    """An extra quote anywhere in a row is refused with the object and the row's first byte."""
    header = header_of(lines[0].encode())
    number = 1 + where % (len(lines) - 1)
    position = column % (len(lines[number]) + 1)
    lines[number] = lines[number][:position] + '"' + lines[number][position:]
    line_start = sum(len(line.encode()) + 1 for line in lines[:number])
    expected = rf"^s3://bucket/o\.csv: malformed line( \d+)? near byte {line_start}: its quotes do not enclose whole"
    with pytest.raises(SourceError, match=expected):
        await read_all("\n".join([*lines, "", ""]).encode(), key="o.csv", chunk_bytes=1, **header)


@given(columns=st.integers(1, 4), fields=st.lists(TEXTS, min_size=1, max_size=6).flatmap(csv_fields), cut=ANYWHERE)
@settings(deadline=None, max_examples=50)
async def test_a_row_of_another_width_is_refused(columns, fields, cut):
    """A row with more or fewer fields than the header is refused with the object and the row's first byte."""
    row = ",".join(fields if len(fields) != columns else [*fields, "more"]) or '""'
    header = ",".join(f"c{number}" for number in range(columns)) + "\n"
    good = ",".join("1" * columns) + "\n"
    data = f"{header}{good}{row}\n{good}".encode()
    line_start = len(header) + len(good)
    expected = rf"^s3://bucket/o\.csv: .*near byte {line_start}: the row has \d fields, but the header has"
    with pytest.raises(SourceError, match=expected):
        await read_all(data, key="o.csv", chunk_bytes=1 + cut % len(data), **header_of(data))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("before", [0, 1, 1_000])
async def test_an_error_states_the_first_byte_of_the_line(line_end, before):
    """The byte is correct for both line ends and for any number of lines before it."""
    data = b"a,b" + line_end + (b"1,2" + line_end) * before + b"1,2,3" + line_end
    line_start = (3 + len(line_end)) * (1 + before)
    with pytest.raises(SourceError, match=f"near byte {line_start}: the row has 3 fields, but the header has 2"):
        await read_all(data, key="o.csv", chunk_bytes=1_000_000)


@given(
    rows=st.lists(st.lists(st.sampled_from(["a", 'a"', '"a', '"a"', '""', "a\r"]), min_size=1, max_size=3), max_size=4),
    chunk_bytes=st.integers(1, 50),
)
@settings(deadline=None, max_examples=150)
async def test_malformed_fields_are_read_as_in_the_whole_object_or_refused(rows, chunk_bytes):
    """Unescaped quotes and line ends in a field are read as in one piece, or refused."""
    data = "\n".join(["a,b", *map(",".join, rows), "a,b"]).encode()
    try:
        read = await read_all(data, key="o.csv", chunk_bytes=chunk_bytes)
    except SourceError:
        return
    assert read == rows_of(data)


@given(lines=st.lists(st.binary(max_size=6) | st.sampled_from([b"1", b'"a"', b"[]"]), min_size=1, max_size=5))
@settings(deadline=None, max_examples=150)
async def test_any_bytes_are_read_as_json_lines_in_utf_8_or_refused(lines):
    """Lines of any bytes are decoded as UTF-8 JSON values, or refused."""
    data = b"1\n" + b"\n".join(lines)
    try:
        read = await read_all(data, key="o.jsonl", chunk_bytes=5)
    except SourceError:
        return
    assert read == values_of(data)


async def test_a_row_over_two_lines_with_even_quotes_is_refused_if_the_object_is_cut():
    """Unescaped quotes can make the number of quotes in each line even; the lines are not read as two rows."""
    data = b'pipe,text,size\n5" pipe,"long\ntext",6" wide\n'
    with pytest.raises(SourceError, match=r"s3://bucket/o\.csv.*do not enclose whole fields"):
        await read_all(data, key="o.csv", chunk_bytes=5)
    assert await read_all(data, key="o.csv", chunk_bytes=1_000) == rows_of(data)


@pytest.mark.parametrize("key", ["o.csv", "o.jsonl", "o.txt"])
@pytest.mark.parametrize("wrong", [b"\xff", b"\xc3", b"\xe6\x97", b"\xc0\xaf", b"\xed\xa0\x80"])
async def test_invalid_utf_8_is_refused(key, wrong):
    """A line with invalid UTF-8 is refused in every format, with the object and the byte."""
    data = b'"head"\n"good"\n"' + wrong + b'"\n'
    with pytest.raises(SourceError, match=rf"^s3://bucket/{key}: malformed line 3 near byte 14: "):
        await read_all(data, key=key, chunk_bytes=1_000)


async def test_json_lines_in_another_encoding_are_refused():
    """A line is decoded as UTF-8, even if it is a JSON value in UTF-16."""
    with pytest.raises(SourceError, match="near byte 2"):
        await read_all(b"7\n\x001\n", key="o.jsonl", chunk_bytes=1_000)


@pytest.mark.parametrize("line", ["{", "1 2", "nul", "[" * 100_000, '{"a":' * 100_000, "9" * 5_000])
async def test_invalid_json_is_refused(line):
    """A line that the JSON parser refuses for any reason is refused with the object and the byte."""
    with pytest.raises(SourceError, match=r"^s3://bucket/o\.jsonl: malformed line 2 near byte 2: "):
        await read_all(f"7\n{line}\n8\n".encode(), key="o.jsonl", chunk_bytes=1_000_000)


@pytest.mark.parametrize("data", [b"a,b", b"a,b\n", b"a,b\r\n", b"\xef\xbb\xbfa,b\n", b'"a",b\n'])
async def test_a_header_without_rows_has_no_segments(data):
    """A CSV object with only a header has no rows to cut, which is not an error."""
    assert list(S3Lines.cut(await plan_of(PieceStore(data), key="o.csv", chunk_bytes=10))) == []


@pytest.mark.parametrize("key", ["o.csv", "o.jsonl", "o.txt", "o.csv.gz"])
async def test_an_object_without_bytes_has_no_segments(key):
    """For any format, and if its name is that of a compressed object."""
    assert list(S3Lines.cut(await plan_of(PieceStore(b""), key=key, chunk_bytes=10))) == []


@pytest.mark.parametrize("data", [b"\n", b"\r\n", b"\n\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
async def test_a_csv_object_of_blank_lines_has_no_rows(data):
    """Plain and compressed: it has no header, but there is nothing that a header would be needed for."""
    assert list(S3Lines.cut(await plan_of(PieceStore(data), key="o.csv", chunk_bytes=10))) == []
    assert await read_all(gzip.compress(data), key="o.csv.gz", chunk_bytes=10) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n1\n", r"line 1 is empty: a CSV object must begin with a header"),
        (b"\r\n1\r\n", r"line 1 is empty"),
        (b",\n1,2\n", r"line 1 is empty"),
        (b"a,b,a\n1,2,3\n", r"line 1, the header, has the column 'a' twice: rename one of them"),
        (
            b'a,"b\nc\n1,2\n',
            r"malformed line 1 near byte 0: unexpected end of data; where the next row begins is unclear",
        ),
        (b"\xff,b\n1,2\n", r"malformed line 1 near byte 0: .*utf-8.*; if the object has another encoding, specify enc"),
        (b"a" * 1_048_576 + b"\n1\n", r"line 1 does not end in the first 1048576 bytes: it is not CSV"),
        (None, r"does not exist: check the bucket and the key"),
    ],
    ids=["newline", "crlf", "no names", "twice", "open quote", "no utf-8", "no line end", "missing"],
)
async def test_an_object_without_a_usable_header_is_refused_before_it_is_cut(data, message):
    """The error states the object and the problem."""
    with pytest.raises(SourceError, match=rf"^s3://bucket/o\.csv:? {message}"):
        await plan_of(PieceStore(data), key="o.csv", chunk_bytes=10)


@given(data=csv_objects(max_rows=10), chunk_bytes=st.integers(1, 50), where=ANYWHERE)
@settings(deadline=None, max_examples=50)
async def test_replacing_an_object_during_a_run_fails_the_remaining_segments(data, chunk_bytes, where):
    """A segment that is read after the object was replaced, even by equal bytes, is refused and yields no row."""
    store = PieceStore(data)
    plan = await plan_of(store, key="o.csv", chunk_bytes=chunk_bytes, **header_of(data))
    parts = list(S3Lines.cut(plan))
    store.replace(data)
    rows = read_items(parts[where % len(parts)], backend_with(store))
    with pytest.raises(SourceError, match=r"^s3://bucket/o\.csv was replaced since the run was planned"):
        await anext(rows)


async def test_replacing_an_object_during_a_segment_fails_the_segment():
    """A line never mixes two versions of the object."""
    store = PieceStore(b"a,b\n11,22\n33,44\n")
    plan = await plan_of(store, key="o.csv", chunk_bytes=3)
    replaced = ReplacedAfterOneRead(store.data)
    with pytest.raises(SourceError, match="was replaced since the run was planned"):
        await read_parts(replaced, plan)


async def test_an_object_deleted_during_a_run_is_refused():
    """A segment of a deleted object is refused with the name of the object."""
    store = PieceStore(b"a\n1\n2\n")
    plan = await plan_of(store, key="o.csv", chunk_bytes=2)
    store.replace(None)
    with pytest.raises(SourceError, match=r"^s3://bucket/o\.csv was deleted since the run was planned"):
        await read_parts(store, plan)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bucket": ""}, "bucket must be a non-empty string"),
        ({"bucket": None}, "bucket must be a non-empty string"),
        ({"key": ""}, "key must be a non-empty string"),
        ({"key": 7}, "key must be a non-empty string"),
        ({"chunk_bytes": 0}, "chunk_bytes must be an integer of at least 1, not 0"),
        ({"chunk_bytes": -1}, "chunk_bytes must be an integer of at least 1, not -1"),
        ({"chunk_bytes": 1.5}, "chunk_bytes must be an integer of at least 1, not 1.5"),
        ({"chunk_bytes": True}, "chunk_bytes must be an integer of at least 1, not True"),
        ({"key": "o.csv.xz"}, "o.csv.xz cannot be read as lines"),
        ({"key": "O.ZIP", "format": "csv"}, "O.ZIP cannot be read as lines"),
        ({"key": "o.parquet"}, "o.parquet cannot be read as lines"),
        ({"key": "o.gz"}, "the format of 'o.gz' is unknown: specify format='csv', 'jsonl', or 'text'"),
        ({"key": None}, "specify either key, for one object, or prefix, for several"),
        ({"prefix": "in/"}, "specify either key, for one object, or prefix, for several"),
        ({"suffix": ".csv"}, "suffix requires prefix"),
        ({"suffix": None}, "suffix must be a string, not None"),
        ({"key": None, "prefix": 3}, "prefix must be a string"),
        ({"format": "xml"}, "format must be 'csv', 'jsonl', or 'text', not 'xml'"),
    ],
)
def test_invalid_settings_are_refused_when_the_source_is_created(arguments, message):
    """An invalid setting is a configuration error that names it, before the object is read."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        S3Lines(**{"bucket": "bucket", "key": "o.csv", **arguments})
