"""S3Parquet: objects that are refused, and empty input."""

import re
from datetime import date

import pyarrow as pa
import pytest

from fanfold import S3Parquet, sources
from fanfold.errors import ConfigurationError, SourceError
from parquet_sources import backend_with, numbers, rows_of, segments_of
from parquet_tables import written


@pytest.mark.parametrize("replacement", [b"other", None])
async def test_an_object_that_was_replaced_or_deleted_fails_its_segments(replacement):
    """No segment mixes two versions of an object."""
    backend = backend_with({"k": written(numbers(0, 3))})
    (part,) = sources.cut(await S3Parquet("b", "k").pin(backend, "plans"))
    await backend.store.delete_many("b", [("k", None)])
    if replacement is not None:
        backend.store.fill("b", {"k": replacement})
    with pytest.raises(SourceError, match=r"s3://b/k was (replaced since the run was planned|deleted since)"):
        [row async for row in sources.read_items(part, backend)]


COLUMNS = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (b"x,y\n1,2\n", {}, "s3://b/k is not Parquet: it does not end with a Parquet footer"),
        (b"PAR1", {}, "s3://b/k is not Parquet"),
        (b"PAR1....\xff\xff\xff\x7fPAR1", {}, "s3://b/k is not Parquet"),
        (b"PAR1zzzz\x04\x00\x00\x00PAR1", {}, "s3://b/k is not valid Parquet"),
        (b"PAR1zzzz\x04\x00\x00\x00PARE", {}, "s3://b/k has an encrypted footer"),
        (written(COLUMNS), {}, "s3://b/k has the column 'a' twice: rename one of them"),
        (written(numbers(0, 1)), {"columns": ["m"]}, "s3://b/k has no column 'm'; it has 'n'"),
        (written(numbers(0, 1)), {"filter": [("m", "==", 1)]}, "s3://b/k has no column 'm'; it has 'n'"),
        (
            written(numbers(0, 1)),
            {"filter": [("n", "==", "1")]},
            "s3://b/k: column 'n' of type int64 cannot be compared by == with '1': change the filter",
        ),
        (written(numbers(0, 1)), {"filter": [("n", "in", [1.5])]}, "column 'n' of type int64 cannot be compared by in"),
        (
            written(pa.table({"l": [[1]]})),
            {"filter": [("l", "==", 1)]},
            "s3://b/k: column 'l' of type list<element: int64> cannot be compared",
        ),
    ],
)  # fmt: skip
async def test_an_object_that_cannot_be_planned_is_refused_by_name(data, settings, message):
    """The error names the object, and the column if it is about one."""
    with pytest.raises(SourceError, match=re.escape(message)):
        await rows_of(S3Parquet("b", "k", **settings), backend_with({"k": data}))


@pytest.mark.parametrize("place", [{"key": "no"}, {"manifest": "no"}])
async def test_a_missing_object_is_refused_by_name(place):
    """The error states what to check."""
    with pytest.raises(SourceError, match="s3://b/no does not exist: check the bucket and the key"):
        await rows_of(S3Parquet("b", **place), backend_with({}))


async def test_a_missing_bucket_is_refused_by_name():
    """The error states what to check."""
    with pytest.raises(SourceError, match="s3://no does not exist: check the bucket"):
        await rows_of(S3Parquet("no", prefix=""), backend_with({}))


DAY = pa.array([date(2026, 1, 1)])
NESTED = pa.schema({"a": pa.list_(pa.struct({"x": pa.map_(pa.string(), pa.int64())})), "b": pa.string()})
NESTED32 = pa.schema({"a": pa.large_list(pa.struct({"x": pa.map_(pa.string(), pa.int32())})), "b": pa.string()})
KINDS = {
    "int32": pa.table({"a": pa.array([1], pa.int32()), "b": ["x"]}),
    "int64": pa.table({"a": pa.array([1], pa.int64()), "b": ["x"]}),
    "null": pa.table({"a": pa.nulls(1), "b": ["x"]}),
    "text": pa.table({"a": ["1"], "b": pa.array(["x"]).dictionary_encode()}),
    "nested": pa.table(
        {"a": [[{"x": [("k", 1)]}]], "b": ["x"]},
        pa.schema({"a": pa.list_(pa.struct({"x": pa.map_(pa.string(), pa.int64())})), "b": pa.string()}),
    ),
    "nested32": pa.table(
        {"a": [[{"x": [("k", 1)]}]], "b": ["x"]},
        pa.schema({"a": pa.large_list(pa.struct({"x": pa.map_(pa.string(), pa.int32())})), "b": pa.string()}),
    ),
    "more": pa.table({"a": [1], "b": ["x"], "c": [1]}),
}


