"""Listings and arrays: for any content and any cut, the segments read every item once and in order."""

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
    """Return the plan, after JSON encoding and decoding."""
    return json.loads(json.dumps(await source.pin(backend, source_prefix("run"))))


async def parts_read(source: Source, backend: Backend) -> list[list[Any]]:
    """Return the items of each segment, with parts after JSON encoding and decoding."""
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
async def test_each_segment_reads_the_lines_that_were_written_for_it(segments, chunk_bytes):
    """Other segments in the same chunk have no effect."""
    backend = inmemory.backend()
    plan = await manifest.write(backend, "runs/r/source/1", stream(segments), chunk_bytes=chunk_bytes)
    parts = manifest.cut(plan)
    read = [[line async for lines in manifest.read(part, backend) for line, _ in lines] for part in parts]
    assert read == segments
    assert plan["items"] == sum(map(len, segments))


@given(chunks=st.lists(st.integers(1, 5), max_size=6), first=st.integers(0, 40))
async def test_a_cut_may_begin_at_any_segment(chunks, first):
    """A cut from a later segment is a suffix of the whole cut."""
    plan = {"manifest": "prefix", "chunks": chunks}
    whole = list(manifest.cut(plan))
    assert [(part["chunk"], part["place"]) for part in whole] == [
        (chunk, place) for chunk, count in enumerate(chunks) for place in range(count)
    ]
    assert list(manifest.cut(plan, first)) == whole[first:]


@pytest.mark.parametrize(
    ("sizes", "chunks"), [([60, 41, 59], [1, 2]), ([40, 40, 20], [3]), ([300, 1, 1], [1, 2]), ([], [])]
)
async def test_a_chunk_contains_segments_up_to_its_size(sizes, chunks):
    """A chunk ends before the segment that would make it too large, and contains at least one."""
    lines = [[b"1" * (size - 1)] for size in sizes]
    plan = await manifest.write(inmemory.backend(), "prefix", stream(lines), chunk_bytes=100)
    assert plan["chunks"] == chunks


@given(
    bucket=OBJECTS,
    prefix=st.sampled_from(["", "a", "a/", "日"]),
    keys=st.integers(1, 8),
    max_bytes=st.none() | st.integers(1, 30),
)
@settings(deadline=None, max_examples=200)
async def test_every_key_is_read_once_and_in_order(bucket, prefix, keys, max_bytes):
    """The segments, limited by keys, bytes, or both, contain every key with the prefix once."""
    backend = backend_with(bucket)
    source = S3Objects("bucket", prefix=prefix, keys_per_segment=keys, bytes_per_segment=max_bytes)
    parts = await parts_read(source, backend)
    items = [item for part in parts for item in part]
    assert [item["key"] for item in items] == sorted(key for key in bucket if key.startswith(prefix))
    for part in parts:
        assert 1 <= len(part) <= keys
        assert max_bytes is None or len(part) == 1 or sum(item["size"] for item in part) <= max_bytes


@given(bucket=OBJECTS, keys=st.integers(1, 8))
@settings(deadline=None, max_examples=50)
async def test_all_segments_except_the_last_are_full(bucket, keys):
    """All segments except the last one contain ``keys_per_segment`` keys."""
    parts = await parts_read(S3Objects("bucket", keys_per_segment=keys), backend_with(bucket))
    assert [len(part) for part in parts[:-1]] == [keys] * max(0, len(parts) - 1)
    assert len(parts) == -(-len(bucket) // keys)


async def test_an_item_describes_the_listed_object():
    """An item has the key, the size, the ETag, and the time of the object, and no other fields."""
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
async def test_only_objects_that_meet_all_conditions_are_read(conditions, keys):
    """Conditions are prefix, suffix, pattern, sizes (inclusive), and times (the second one exclusive)."""
    clock = ManualClock(NEW_YEAR.timestamp())
    store = InMemoryStore("results", clock=clock)
    store.fill("bucket", {"in/1.csv": b"1", "in/2.csv": b"22", "IN/3.CSV": b""})
    clock.advance(timedelta(days=1).total_seconds())
    store.fill("bucket", {"new": b"333"})
    parts = await parts_read(S3Objects("bucket", **conditions), replace(inmemory.backend(), store=store))
    assert [item["key"] for part in parts for item in part] == keys


@given(bucket=OBJECTS, pattern=st.text("ab/.*?[]c日", max_size=6))
@settings(deadline=None)
async def test_a_pattern_matches_like_a_shell_pattern(bucket, pattern):
    """A pattern matches the whole key, as ``fnmatch.fnmatchcase`` does."""
    parts = await parts_read(S3Objects("bucket", pattern=pattern), backend_with(bucket))
    expected = sorted(key for key in bucket if fnmatch.fnmatchcase(key, pattern))
    assert [item["key"] for part in parts for item in part] == expected


async def test_changes_after_the_plan_have_no_effect():
    """Segments read the listing from when the run was planned, even if the bucket has changed."""
    backend = backend_with({"a": b"1", "b": b"2"})
    parts = list(cut(await plan_of(S3Objects("bucket", keys_per_segment=1), backend)))
    backend.store.fill("bucket", {"a": b"other", "aa": b"new"})
    await backend.store.delete_many("bucket", [("b", None)])
    items = [(item["key"], item["size"]) for part in parts async for item in read_items(part, backend)]
    assert items == [("a", 1), ("b", 1)]


async def test_two_plans_of_one_run_are_independent():
    """The segments of the first plan do not read the objects of the second one."""
    backend = backend_with({"a": b"1"})
    first = list(cut(await plan_of(S3Objects("bucket"), backend)))
    backend.store.fill("bucket", {"0": b"1"})
    await plan_of(S3Objects("bucket"), backend)
    assert [item["key"] async for item in read_items(first[0], backend)] == ["a"]


async def test_messages_are_small_and_a_plan_does_not_contain_the_keys():
    """With the longest names, a message is below 1 KiB, and so is the plan of 20,000 keys in 2,000 segments."""
    backend = backend_with({f"{'k' * 200}{number}": b"" for number in range(20_000)})
    plan = await S3Objects("bucket", keys_per_segment=10).pin(backend, source_prefix("r" * 128))
    assert len(json.dumps(plan)) < 1_024
    part = list(cut(plan))[-1]
    assert len(Segment("j" * 128, "r" * 128, 1_999, part).to_body().encode()) < 1_024
    assert [item["key"][200:] async for item in read_items(part, backend)][-1] == "9999"


class Interrupted(InMemoryStore):
    """A store whose listings and reads break off after every second key or piece, some times."""

    def __init__(self, faults: int, *, transient: bool = True) -> None:
        super().__init__("results")
        self.faults = faults
        self.transient = transient

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Listed]:
        async for number, listed in counted(super().list(bucket, prefix, start_after=start_after)):
            self.break_off(number)
            yield listed

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


