"""S3 Select: the SQL assigns every row to one segment, and only complete responses are accepted."""

import asyncio
import json
import re
import sqlite3
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiobotocore.session import get_session
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import inmemory
from fanfold.aws.s3 import S3Store
from fanfold.errors import ConfigurationError, ServiceError, SourceError
from fanfold.inmemory import InMemoryStore
from fanfold.sources import Source, cut, read_items
from fanfold.sources.s3_select import S3Select

SESSION = get_session()
NUMBERS = st.integers(-(2**40), 2**40) | st.integers(-9, 9) | st.none()


class Selecting(InMemoryStore):
    """A store that runs the SQL in another database, and yields the result in pieces of some size."""

    def __init__(self, numbers: Sequence[int | None], piece_bytes: int = 65_536) -> None:
        super().__init__("results")
        self.fill("bucket", {"key.csv": b"the object"})
        self.numbers = numbers
        self.piece_bytes = piece_bytes

    async def select(
        self, bucket: str, key: str, expression: str, *, kind: str, compression: str | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the result of the SQL, as S3 does."""
        with sqlite3.connect(":memory:") as database:
            database.execute("create table S3Object (row integer, item_no integer)")
            database.executemany("insert into S3Object values (?, ?)", enumerate(self.numbers))
            rows = database.execute(expression).fetchall()
        database.close()
        text = "".join(json.dumps({"row": row, "名": number}, ensure_ascii=False) + "\n" for row, number in rows)
        data = text.encode()
        for begin in range(0, len(data), self.piece_bytes):
            yield data[begin : begin + self.piece_bytes]


async def rows_of(source: Source, store: InMemoryStore) -> list[list[dict[str, Any]]]:
    backend = replace(inmemory.backend(), store=store)
    plan = json.loads(json.dumps(await source.pin(backend, "prefix")))
    return [[row async for row in read_items(part, backend)] for part in cut(plan)]


@given(numbers=st.lists(NUMBERS, max_size=40), segments=st.integers(1, 9), piece_bytes=st.integers(1, 50))
@settings(deadline=None)
async def test_every_row_is_in_one_segment(numbers, segments, piece_bytes):
    """This holds for any numbers in the column, including negative numbers and null."""
    store = Selecting(numbers, piece_bytes)
    parts = await rows_of(S3Select("bucket", "key.csv", column="item_no", segments=segments), store)
    assert len(parts) == segments
    rows = [row for part in parts for row in part]
    assert sorted(row["row"] for row in rows) == list(range(len(numbers)))
    assert {row["row"]: row["名"] for row in rows} == dict(enumerate(numbers))


@given(numbers=st.lists(NUMBERS, max_size=40), segments=st.integers(1, 9))
@settings(deadline=None, max_examples=50)
async def test_a_condition_applies_to_every_segment(numbers, segments):
    """With an additional condition, the segments contain exactly the rows that meet it."""
    condition = "s.item_no > 3 or s.item_no < -3"
    source = S3Select("bucket", "key.csv", column="item_no", segments=segments, where=condition)
    rows = [row["row"] for part in await rows_of(source, Selecting(numbers)) for row in part]
    assert sorted(rows) == [row for row, number in enumerate(numbers) if number is not None and abs(number) > 3]


async def test_the_sql_selects_by_the_remainder():
    """A segment selects one remainder of the column; a cut from a later segment is a suffix of the whole cut."""
    backend = replace(inmemory.backend(), store=Selecting([]))
    plan = await S3Select("bucket", "key.csv", column="item_no", segments=4).pin(backend)
    sql = [part["sql"].replace('cast(s."item_no" as integer) % 4', "rest") for part in cut(plan)]
    assert sql[:2] == [
        'select * from S3Object s where (rest = 0 or s."item_no" is null)',
        "select * from S3Object s where (rest = 1 or rest = -3)",
    ]
    assert list(cut(plan, 3)) == list(cut(plan))[3:]


class ReplacedDuringSelect(Selecting):
    """A store whose object is replaced during a select."""

    async def select(self, *location: str, **options: Any) -> AsyncIterator[bytes]:
        """Yield the rows, then replace the object."""
        async for piece in super().select(*location, **options):
            yield piece
        self.fill("bucket", {"key.csv": b"another object"})


async def test_replacing_an_object_during_a_segment_fails_the_segment():
    """S3 Select cannot check an ETag, so a segment fails if the ETag differs at its end."""
    source = S3Select("bucket", "key.csv", column="item_no", segments=2)
    with pytest.raises(SourceError, match=r"s3://bucket/key\.csv was replaced since the run was planned"):
        await rows_of(source, ReplacedDuringSelect([1, 2]))


async def test_replacing_an_object_before_a_segment_fails_the_segment():
    """A segment of a replaced or deleted object is refused before it is read."""
    store = Selecting([1, 2])
    backend = replace(inmemory.backend(), store=store)
    part = next(cut(await S3Select("bucket", "key.csv", column="item_no", segments=1).pin(backend)))
    store.fill("bucket", {"key.csv": b"another object"})
    with pytest.raises(SourceError, match="was replaced"):
        await anext(read_items(part, backend))
    await store.delete_many("bucket", [("key.csv", None)])
    with pytest.raises(SourceError, match="does not exist"):
        await anext(read_items(part, backend))


async def test_a_store_without_s3_select_is_refused():
    """The error names the store, and the source to use instead."""
    store = InMemoryStore("results")
    store.fill("bucket", {"key.csv": b"item_no\n1\n"})
    with pytest.raises(ConfigurationError, match="InMemoryStore does not support S3 Select: use S3Lines"):
        await rows_of(S3Select("bucket", "key.csv", column="item_no", segments=1), store)


# Responses of S3 in the event stream encoding, frame by frame: lengths, headers, payload, and checksums.


def frame(payload: bytes = b"", **headers: str) -> bytes:
    head = b"".join(
        bytes([len(name) + 1]) + b":" + name.replace("_", "-").encode() + b"\x07" + len(value).to_bytes(2, "big")
        + value.encode()
        for name, value in headers.items()
    )  # fmt: skip
    prelude = (16 + len(head) + len(payload)).to_bytes(4, "big") + len(head).to_bytes(4, "big")
    message = prelude + zlib.crc32(prelude).to_bytes(4, "big") + head + payload
    return message + zlib.crc32(message).to_bytes(4, "big")


def records(payload: bytes) -> bytes:
    return frame(payload, message_type="event", event_type="Records", content_type="application/octet-stream")


STATS = frame(
    b"<Stats><BytesScanned>9</BytesScanned><BytesProcessed>9</BytesProcessed><BytesReturned>9</BytesReturned></Stats>",
    message_type="event",
    event_type="Stats",
    content_type="text/xml",
)
KEEP_ALIVE = frame(message_type="event", event_type="Cont")
END = frame(message_type="event", event_type="End")
FAULT = frame(message_type="error", error_code="InternalError", error_message="We encountered an internal error.")
CAST = frame(
    message_type="error", error_code="CastFailed", error_message="Attempt to convert from one data type failed"
)

ROWS = [{"item_no": "1", "名": "山田"}, {"item_no": "5", "名": "日本\n🜁"}, {"item_no": "9", "名": ""}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


async def respond(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, body: bytes, chunk_bytes: int, status: str
) -> None:
    """Respond to a HEAD with an object, and to a select with a recorded stream, chunk by chunk."""
    request = await reader.readuntil(b"\r\n\r\n")
    if request.startswith(b"HEAD"):
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\nETag: "0"\r\nConnection: close\r\n\r\n')
    else:
        writer.write(f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode())
        for begin in range(0, len(body), chunk_bytes):
            chunk = body[begin : begin + chunk_bytes]
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    writer.close()


@asynccontextmanager
async def serving(body: bytes, chunk_bytes: int = 65_536, status: str = "200 OK") -> AsyncIterator[S3Store]:
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    handle = partial(respond, body=body, chunk_bytes=chunk_bytes, status=status)
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with SESSION.create_client("s3", endpoint_url=url, verify=False, **credentials) as client:
            yield S3Store(client)


async def selected(body: bytes, **options: Any) -> list[dict[str, Any]]:
    async with serving(body, **options) as store:
        (rows,) = await rows_of(S3Select("bucket", "key.csv", column="item_no", segments=1), store)
        return rows


@pytest.mark.parametrize("chunk_bytes", [1, 7, 65_536])
@pytest.mark.parametrize("event_bytes", [1, 20, 65_536])
async def test_rows_may_be_split_across_events(event_bytes, chunk_bytes):
    """Events and chunks may end anywhere, even within a character."""
    events = [records(LINES[begin : begin + event_bytes]) for begin in range(0, len(LINES), event_bytes)]
    body = KEEP_ALIVE + KEEP_ALIVE.join(events) + STATS + END
    assert await selected(body, chunk_bytes=chunk_bytes) == ROWS


async def test_a_response_may_have_no_rows():
    """A stream with an end event and without records is a segment without rows."""
    assert await selected(STATS + END) == []


async def test_the_last_row_may_lack_a_line_end():
    """The last record is a row even without a line end."""
    assert await selected(records(LINES.removesuffix(b"\n")) + END) == ROWS


@pytest.mark.parametrize(
    ("body", "code", "transient"),
    [
        (records(LINES), "NoEndEvent", True),
        (records(LINES) + STATS, "NoEndEvent", True),
        (b"", "NoEndEvent", True),
        (records(LINES) + END[:-3], "NoEndEvent", True),
        (records(LINES)[:-4] + b"abcd" + END, "ChecksumMismatch", True),
        (records(LINES[:20]) + FAULT, "InternalError", True),
        (records(LINES[:20]) + CAST, "CastFailed", False),
    ],
    ids=["no end", "stats without end", "empty", "truncated end", "damaged", "internal error", "SQL error"],
)
async def test_an_incomplete_response_is_an_error(body, code, transient):
    """A stream without its end event, with damage, or with an error fails the segment; some errors are transient."""
    with pytest.raises(ServiceError) as raised:
        await selected(body)
    assert (raised.value.code, raised.value.transient) == (code, transient)


async def test_an_account_without_s3_select_gets_a_configuration_error():
    """The error states the cause, and the source to use instead."""
    body = b"<Error><Code>MethodNotAllowed</Code><Message>not allowed</Message></Error>"
    with pytest.raises(ConfigurationError, match=r"S3 Select is not available \(MethodNotAllowed\): .* use S3Lines"):
        await selected(body, status="405 Method Not Allowed")


async def test_another_error_of_s3_is_raised_as_is():
    """The error of an invalid request has S3's code and message."""
    body = b"<Error><Code>InvalidTextEncoding</Code><Message>UTF-8 encoding is required.</Message></Error>"
    with pytest.raises(ServiceError, match="InvalidTextEncoding: UTF-8 encoding is required"):
        await selected(body, status="400 Bad Request")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.csv", ("csv", None)),
        ("A.CSV.GZ", ("csv", "gzip")),
        ("a.jsonl.bz2", ("jsonl", "bzip2")),
        ("a.ndjson", ("jsonl", None)),
        ("a.parquet", ("parquet", None)),
    ],
)
def test_format_and_compression_are_derived_from_the_key(key, expected):
    """The suffixes of the key are not case-sensitive."""
    source = S3Select("bucket", key, column="item_no", segments=4)
    assert (source.format, source.compression) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bucket": ""}, "bucket must be a non-empty string"),
        ({"key": 7}, "key must be a non-empty string"),
        ({"column": ""}, "column must be a non-empty string"),
        ({"column": 'a"b'}, "contains a quote, which the SQL cannot express: rename the column"),
        ({"segments": 0}, "segments must be an integer of at least 1, not 0"),
        ({"segments": True}, "segments must be an integer of at least 1, not True"),
        ({"where": " "}, "where must be a SQL condition, not ' '"),
        ({"where": 7}, "where must be a SQL condition, not 7"),
        ({"format": "xml"}, "format must be 'csv', 'jsonl', or 'parquet', not 'xml'"),
        ({"key": "a.txt"}, "the format of 'a.txt' is unknown: specify format='csv', 'jsonl', or 'parquet'"),
    ],
)
def test_invalid_settings_are_refused_when_the_source_is_created(arguments, message):
    """An invalid setting is a configuration error that names it, before the object is read."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        S3Select(**{"bucket": "bucket", "key": "a.csv", "column": "item_no", "segments": 4, **arguments})


async def test_a_segment_of_s3_select_cannot_be_resumed():
    """Its marks are None, so it is never stopped early; `rest` raises an error."""
    with pytest.raises(SourceError, match="S3 Select cannot resume after 3"):
        S3Select.rest({"bucket": "b", "key": "k"}, 3)