@pytest.mark.parametrize(
    ("kinds", "settings", "column"),
    [
        (["int32", "int64", "null"], {}, None),
        (["null", "text", "null"], {}, None),
        (["int32", "int64"], {"yields": "batches"}, "a"),
        (["int64", "text"], {}, "a"),
        (["nested", "nested32"], {}, None),
        (["nested", "int64"], {}, "a"),
        (["null", "int64", "text"], {}, "a"),
        (["int64", "more"], {}, "c"),
        (["more", "int64"], {}, "c"),
        (["more", "text", "null"], {"columns": ["b"]}, None),
    ],
)
async def test_objects_with_different_columns_are_refused(kinds, settings, column):
    """Types with the same Python values, and columns of nulls, are the same for rows, but not for batches."""
    backend = backend_with({f"in/{number}": written(KINDS[kind]) for number, kind in enumerate(kinds)})
    source = S3Parquet("b", prefix="in/", **settings)
    if column is None:
        assert len(await rows_of(source, backend)) == len(kinds)
        return
    with pytest.raises(SourceError, match=rf"s3://b/in/\d: column '{column}' .* but in s3://b/in/0 it"):
        await rows_of(source, backend)


@pytest.mark.parametrize("place", [{"key": "in/rows"}, {"key": "in/empty"}, {"prefix": "in/"}, {"prefix": "none/"}])
async def test_empty_input_has_no_segments(place):
    """This holds for an object without rows, without bytes, and for a prefix without rows or objects."""
    backend = backend_with({"in/rows": written(numbers(0, 0)), "in/empty": b""})
    assert await segments_of(S3Parquet("b", **place), backend) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bucket": ""}, "bucket must be a non-empty string"),
        ({"key": None}, "specify one of key, for one object, prefix, for several, and manifest, for a list"),
        ({"prefix": "in/"}, "specify one of key"),
        ({"key": ""}, "key must be a non-empty string"),
        ({"key": None, "prefix": 7}, "prefix must be a string, not 7"),
        ({"suffix": "x"}, "suffix requires prefix"),
        ({"columns": []}, "columns must be a list of at least one name, not []"),
        ({"columns": "n"}, "columns must be a list of at least one name, not 'n'"),
        ({"columns": ["n", "n"]}, "columns must not contain a name twice"),
        ({"yields": "dicts"}, "yields must be 'rows' or 'batches', not 'dicts'"),
        ({"bytes_per_segment": 0}, "bytes_per_segment must be an integer of at least 1, not 0"),
        ({"filter": [[("n", "==", 1)], []]}, "filter must be a list of conditions"),
        ({"filter": []}, "filter must be a list of conditions"),
        ({"filter": "n > 1"}, "filter must be a list of conditions"),
        ({"filter": [("n", ">")]}, "filter must be a list of conditions"),
        ({"filter": [("n", "like", "x")]}, "==, !=, <, <=, >, >=, in, not in, not ('n', 'like', 'x')"),
        ({"filter": [("n", "in", 1)]}, "'in' needs a list of at least one value, not 1"),
        ({"filter": [("n", "==", None)]}, "must be a string, a finite number"),
        ({"filter": [("n", "<", float("nan"))]}, "must be a string, a finite number"),
    ],
)  # fmt: skip
def test_invalid_settings_are_refused_when_the_source_is_created(arguments, message):
    """An invalid setting is a configuration error that names it, before anything is read."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        S3Parquet(**{"bucket": "b", "key": "k", **arguments})