async def test_a_listing_that_breaks_off_is_resumed():
    """After a transient error during a listing, no key is lost or repeated."""
    store = Interrupted(3)
    store.fill("bucket", {f"{number:02d}": b"" for number in range(20)})
    parts = await parts_read(S3Objects("bucket", keys_per_segment=7), replace(inmemory.backend(), store=store))
    assert [item["key"] for part in parts for item in part] == [f"{number:02d}" for number in range(20)]
    assert store.faults == 0


async def test_the_read_of_an_array_that_breaks_off_is_resumed():
    """After a transient error during a read, no row is lost or repeated."""
    store = Interrupted(3)
    rows = [{"number": number, "text": "日" * 20} for number in range(5_000)]
    store.fill("bucket", {"key": json.dumps(rows).encode()})
    parts = await parts_read(S3JsonArray("bucket", "key"), replace(inmemory.backend(), store=store))
    assert [row for part in parts for row in part] == rows
    assert store.faults == 0


@pytest.mark.parametrize("source", [S3Objects("bucket"), S3JsonArray("bucket", "key")], ids=["objects", "array"])
async def test_a_permanent_error_fails_the_plan(source):
    """The error itself is raised; a part of the input never counts as the whole."""
    store = Interrupted(1, transient=False)
    store.fill("bucket", {"key": b"[" + b"1," * 200_000 + b"1]", "key2": b"", "key3": b""})
    with pytest.raises(ServiceError, match="connection reset"):
        await plan_of(source, replace(inmemory.backend(), store=store))


@given(rows=st.lists(json_values(), max_size=25), rows_per_segment=st.integers(1, 9), ascii_only=st.booleans())
@settings(deadline=None, max_examples=150)
async def test_every_row_is_read_once_and_in_order(rows, rows_per_segment, ascii_only):
    """The segments of an array contain its rows, ``rows_per_segment`` in each."""
    backend = backend_with({"key": json.dumps({"a": [{"日本": rows}]}, ensure_ascii=ascii_only, indent=1).encode()})
    source = S3JsonArray("bucket", "key", "/a/0/日本", rows_per_segment=rows_per_segment)
    parts = await parts_read(source, backend)
    assert [row for part in parts for row in part] == rows
    begins = range(0, len(rows), rows_per_segment)
    assert [len(part) for part in parts] == [len(rows[begin : begin + rows_per_segment]) for begin in begins]


async def test_decimals_are_exact_if_they_are_enabled():
    """A number with a fraction or an exponent is a Decimal with all its digits in the object."""
    backend = backend_with({"key": b'[1.10, 1e400, 0.1000000000000000055511151231257827, 7, {"a": 2.5}]'})
    parts = await parts_read(S3JsonArray("bucket", "key", decimals=True), backend)
    exact = ["1.10", "1E+400", "0.1000000000000000055511151231257827"]
    assert [str(number) for number in parts[0][:3]] == exact
    assert parts[0][3:] == [7, {"a": Decimal("2.5")}]
    assert type(parts[0][3]) is int


