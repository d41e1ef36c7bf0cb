"""S3 Select's SQL deals every row to one segment; its answers are read event by event, and only whole."""

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
    """A store that runs the SQL in another database, and answers in pieces of a chosen size."""

    def __init__(self, numbers: Sequence[int | None], piece_bytes: int = 65_536) -> None:
        super().__init__("results")
        self.fill("bucket", {"key.csv": b"the object"})
        self.numbers = numbers
        self.piece_bytes = piece_bytes

    async def select(
        self, bucket: str, key: str, expression: str, *, kind: str, compression: str | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the rows that the SQL gives, as S3 does."""
        with sqlite3.connect(":memory:") as database:
            database.execute("create table S3Object (row integer, item_no integer)")
            database.executemany("insert into S3Object values (?, ?)", enumerate(self.numbers))
            found = database.execute(expression).fetchall()
        database.close()
        text = "".join(json.dumps({"row": row, "名": number}, ensure_ascii=False) + "\n" for row, number in found)
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
    """Whatever numbers the column holds, negative ones and none too, each row is in one segment."""
    store = Selecting(numbers, piece_bytes)
    parts = await rows_of(S3Select("bucket", "key.csv", column="item_no", segments=segments), store)
    assert len(parts) == segments
    found = [row for part in parts for row in part]
    assert sorted(row["row"] for row in found) == list(range(len(numbers)))
    assert {row["row"]: row["名"] for row in found} == dict(enumerate(numbers))


@given(numbers=st.lists(NUMBERS, max_size=40), segments=st.integers(1, 9))
@settings(deadline=None, max_examples=50)
async def test_a_condition_holds_for_every_segment(numbers, segments):
    """With a further condition the segments hold the rows that meet it, and no others."""
    condition = "s.item_no > 3 or s.item_no < -3"
    source = S3Select("bucket", "key.csv", column="item_no", segments=segments, where=condition)
    found = [row["row"] for part in await rows_of(source, Selecting(numbers)) for row in part]
    assert sorted(found) == [row for row, number in enumerate(numbers) if number is not None and abs(number) > 3]


async def test_the_sql_is_what_the_article_has():
    """A segment asks for one rest of the column's number; a cut from any segment on is the rest of the whole cut."""
    backend = replace(inmemory.backend(), store=Selecting([]))
    plan = await S3Select("bucket", "key.csv", column="item_no", segments=4).pin(backend)
    sql = [part["sql"].replace('cast(s."item_no" as integer) % 4', "rest") for part in cut(plan)]
    assert sql[:2] == [
        'select * from S3Object s where (rest = 0 or s."item_no" is null)',
        "select * from S3Object s where (rest = 1 or rest = -3)",
    ]
    assert list(cut(plan, 3)) == list(cut(plan))[3:]


class ReplacedAmid(Selecting):
    """A store whose object is replaced while it is selected from."""

    async def select(self, *place: str, **described: Any) -> AsyncIterator[bytes]:
        """Yield the rows, and replace the object behind them."""
        async for piece in super().select(*place, **described):
            yield piece
        self.fill("bucket", {"key.csv": b"another object"})


async def test_an_object_replaced_amid_a_segment_fails_it():
    """S3 Select cannot be pinned to an ETag: a segment that ends with another object has failed."""
    source = S3Select("bucket", "key.csv", column="item_no", segments=2)
    with pytest.raises(SourceError, match=r"s3://bucket/key\.csv was replaced since the run was planned"):
        await rows_of(source, ReplacedAmid([1, 2]))


async def test_an_object_replaced_before_a_segment_gives_no_row():
    """A segment of an object that was replaced is refused before it is read, and one that was deleted too."""
    store = Selecting([1, 2])
    backend = replace(inmemory.backend(), store=store)
    part = next(cut(await S3Select("bucket", "key.csv", column="item_no", segments=1).pin(backend)))
    store.fill("bucket", {"key.csv": b"another object"})
    with pytest.raises(SourceError, match="was replaced"):
        await anext(read_items(part, backend))
    await store.delete_many("bucket", [("key.csv", None)])
    with pytest.raises(SourceError, match="does not exist"):
        await anext(read_items(part, backend))


async def test_a_store_without_s3_select_is_named():
    """Where nothing runs SQL over objects, that is said, and what to use."""
    store = InMemoryStore("results")
    store.fill("bucket", {"key.csv": b"item_no\n1\n"})
    with pytest.raises(ConfigurationError, match="InMemoryStore has no S3 Select; use S3Lines"):
        await rows_of(S3Select("bucket", "key.csv", column="item_no", segments=1), store)


# What S3 answers, frame by frame, as the event stream encoding has it: lengths, headers, payload, and their checksums.


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


async def answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, body: bytes, chunk_bytes: int, status: str
) -> None:
    """Answer a HEAD with an object, and a select with a recorded stream, chunk by chunk."""
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
async def answering(body: bytes, chunk_bytes: int = 65_536, status: str = "200 OK") -> AsyncIterator[S3Store]:
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    respond = partial(answer, body=body, chunk_bytes=chunk_bytes, status=status)
    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with SESSION.create_client("s3", endpoint_url=url, verify=False, **credentials) as client:
            yield S3Store(client)


