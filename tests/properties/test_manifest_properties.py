"""Objects and arrays of any content: what the segments read is the whole, once and in order, wherever it is cut."""

import fnmatch
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import inmemory
from fanfold._jobs.segment import Segment
from fanfold._ports.backend import Backend
from fanfold._ports.run import source_prefix
from fanfold._ports.stores import Listed
from fanfold.errors import ConfigurationError, ObjectChangedError, ServiceError, SourceError
from fanfold.inmemory import InMemoryStore
from fanfold.sources import Source, cut, manifest, read_items
from fanfold.sources.s3_json_array import S3JsonArray
from fanfold.sources.s3_objects import S3Objects
from fanfold.testing import ManualClock
from strategies import json_values

CHARACTERS = st.characters(exclude_categories=["Cs"])
KEYS = st.text(CHARACTERS, min_size=1, max_size=6) | st.sampled_from(["a", "a/", "a/b.csv", "a/c.CSV", "b.csv", "日/1"])
OBJECTS = st.dictionaries(KEYS, st.integers(0, 9).map(bytes), max_size=30)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
NEXT_DAY = NEW_YEAR + timedelta(days=1)


def backend_with(bucket: dict[str, bytes]) -> Backend:
    backend = inmemory.backend(clock=ManualClock(NEW_YEAR.timestamp()))
    backend.store.fill("bucket", bucket)
    return backend


async def plan_of(source: Source, backend: Backend) -> dict[str, Any]:
    """The plan, as it comes back from the ledger."""
    return json.loads(json.dumps(await source.pin(backend, source_prefix("run"))))


async def parts_read(source: Source, backend: Backend) -> list[list[Any]]:
    """What each segment reads, as it comes out of a message."""
    parts = [json.loads(json.dumps(part)) for part in cut(await plan_of(source, backend))]
    return [[item async for item in read_items(part, backend)] for part in parts]


async def stream(segments: Sequence[Sequence[bytes]]) -> AsyncIterator[Sequence[bytes]]:
    for segment in segments:
        yield segment


@given(
    segments=st.lists(st.lists(st.integers(0, 10**9).map(lambda n: str(n).encode()), min_size=1, max_size=4)),
    chunk_bytes=st.integers(1, 60),
)
@settings(deadline=None)
async def test_what_is_written_down_is_read_segment_by_segment(segments, chunk_bytes):
    """Each segment reads the lines that were written for it, whatever else its chunk holds."""
    backend = inmemory.backend()
    plan = await manifest.write(backend, "runs/r/source/1", stream(segments), chunk_bytes=chunk_bytes)
    found = [[line async for some in manifest.read(part, backend) for line, _ in some] for part in manifest.cut(plan)]
    assert found == segments
    assert plan["items"] == sum(map(len, segments))


@given(chunks=st.lists(st.integers(1, 5), max_size=6), first=st.integers(0, 40))
async def test_a_cut_begins_at_any_segment(chunks, first):
    """A cut from any segment on is the rest of the whole cut."""
    plan = {"manifest": "prefix", "chunks": chunks}
    whole = list(manifest.cut(plan))
    assert [(part["chunk"], part["place"]) for part in whole] == [
        (chunk, place) for chunk, count in enumerate(chunks) for place in range(count)
    ]
    assert list(manifest.cut(plan, first)) == whole[first:]


@pytest.mark.parametrize(
    ("sizes", "chunks"), [([60, 41, 59], [1, 2]), ([40, 40, 20], [3]), ([300, 1, 1], [1, 2]), ([], [])]
)
async def test_a_chunk_holds_segments_up_to_its_size(sizes, chunks):
    """A chunk is closed before the segment that would make it too large, and holds at least one."""
    lines = [[b"1" * (size - 1)] for size in sizes]
    plan = await manifest.write(inmemory.backend(), "prefix", stream(lines), chunk_bytes=100)
    assert plan["chunks"] == chunks


