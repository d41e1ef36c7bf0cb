"""CSV of one object or many: columns that are united, rows that span lines, large headers, compressed objects."""

import gzip
import json
import random
from typing import Any

import pytest

from fanfold import S3Lines, inmemory, sources
from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError, SourceError
from fanfold.sources import csv_rows
from fanfold.sources.bad_rows import BadRow

NEWLINES = b'id,note\n1,"one\ntwo"\n2,plain\n3,"three\n\nfour"\n4,x\n'
NOTES = ["one\ntwo", "plain", "three\n\nfour", "x"]


def backend_with(**objects: bytes) -> Backend:
    backend = inmemory.backend()
    backend.store.fill("b", {f"in/{name.replace('_', '.')}": data for name, data in objects.items()})
    return backend


async def segments_of(source: S3Lines, backend: Backend) -> list[list[Any]]:
    plan = json.loads(json.dumps(await source.pin(backend, "plans")))
    return [[item async for item in sources.read_items(part, backend)] for part in sources.cut(plan)]


async def rows_of(backend: Backend, **settings: Any) -> list[Any]:
    return [item for items in await segments_of(S3Lines("b", prefix="in/", **settings), backend) for item in items]


async def test_objects_with_the_same_columns_in_another_order_are_read_by_name():
    """The order of columns has no meaning in a dict."""
    backend = backend_with(a_csv=b"id,name\n1,ann\n", b_csv=b"name,id\nbob,2\n")
    assert await rows_of(backend) == [{"id": "1", "name": "ann"}, {"id": "2", "name": "bob"}]


async def test_objects_with_different_columns_are_refused_with_the_setting_that_unites_them():
    """The error names both objects and a column."""
    backend = backend_with(a_csv=b"id,name\n1,ann\n", b_csv=b"id,name,city\n2,bob,bonn\n")
    expected = r"s3://b/in/b\.csv has the column 'city', but s3://b/in/a\.csv has not: specify columns=\[…\]"
    with pytest.raises(SourceError, match=expected):
        await rows_of(backend)
    backend = backend_with(a_csv=b"id,name\n1,ann\n", b_csv=b"id\n2\n")
    with pytest.raises(SourceError, match=r"s3://b/in/a\.csv has the column 'name', but s3://b/in/b\.csv has not"):
        await rows_of(backend)


async def test_declared_columns_unite_different_headers_and_objects_without_one():
    """A column that an object lacks is None, and a column that is not declared is refused."""
    backend = backend_with(a_csv=b"id,name\n1,ann\n", b_csv=b"city,id\nbonn,2\n", c_csv=b"3,cid,kiel\n")
    assert await rows_of(backend, columns=["id", "name", "city"]) == [
        {"id": "1", "name": "ann", "city": None},
        {"id": "2", "name": None, "city": "bonn"},
        {"id": "3", "name": "cid", "city": "kiel"},
    ]
    with pytest.raises(SourceError, match=r"in/b\.csv: line 1 has 'city', which is not in columns=: add it"):
        await rows_of(backend, columns=["id", "name", "town"])


async def test_objects_of_a_prefix_have_one_delimiter():
    """Derived from their keys, it may differ; then it must be specified, or one kind selected."""
    backend = backend_with(a_csv=b"id,name\n1,ann\n", b_tsv=b"id\tname\n2\tbob\n")
    expected = r"in/b\.tsv has the delimiter '\\t', but s3://b/in/a\.csv has ',': specify suffix="
    with pytest.raises(SourceError, match=expected):
        await rows_of(backend)
    assert await rows_of(backend, suffix=".tsv") == [{"id": "2", "name": "bob"}]
    backend = backend_with(a_csv=b"id;name\n1;ann\n", b_tsv=b"id;name\n2;bob\n")
    assert len(await rows_of(backend, delimiter=";")) == 2