async def test_replacing_an_array_after_the_plan_has_no_effect():
    """Segments read the rows from when the run was planned."""
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


async def test_replacing_an_array_during_planning_fails_the_plan():
    """A plan never contains rows of two versions."""
    store = Replaced(1)
    store.fill("bucket", {"key": b"[" + b"1," * 200_000 + b"1]"})
    with pytest.raises(SourceError, match="s3://bucket/key was replaced while it was being read") as raised:
        await plan_of(S3JsonArray("bucket", "key"), replace(inmemory.backend(), store=store))
    assert isinstance(raised.value.__cause__, ObjectChangedError)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (S3Objects("no-such-bucket"), "s3://no-such-bucket does not exist: check the bucket"),
        (S3JsonArray("bucket", "no"), "s3://bucket/no does not exist: check the bucket and the key"),
        (S3JsonArray("bucket", "bad"), "s3://bucket/bad: malformed JSON near byte 3: expected ',' or ']'"),
        (S3JsonArray("bucket", "bad", "/a"), "s3://bucket/bad: malformed JSON near byte 3"),
        (S3JsonArray("bucket", "good", "/a"), "s3://bucket/good has no value at '/a'"),
    ],
    ids=["bucket", "key", "malformed", "malformed first", "pointer"],
)
async def test_an_input_that_cannot_be_planned_is_refused_by_name(source, message):
    """A missing bucket or object, and a value that is not an array, are source errors with the name."""
    with pytest.raises(SourceError, match=re.escape(message)):
        await plan_of(source, backend_with({"bad": b"[1 2]", "good": b"[1, 2]"}))


async def test_a_missing_chunk_is_reported_by_name():
    """If a chunk was deleted from the results bucket, the error states the object and what to do."""
    backend = backend_with({"a": b"1"})
    plan = await plan_of(S3Objects("bucket"), backend)
    key = f"{plan['manifest']}/000000"
    await backend.store.delete_many("results", [(key, None)])
    with pytest.raises(SourceError, match=f"s3://results/{key}, which contains .* no longer exists: start a new run"):
        [item async for item in read_items(next(cut(plan)), backend)]


@pytest.mark.parametrize("source", [S3Objects("bucket"), S3JsonArray("bucket", "key")], ids=["objects", "array"])
async def test_an_empty_input_has_no_segments(source):
    """An empty listing and an empty array can be planned, and have no segments."""
    backend = backend_with({"key": b"[]"} if isinstance(source, S3JsonArray) else {})
    assert await parts_read(source, backend) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bucket": ""}, "bucket must be a non-empty string"),
        ({"bucket": None}, "bucket must be a non-empty string"),
        ({"prefix": None}, "prefix must be a string, not None"),
        ({"suffix": 7}, "suffix must be a string, not 7"),
        ({"pattern": 7}, "pattern must be a string or a compiled regular expression, not 7"),
        ({"min_bytes": -1}, "min_bytes must be an integer of at least 0, not -1"),
        ({"max_bytes": 1.5}, "max_bytes must be an integer of at least 0, not 1.5"),
        ({"min_bytes": 5, "max_bytes": 4}, "max_bytes must be an integer of at least 5, not 4"),
        ({"modified_after": datetime(2026, 1, 1)}, "modified_after must be a datetime with a time zone"),  # noqa: DTZ001
        ({"modified_before": "2026-01-01"}, "modified_before must be a datetime with a time zone, not '2026-01-01'"),
        ({"keys_per_segment": 0}, "keys_per_segment must be an integer from 1 to 100,000, not 0"),
        ({"keys_per_segment": 100_001}, "keys_per_segment must be an integer from 1 to 100,000, not 100001"),
        ({"keys_per_segment": True}, "keys_per_segment must be an integer from 1 to 100,000, not True"),
        ({"bytes_per_segment": 0}, "bytes_per_segment must be an integer of at least 1, not 0"),
    ],
)  # fmt: skip
def test_invalid_conditions_are_refused_when_the_source_is_created(arguments, message):
    """An invalid setting is a configuration error that names it, before the bucket is listed."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        S3Objects(**{"bucket": "bucket", **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bucket": ""}, "bucket must be a non-empty string"),
        ({"key": 7}, "key must be a non-empty string"),
        ({"pointer": "rows"}, "a JSON pointer must be empty or begin with '/', such as '/data/rows', not 'rows'"),
        ({"pointer": None}, "pointer must be a string, not None"),
        ({"decimals": "no"}, "decimals must be True or False, not 'no'"),
        ({"rows_per_segment": 0}, "rows_per_segment must be an integer of at least 1, not 0"),
        ({"rows_per_segment": 2.0}, "rows_per_segment must be an integer of at least 1, not 2.0"),
    ],
)
def test_invalid_settings_are_refused_when_the_source_is_created(arguments, message):
    """An invalid setting is a configuration error that names it, before the object is read."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        S3JsonArray(**{"bucket": "bucket", "key": "key", **arguments})