@given(
    bucket=OBJECTS,
    prefix=st.sampled_from(["", "a", "a/", "日"]),
    keys=st.integers(1, 8),
    most=st.none() | st.integers(1, 30),
)
@settings(deadline=None, max_examples=200)
async def test_every_key_is_read_once_and_in_order(bucket, prefix, keys, most):
    """The segments of a listing, by number of keys, of bytes, or both, hold every key with the prefix once."""
    backend = backend_with(bucket)
    source = S3Objects("bucket", prefix=prefix, keys_per_segment=keys, bytes_per_segment=most)
    parts = await parts_read(source, backend)
    found = [item for part in parts for item in part]
    assert [item["key"] for item in found] == sorted(key for key in bucket if key.startswith(prefix))
    for part in parts:
        assert 1 <= len(part) <= keys
        assert most is None or len(part) == 1 or sum(item["size"] for item in part) <= most


@given(bucket=OBJECTS, keys=st.integers(1, 8))
@settings(deadline=None, max_examples=50)
async def test_segments_hold_as_many_keys_as_they_may(bucket, keys):
    """All segments but the last one hold the number of keys asked for."""
    parts = await parts_read(S3Objects("bucket", keys_per_segment=keys), backend_with(bucket))
    assert [len(part) for part in parts[:-1]] == [keys] * max(0, len(parts) - 1)
    assert len(parts) == -(-len(bucket) // keys)


async def test_an_object_is_told_of_as_it_was_listed():
    """An item has the object's key, size, ETag and time, and no more."""
    backend = backend_with({"naïve/日本.csv": b"1234"})
    etag = (await backend.store.head("bucket", "naïve/日本.csv")).etag
    item = {"key": "naïve/日本.csv", "size": 4, "etag": etag, "last_modified": "2026-01-01T00:00:00+00:00"}
    assert await parts_read(S3Objects("bucket"), backend) == [[item]]


@pytest.mark.parametrize(
    ("conditions", "keys"),
    [
        ({"suffix": ".csv"}, ["in/1.csv", "in/2.csv"]),
        ({"prefix": "in/", "suffix": "2.csv"}, ["in/2.csv"]),
        ({"pattern": "*.csv"}, ["in/1.csv", "in/2.csv"]),
        ({"pattern": "in/[12].csv"}, ["in/1.csv", "in/2.csv"]),
        ({"pattern": "*.CSV"}, ["IN/3.CSV"]),
        ({"pattern": "1.csv"}, []),
        ({"pattern": "?n/?.csv"}, ["in/1.csv", "in/2.csv"]),
        ({"pattern": re.compile(r"\d\.csv$", re.IGNORECASE)}, ["IN/3.CSV", "in/1.csv", "in/2.csv"]),
        ({"min_bytes": 2}, ["in/2.csv", "new"]),
        ({"max_bytes": 2}, ["IN/3.CSV", "in/1.csv", "in/2.csv"]),
        ({"min_bytes": 2, "max_bytes": 2}, ["in/2.csv"]),
        ({"max_bytes": 0}, ["IN/3.CSV"]),
        ({"modified_after": NEXT_DAY}, ["new"]),
        ({"modified_after": NEW_YEAR, "modified_before": NEXT_DAY}, ["IN/3.CSV", "in/1.csv", "in/2.csv"]),
        ({"modified_before": NEW_YEAR}, []),
    ],
)  # fmt: skip
async def test_only_what_meets_all_conditions_is_read(conditions, keys):
    """Prefix, end, pattern, sizes (both bounds included) and times (the second bound not) all have to hold."""
    clock = ManualClock(NEW_YEAR.timestamp())
    store = InMemoryStore("results", clock=clock)
    store.fill("bucket", {"in/1.csv": b"1", "in/2.csv": b"22", "IN/3.CSV": b""})
    clock.advance(timedelta(days=1).total_seconds())
    store.fill("bucket", {"new": b"333"})
    parts = await parts_read(S3Objects("bucket", **conditions), replace(inmemory.backend(), store=store))
    assert [item["key"] for part in parts for item in part] == keys


@given(bucket=OBJECTS, pattern=st.text("ab/.*?[]c日", max_size=6))
@settings(deadline=None)
async def test_a_pattern_is_that_of_a_shell(bucket, pattern):
    """A pattern means for the whole key what the standard library says it means."""
    parts = await parts_read(S3Objects("bucket", pattern=pattern), backend_with(bucket))
    expected = sorted(key for key in bucket if fnmatch.fnmatchcase(key, pattern))
    assert [item["key"] for part in parts for item in part] == expected


async def test_what_happens_after_the_plan_does_not_show():
    """Segments read what was listed when the run was planned, whatever became of the bucket."""
    backend = backend_with({"a": b"1", "b": b"2"})
    parts = list(cut(await plan_of(S3Objects("bucket", keys_per_segment=1), backend)))
    backend.store.fill("bucket", {"a": b"other", "aa": b"new"})
    await backend.store.delete_many("bucket", [("b", None)])
    found = [(item["key"], item["size"]) for part in parts async for item in read_items(part, backend)]
    assert found == [("a", 1), ("b", 1)]


async def test_two_plans_of_one_run_do_not_share_anything():
    """What a second plan of the same run writes down is not read by the segments of the first."""
    backend = backend_with({"a": b"1"})
    first = list(cut(await plan_of(S3Objects("bucket"), backend)))
    backend.store.fill("bucket", {"0": b"1"})
    await plan_of(S3Objects("bucket"), backend)
    assert [item["key"] async for item in read_items(first[0], backend)] == ["a"]


async def test_a_segment_is_a_small_message_and_a_plan_does_not_hold_the_keys():
    """With the longest of names a message stays under 1 KiB, and the plan of 20,000 keys in 2,000 segments too."""
    backend = backend_with({f"{'k' * 200}{number}": b"" for number in range(20_000)})
    plan = await S3Objects("bucket", keys_per_segment=10).pin(backend, source_prefix("r" * 128))
    assert len(json.dumps(plan)) < 1_024
    part = list(cut(plan))[-1]
    assert len(Segment("j" * 128, "r" * 128, 1_999, part).to_body().encode()) < 1_024
    assert [item["key"][200:] async for item in read_items(part, backend)][-1] == "9999"


class Interrupted(InMemoryStore):
    """A store whose listings and reads break off after every second key or piece, a few times."""

    def __init__(self, faults: int, *, transient: bool = True) -> None:
        super().__init__("results")
        self.faults = faults
        self.transient = transient

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Listed]:
        async for number, each in counted(super().list(bucket, prefix, start_after=start_after)):
            self.break_off(number)
            yield each

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        async for number, piece in counted(super().read(bucket, key, start=start, stop=stop, etag=etag)):
            self.break_off(number)
            yield piece

    def break_off(self, number: int) -> None:
        if number == 2 and self.faults:
            self.faults -= 1
            raise ServiceError("connection reset", code="ConnectionError", transient=self.transient)