async def test_objects_without_rows_are_skipped():
    """Empty, with only line ends, with only a header, and the same compressed."""
    empties = {"a_csv": b"", "b_csv": b"\n", "c_csv": b"\r\n\r\n", "d_csv": b"id\n", "e_csv": b"\xef\xbb\xbf"}
    packed = {name.replace("_csv", "z_csv_gz"): gzip.compress(data) for name, data in empties.items()}
    backend = backend_with(**empties, **packed, x_csv=b"id\n7\n")
    assert await rows_of(backend) == [{"id": "7"}]


async def test_a_single_row_without_a_header_is_not_skipped_as_a_header():
    """It looks like a row."""
    with pytest.raises(SourceError, match=r"in/a\.csv: line 1 looks like a row, because '7' is a value"):
        await rows_of(backend_with(a_csv=b"7,ann", b_csv=b"id,name\n1,bob\n"))


async def test_compressed_objects_are_compared_with_their_headers_when_the_run_is_planned():
    """They are not read to their ends for that."""
    rows = b"".join(b"%d,%d\n" % (n, n * 7919 % 10_007) for n in range(100_000))
    backend = backend_with(a_csv_gz=gzip.compress(b"id,n\n" + rows), b_csv_gz=gzip.compress(b"id,city\n" + rows))
    with pytest.raises(SourceError, match=r"b\.csv\.gz has the column 'city'"):
        await S3Lines("b", prefix="in/").pin(backend, "p")
    assert len(await rows_of(backend, suffix="a.csv.gz")) == 100_000


async def test_rows_of_compressed_objects_may_span_lines():
    """They are read from the start."""
    assert [row["note"] for row in await rows_of(backend_with(a_csv_gz=gzip.compress(NEWLINES)))] == NOTES


async def test_bad_rows_of_compressed_objects_have_their_place_in_the_content():
    """The byte and the line count in the decompressed content."""
    backend = backend_with(a_csv_gz=gzip.compress(b"id,note\n1,x\n2\n"))
    (_, bad) = await rows_of(backend, on_bad_row="collect")
    assert bad == BadRow("s3://b/in/a.csv.gz", 12, 3, "the row has 1 fields, but the header has 2", "2")


async def test_the_beginning_of_a_compressed_object_may_end_anywhere():
    """Of content that cannot be compressed, the first bytes end inside a block."""
    data = b"id\n" + random.Random(1).randbytes(200_000)
    backend = backend_with(a_csv_gz=gzip.compress(data))
    plan = await S3Lines("b", "in/a.csv.gz", encoding="latin-1", quotechar=None).pin(backend, "p")
    assert (plan["header"], plan["begin"]) == (["id"], 3)


@pytest.mark.parametrize("quoted_newlines", [None, True, False])
async def test_rows_after_a_bad_row_are_read(quoted_newlines):
    """A CR inside a line without quotes does not make it unclear where the next row begins."""
    backend = backend_with(a_csv=b'id,note\n1,x\ry\n2,"z"\n3,\r\r4\n5,w\n')
    rows = await rows_of(backend, on_bad_row="collect", quoted_newlines=quoted_newlines)
    assert [row.line if type(row) is BadRow else row["note"] for row in rows] == [2, "z", 4, "w"]


async def test_an_object_is_compressed_as_specified():
    """The suffix of its key then has no meaning."""
    backend = backend_with(a_csv=gzip.compress(b"id\n7\n"), b_csv_gz=b"id\n8\n")
    assert await rows_of(backend, suffix="a.csv", compression="gzip") == [{"id": "7"}]
    assert await rows_of(backend, suffix="b.csv.gz", compression="none") == [{"id": "8"}]
    with pytest.raises(SourceError, match=r"a\.csv is compressed: specify compression='gzip'"):
        await rows_of(backend, suffix="a.csv")
    with pytest.raises(SourceError, match=r"b\.csv\.gz: the bytes are not valid gzip"):
        await rows_of(backend, suffix="b.csv.gz")


@pytest.mark.parametrize("chunk_bytes", range(1, 60, 4))
async def test_an_object_is_cut_between_rows_that_span_lines(chunk_bytes):
    """Each segment begins with a row, has at least ``chunk_bytes``, and knows the number of its first line."""
    source = S3Lines("b", "in/a.csv", chunk_bytes=chunk_bytes, quoted_newlines=True)
    backend = backend_with(a_csv=NEWLINES)
    segments = await segments_of(source, backend)
    assert [row["note"] for rows in segments for row in rows] == NOTES
    assert chunk_bytes > 20 or len(segments) > 1