async def selected(body: bytes, **options: Any) -> list[dict[str, Any]]:
    async with answering(body, **options) as store:
        (rows,) = await rows_of(S3Select("bucket", "key.csv", column="item_no", segments=1), store)
        return rows


@pytest.mark.parametrize("chunk_bytes", [1, 7, 65_536])
@pytest.mark.parametrize("event_bytes", [1, 20, 65_536])
async def test_rows_may_be_split_across_events(event_bytes, chunk_bytes):
    """Events end anywhere, amid a character too, and so do the chunks they come in."""
    events = [records(LINES[begin : begin + event_bytes]) for begin in range(0, len(LINES), event_bytes)]
    body = KEEP_ALIVE + KEEP_ALIVE.join(events) + STATS + END
    assert await selected(body, chunk_bytes=chunk_bytes) == ROWS


async def test_no_rows_are_an_answer():
    """A stream with an end and no records is a segment without rows."""
    assert await selected(STATS + END) == []


async def test_a_last_row_need_not_end():
    """A last record without a line end is a row."""
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
    ids=["no end", "no end but stats", "nothing", "half an end", "damaged", "S3's fault", "the SQL's fault"],
)
async def test_an_answer_that_is_not_whole_is_an_error(body, code, transient):
    """A stream that ends without its end event, is damaged or holds an error fails the segment; some may pass."""
    with pytest.raises(ServiceError) as raised:
        await selected(body)
    assert (raised.value.code, raised.value.transient) == (code, transient)


async def test_an_account_without_s3_select_is_told_so():
    """Where S3 knows no such request, the error says why and what to use."""
    body = b"<Error><Code>MethodNotAllowed</Code><Message>not allowed</Message></Error>"
    with pytest.raises(ConfigurationError, match=r"S3 Select is not available \(MethodNotAllowed\): .* use S3Lines"):
        await selected(body, status="405 Method Not Allowed")


async def test_another_refusal_is_what_it_is():
    """A fault in the request is S3's own words."""
    body = b"<Error><Code>InvalidTextEncoding</Code><Message>UTF-8 encoding is required.</Message></Error>"
    with pytest.raises(ServiceError, match="InvalidTextEncoding: UTF-8 encoding is required"):
        await selected(body, status="400 Bad Request")


@pytest.mark.parametrize(
    ("key", "described"),
    [
        ("a.csv", ("csv", None)),
        ("A.CSV.GZ", ("csv", "gzip")),
        ("a.jsonl.bz2", ("jsonl", "bzip2")),
        ("a.ndjson", ("jsonl", None)),
        ("a.parquet", ("parquet", None)),
    ],
)
def test_format_and_compression_are_told_by_the_key(key, described):
    """A key's endings, in capitals or not, tell what the object is."""
    source = S3Select("bucket", key, column="item_no", segments=4)
    assert (source.format, source.compression) == described


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"bucket": ""}, "bucket must be a name"),
        ({"key": 7}, "key must be a name"),
        ({"column": ""}, "column must be a name"),
        ({"column": 'a"b'}, "has a quote in it"),
        ({"segments": 0}, "segments must be a whole number from 1, not 0"),
        ({"segments": True}, "segments must be a whole number from 1, not True"),
        ({"where": " "}, "where must be a condition, not ' '"),
        ({"where": 7}, "where must be a condition, not 7"),
        ({"format": "xml"}, "format must be 'csv', 'jsonl' or 'parquet', not 'xml'"),
        ({"key": "a.txt"}, "cannot tell the format of 'a.txt'"),
    ],
)
def test_impossible_settings_are_refused_when_they_are_made(arguments, told):
    """A setting that cannot work is a configuration error that names it, before anything is read."""
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        S3Select(**{"bucket": "bucket", "key": "a.csv", "column": "item_no", "segments": 4, **arguments})


async def test_a_segment_of_it_has_no_place_to_go_on_from():
    """So it is never stopped in time; asked all the same, it says so."""
    with pytest.raises(SourceError, match="S3 Select cannot go on after 3"):
        S3Select.rest({"bucket": "b", "key": "k"}, 3)