async def counted(items: AsyncIterator[Any]) -> AsyncIterator[tuple[int, Any]]:
    number = 0
    async for item in items:
        yield number, item
        number += 1


async def test_a_listing_that_breaks_off_goes_on_where_it_was():
    """A fault that may pass, in the midst of a listing, costs no key and gives none twice."""
    store = Interrupted(3)
    store.fill("bucket", {f"{number:02d}": b"" for number in range(20)})
    parts = await parts_read(S3Objects("bucket", keys_per_segment=7), replace(inmemory.backend(), store=store))
    assert [item["key"] for part in parts for item in part] == [f"{number:02d}" for number in range(20)]
    assert store.faults == 0


async def test_an_array_that_breaks_off_is_read_on_where_it_was():
    """A fault that may pass, in the midst of an object, costs no row and gives none twice."""
    store = Interrupted(3)
    rows = [{"number": number, "text": "日" * 20} for number in range(5_000)]
    store.fill("bucket", {"key": json.dumps(rows).encode()})
    parts = await parts_read(S3JsonArray("bucket", "key"), replace(inmemory.backend(), store=store))
    assert [row for part in parts for row in part] == rows
    assert store.faults == 0


@pytest.mark.parametrize("source", [S3Objects("bucket"), S3JsonArray("bucket", "key")], ids=["objects", "array"])
async def test_a_fault_that_stays_ends_the_plan(source):
    """A fault that will not pass is raised as it is, and nothing is taken for the whole."""
    store = Interrupted(1, transient=False)
    store.fill("bucket", {"key": b"[" + b"1," * 200_000 + b"1]", "key2": b"", "key3": b""})
    with pytest.raises(ServiceError, match="connection reset"):
        await plan_of(source, replace(inmemory.backend(), store=store))