@pytest.mark.parametrize("chunk_bytes", [1, 15, 1_000])
async def test_reading_resumes_after_any_row_that_spans_lines(chunk_bytes):
    """The rest of a segment begins with the next row."""
    backend = backend_with(a_csv=NEWLINES)
    plan = await S3Lines("b", "in/a.csv", chunk_bytes=chunk_bytes, quoted_newlines=True).pin(backend, "p")
    for part in sources.cut(plan):
        read = [pair async for block in sources.read(part, backend) for pair in block]
        for number, (_, mark) in enumerate(read, 1):
            rest = [item async for item in sources.read_items(sources.rest(part, mark), backend)]
            assert rest == [item for item, _ in read[number:]]


async def test_a_bad_row_after_rows_that_span_lines_has_its_line():
    """Also in a segment that does not begin at the start of the object."""
    backend = backend_with(a_csv=NEWLINES + b"5\n")
    rows = await rows_of(backend, chunk_bytes=1, quoted_newlines=True, on_bad_row="collect")
    assert (rows[-1].line, rows[-1].byte) == (9, 48)


async def test_an_object_without_quotes_is_cut_between_lines():
    """Its lines are not parsed for that; every segment knows the number of its first line."""
    backend = backend_with(a_csv=b"id,note\n" + b"1,x\n" * 40_000 + b"2\n")
    settings = {"chunk_bytes": 50_000, "quoted_newlines": True, "on_bad_row": "collect"}
    segments = await segments_of(S3Lines("b", "in/a.csv", **settings), backend)
    assert [len(rows) for rows in segments] == [12_500, 12_500, 12_500, 2_501]
    assert segments[-1][-1].line == 40_002


async def test_blocks_of_any_size_yield_the_same_rows(monkeypatch):
    """A row may end many blocks after its beginning; it is parsed a few times, not once for each block."""
    note = "line\n" * 40_000
    backend = backend_with(a_csv=b"id,note\n" + f'1,"{note}"\n2,x\n'.encode())
    assert [row["note"] for row in await rows_of(backend, on_bad_row="collect")] == [note, "x"]
    monkeypatch.setattr(csv_rows, "MAX_SPANNING_BYTES", 100_000)
    with pytest.raises(SourceError, match="the row near byte 8 spans lines and exceeds 100,000 bytes: close"):
        await rows_of(backend)


async def test_a_header_that_is_too_large_for_messages_is_in_the_manifest():
    """Each message then names a place in the manifest."""
    names = [f"a long name of column {n}" for n in range(2_000)]
    data = ",".join(names).encode() + b"\n" + b",".join([b"x"] * 2_000) + b"\n"
    backend = backend_with(a_csv=data)
    plan = await S3Lines("b", "in/a.csv").pin(backend, "p")
    assert max(len(json.dumps(part)) for part in sources.cut(plan)) < 200
    (rows,) = await segments_of(S3Lines("b", "in/a.csv"), backend)
    assert rows == [dict.fromkeys(names, "x")]


async def test_a_header_may_have_a_megabyte_but_not_more():
    """It is read with a second request."""
    long = b"x" * 200_000
    assert await rows_of(backend_with(a_csv=long + b"\n1\n")) == [{long.decode(): "1"}]


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "\ufeffSEP=;\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
async def test_a_first_line_that_states_the_delimiter_is_skipped(first, encoding):
    """As Excel does; a comma would read two wrong columns."""
    backend = backend_with(a_csv=f"{first}id;note\n1;x\n2\n".encode(encoding))
    (row, bad) = await rows_of(backend, delimiter=";", encoding=encoding, on_bad_row="collect")
    assert (row, bad.line) == ({"id": "1", "note": "x"}, 4)


async def test_an_object_may_be_compressed_and_in_utf_16():
    """It is decompressed, then converted."""
    backend = backend_with(a_csv_gz=gzip.compress(NEWLINES.decode().encode("utf-16")))
    assert [row["note"] for row in await rows_of(backend, encoding="utf-16")] == NOTES