@given(rows=st.lists(json_values(), max_size=25), each=st.integers(1, 9), ascii_only=st.booleans())
@settings(deadline=None, max_examples=150)
async def test_every_row_is_read_once_and_in_order(rows, each, ascii_only):
    """The segments of an array hold its rows, as many in each as asked for."""
    backend = backend_with({"key": json.dumps({"a": [{"日本": rows}]}, ensure_ascii=ascii_only, indent=1).encode()})
    parts = await parts_read(S3JsonArray("bucket", "key", "/a/0/日本", rows_per_segment=each), backend)
    assert [row for part in parts for row in part] == rows
    assert [len(part) for part in parts] == [len(rows[begin : begin + each]) for begin in range(0, len(rows), each)]


async def test_decimals_are_exact_where_they_are_asked_for():
    """A number with a fraction or an exponent is a Decimal with every digit it has in the object."""
    backend = backend_with({"key": b'[1.10, 1e400, 0.1000000000000000055511151231257827, 7, {"a": 2.5}]'})
    parts = await parts_read(S3JsonArray("bucket", "key", decimals=True), backend)
    exact = ["1.10", "1E+400", "0.1000000000000000055511151231257827"]
    assert [str(number) for number in parts[0][:3]] == exact
    assert parts[0][3:] == [7, {"a": Decimal("2.5")}]
    assert type(parts[0][3]) is int


async def test_an_array_replaced_after_the_plan_does_not_show():
    """Segments read the rows that were there when the run was planned."""
    backend = backend_with({"key": b"[1, 2, 3]"})
    parts = list(cut(await plan_of(S3JsonArray("bucket", "key", rows_per_segment=2), backend)))
    backend.store.fill("bucket", {"key": b"[]"})
    assert [[row async for row in read_items(part, backend)] for part in parts] == [[1, 2], [3]]


class Replaced(Interrupted):
    """A store whose object is replaced when a read of it breaks off."""

    def break_off(self, number: int) -> None:
        if number == 2 and self.faults:
            self.fill("bucket", {"key": b"[" + b"2," * 200_000 + b"2]"})
        super().break_off(number)


async def test_an_array_replaced_amid_the_plan_is_not_half_read():
    """Rows of two versions are never in one plan."""
    store = Replaced(1)
    store.fill("bucket", {"key": b"[" + b"1," * 200_000 + b"1]"})
    with pytest.raises(SourceError, match="s3://bucket/key was replaced while it was read") as raised:
        await plan_of(S3JsonArray("bucket", "key"), replace(inmemory.backend(), store=store))
    assert isinstance(raised.value.__cause__, ObjectChangedError)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (S3Objects("no-such-bucket"), "s3://no-such-bucket does not exist: check the bucket"),
        (S3JsonArray("bucket", "no"), "s3://bucket/no does not exist: check the bucket and the key"),
        (S3JsonArray("bucket", "bad"), "s3://bucket/bad: malformed JSON near byte 3: a ',' or ']' is missing"),
        (S3JsonArray("bucket", "bad", "/a"), "s3://bucket/bad: malformed JSON near byte 3"),
        (S3JsonArray("bucket", "good", "/a"), "s3://bucket/good has nothing at '/a'"),
    ],
    ids=["bucket", "key", "malformed", "malformed first", "pointer"],
)
async def test_what_cannot_be_planned_is_named(source, told):
    """A missing bucket or object, and what is no array, are source errors that name it."""
    with pytest.raises(SourceError, match=re.escape(told)):
        await plan_of(source, backend_with({"bad": b"[1 2]", "good": b"[1, 2]"}))


async def test_what_was_written_down_and_is_gone_is_named():
    """A segment whose chunk was removed from the results bucket says which object is gone and what to do."""
    backend = backend_with({"a": b"1"})
    plan = await plan_of(S3Objects("bucket"), backend)
    key = f"{plan['manifest']}/000000"
    await backend.store.delete_many("results", [(key, None)])
    with pytest.raises(SourceError, match=f"s3://results/{key}, which holds .* is gone: start a new run"):
        [item async for item in read_items(next(cut(plan)), backend)]


@pytest.mark.parametrize("source", [S3Objects("bucket"), S3JsonArray("bucket", "key")], ids=["objects", "array"])
async def test_nothing_is_no_segments(source):
    """A listing of nothing and an empty array are planned, and cut into no segments."""
    backend = backend_with({"key": b"[]"} if isinstance(source, S3JsonArray) else {})
    assert await parts_read(source, backend) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"bucket": ""}, "bucket must be a name"),
        ({"bucket": None}, "bucket must be a name"),
        ({"prefix": None}, "prefix must be a text, not None"),
        ({"suffix": 7}, "suffix must be a text, not 7"),
        ({"pattern": 7}, "pattern must be a text or a compiled expression, not 7"),
        ({"min_bytes": -1}, "min_bytes must be a whole number from 0, not -1"),
        ({"max_bytes": 1.5}, "max_bytes must be a whole number from 0, not 1.5"),
        ({"min_bytes": 5, "max_bytes": 4}, "max_bytes must be a whole number from 5, not 4"),
        ({"modified_after": datetime(2026, 1, 1)}, "modified_after must be a datetime with a time zone"),  # noqa: DTZ001
        ({"modified_before": "2026-01-01"}, "modified_before must be a datetime with a time zone, not '2026-01-01'"),
        ({"keys_per_segment": 0}, "keys_per_segment must be a whole number from 1 to 100,000, not 0"),
        ({"keys_per_segment": 100_001}, "keys_per_segment must be a whole number from 1 to 100,000, not 100001"),
        ({"keys_per_segment": True}, "keys_per_segment must be a whole number from 1 to 100,000, not True"),
        ({"bytes_per_segment": 0}, "bytes_per_segment must be a whole number from 1, not 0"),
    ],
)  # fmt: skip
def test_impossible_conditions_are_refused_when_they_are_made(arguments, told):
    """A setting that cannot work is a configuration error that names it, before anything is listed."""
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        S3Objects(**{"bucket": "bucket", **arguments})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"bucket": ""}, "bucket must be a name"),
        ({"key": 7}, "key must be a name"),
        ({"pointer": "rows"}, "a JSON pointer is empty or begins with '/', as in '/data/rows', unlike 'rows'"),
        ({"pointer": None}, "pointer must be a text, not None"),
        ({"decimals": "no"}, "decimals must be True or False, not 'no'"),
        ({"rows_per_segment": 0}, "rows_per_segment must be a whole number from 1, not 0"),
        ({"rows_per_segment": 2.0}, "rows_per_segment must be a whole number from 1, not 2.0"),
    ],
)
def test_impossible_settings_are_refused_when_they_are_made(arguments, told):
    """A setting that cannot work is a configuration error that names it, before anything is read."""
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        S3JsonArray(**{"bucket": "bucket", "key": "key", **arguments})