async def test_an_object_in_utf_16_is_one_segment():
    """Its size counts in the totals of the plan."""
    data = "id,note\n1,x\n2,y\n".encode("utf-16")
    backend = backend_with(a_csv=data, b_csv=data)
    source = S3Lines("b", prefix="in/", chunk_bytes=1, encoding="utf-16")
    plan = await source.pin(backend, "p")
    assert (plan["items"], plan["bytes"], plan["largest_bytes"]) == (2, 2 * len(data), len(data))
    assert [len(rows) for rows in await segments_of(source, backend)] == [2, 2]


@pytest.mark.parametrize(("name", "text"), [("a_txt", "naïve\n日本\n"), ("a_jsonl", '"naïve"\n"日本"\n')])
@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "utf-16"])
async def test_text_and_json_lines_have_an_encoding_too(name, text, encoding):
    """UTF-8 unless it is specified."""
    text = text.replace("ï", "i")
    assert await rows_of(backend_with(**{name: text.encode(encoding)}), encoding=encoding) == ["naive", "日本"]


async def test_malformed_lines_of_text_and_json_are_collected():
    """With the same fields as rows of CSV."""
    backend = backend_with(a_txt=b"x\n\xff\ny")
    assert [type(item) for item in await rows_of(backend, on_bad_row="collect")] == [str, BadRow, str]
    backend = backend_with(a_jsonl=b"1\n{\n3\n")
    (_, bad, _) = await rows_of(backend, on_bad_row="collect")
    assert (bad.byte, bad.line, bad.text) == (2, 2, "{")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delimiter": ""}, "delimiter must be one character, or None, not ''"),
        ({"delimiter": "||"}, "delimiter must be one character"),
        ({"delimiter": "\n"}, "delimiter must be one character"),
        ({"delimiter": 1}, "delimiter must be one character"),
        ({"quotechar": ""}, "quotechar must be one character, or None, not ''"),
        ({"delimiter": '"'}, "delimiter and quotechar must differ"),
        ({"quotechar": ","}, "delimiter and quotechar must differ"),
        ({"delimiter": "¦", "encoding": "ascii"}, "delimiter '¦' does not exist in encoding ascii"),
        ({"quotechar": "«", "encoding": "cp932"}, "quotechar '«' does not exist in encoding cp932"),
        ({"columns": []}, r"columns must be a list of one or more names, not \[\]"),
        ({"columns": "ab"}, "columns must be a list of one or more names, not 'ab'"),
        ({"columns": ["a", 1]}, "columns must be a list"),
        ({"columns": ["a", "a"]}, "columns contains a name twice"),
        ({"header": 1}, "header must be True, False, or None, not 1"),
        ({"header": False}, r"header=False requires columns=\[…\]"),
        ({"quoted_newlines": "yes"}, "quoted_newlines must be True, False, or None, not 'yes'"),
        ({"compression": "zip"}, "compression must be 'gzip', 'bzip2', 'zstd', 'none', or None, not 'zip'"),
        ({"compression": ["gzip"]}, "compression must be 'gzip', 'bzip2', 'zstd', 'none', or None, not \\['gzip'\\]"),
        ({"format": ["csv"]}, "format must be 'csv', 'jsonl', or 'text', not \\['csv'\\]"),
        ({"encoding": "utf-9"}, "encoding must be an encoding of text that Python knows"),
        ({"format": "text", "delimiter": ";"}, "delimiter= is for CSV, not for format 'text'"),
        ({"format": "jsonl", "columns": ["a"]}, "columns= is for CSV, not for format 'jsonl'"),
        ({"on_bad_row": "skip"}, "on_bad_row must be 'fail' or 'collect'"),
    ],
)
def test_invalid_settings_are_refused_when_the_source_is_created(settings, message):
    """The error names the setting and its values."""
    with pytest.raises(ConfigurationError, match=f"S3Lines: {message}"):
        S3Lines("b", "o.csv", **settings)
