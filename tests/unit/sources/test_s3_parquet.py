"""S3Parquet: what is read, in which segments, and what is refused."""

import re
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from fanfold import S3Parquet, sources
from fanfold.errors import MissingExtraError, ServiceError, SourceError
from fanfold.inmemory import InMemoryStore
from fanfold.sources import parquet_pieces, parquet_rows
from parquet_sources import backend_with, numbers, rows_of, segments_of
from parquet_tables import written
from stops import with_stops


class Watched(InMemoryStore):
    """A store that lists the ranges that are read, and breaks off some reads after their first piece."""

    def __init__(self, faults: int = 0) -> None:
        super().__init__("results", "b")
        self.ranges: list[tuple[str, int, int | None]] = []
        self.faults = faults

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        self.ranges.append((key, start, stop))
        async for piece in super().read(bucket, key, start=start, stop=stop, etag=etag):
            yield piece
            if self.faults and bucket == "b":
                self.faults -= 1
                raise ServiceError("connection reset", code="ConnectionError", transient=True)

    def bytes_of(self, key: str) -> int:
        return sum((stop or 0) - start for read, start, stop in self.ranges if read == key)


async def test_only_the_footer_and_the_needed_columns_are_read():
    """Of a row group of two columns, a segment that needs one reads its column chunk and the metadata."""
    table = pa.table({"small": list(range(50_000)), "large": [f"{number:050d}" for number in range(50_000)]})
    data = written(table, compression="none", use_dictionary=False, row_group_size=25_000)
    store = Watched()
    backend = backend_with({"k": data}, store)
    plan = await S3Parquet("b", "k", columns=["small"], bytes_per_segment=1).pin(backend, "plans")
    assert store.bytes_of("k") <= 65_536
    store.ranges.clear()
    part = next(sources.cut(plan))
    assert [row["small"] async for row in sources.read_items(part, backend)] == list(range(25_000))
    assert 25_000 * 8 <= store.bytes_of("k") < 25_000 * 8 + 2_000


@pytest.mark.parametrize("faults", [0, 9])
async def test_a_large_row_group_is_read_in_windows(monkeypatch, faults):
    """Above the limit for fetching it completely, each column is fetched in parts, which resume if they break off."""
    monkeypatch.setattr(parquet_rows, "PREFETCH_BYTES", 0)
    table = pa.table({"n": list(range(200_000)), "text": [f"{number:030d}" for number in range(200_000)]})
    store = Watched(faults)
    data = written(table, compression="none", use_dictionary=False, data_page_size=50_000)
    backend = backend_with({"k": data}, store)
    assert await rows_of(S3Parquet("b", "k"), backend) == table.to_pylist()
    assert max((stop or 0) - start for _, start, stop in store.ranges) < 400_000
    assert faults or store.bytes_of("k") < 1.1 * len(data) + 65_536
    assert store.faults == 0


async def test_small_row_groups_share_a_segment_and_large_ones_are_not_cut():
    """A segment has row groups of up to ``bytes_per_segment``, also of several objects, but at least one."""
    data = written(numbers(0, 3_000, text=["x" * 20] * 3_000), row_group_size=1_000, compression="none")
    backend = backend_with({"in/1": data, "in/2": data})
    whole = await S3Parquet("b", prefix="in/").pin(backend, "plans")
    assert (whole["rows"], whole["objects"]) == (6_000, 2)
    sizes = [len(segment) for segment in await segments_of(S3Parquet("b", prefix="in/"), backend)]
    assert sizes == [6_000]
    half = whole["bytes"] * 4 // 6 + 100
    assert [len(s) for s in await segments_of(S3Parquet("b", prefix="in/", bytes_per_segment=half), backend)] == [
        4_000,
        2_000,
    ]
    assert [len(s) for s in await segments_of(S3Parquet("b", prefix="in/", bytes_per_segment=1), backend)] == [
        1_000
    ] * 6


async def test_objects_are_read_in_the_order_of_keys_without_empty_and_marker_objects():
    """Objects whose name begins with an underscore or a dot, and objects of zero bytes, are skipped."""
    objects = {f"in/{number:02d}": written(numbers(number, number + 1)) for number in range(40)}
    others = {"in/_SUCCESS": b"", "in/_metadata": b"x", "in/.crc": b"x", "in/": b"", "other": b"x", "in/00.txt": b"x"}
    source = S3Parquet("b", prefix="in/", suffix="")
    backend = backend_with({**objects, **{key: data for key, data in others.items() if key != "in/00.txt"}})
    assert [row["n"] for row in await rows_of(source, backend)] == list(range(40))
    with pytest.raises(SourceError, match=r"s3://b/in/00\.txt is not Parquet"):
        await rows_of(source, backend_with({**objects, **others}))


async def test_a_filter_skips_row_groups_by_their_statistics():
    """Row groups without a possible match are not in the plan, and not read."""
    data = written(numbers(0, 1_000), row_group_size=100)
    backend = backend_with({"k": data})
    source = S3Parquet("b", "k", filter=[("n", ">=", 250), ("n", "<", 310)])
    assert (await source.pin(backend, "plans"))["rows"] == 200
    assert [row["n"] for row in await rows_of(source, backend)] == list(range(250, 310))


async def test_negations_match_nan_in_a_row_group_whose_statistics_exclude_it():
    """Statistics do not count NaN, so a row group with only one other value may still match ``!=``."""
    backend = backend_with({"k": written(pa.table({"n": [1, 2], "x": pa.array([5.0, float("nan")])}))})
    for condition in [("x", "!=", 5.0), ("x", "not in", [5.0])]:
        assert [row["n"] for row in await rows_of(S3Parquet("b", "k", filter=[condition]), backend)] == [2]


async def test_a_condition_that_does_not_fit_the_statistics_is_checked_for_every_row():
    """Arrow cannot compare the statistics of this decimal with an integer, but it can compare the rows."""
    prices = pa.array([Decimal("1.5"), Decimal("1.0"), None])
    backend = backend_with({"k": written(pa.table({"n": [1, 2, 3], "price": prices}))})
    assert [row["n"] for row in await rows_of(S3Parquet("b", "k", filter=[("price", "==", 1)]), backend)] == [2]


async def test_a_segment_continues_after_several_batches_of_a_row_group():
    """The batches before are decoded, and skipped."""
    backend = backend_with({"k": written(numbers(0, 50_000))})
    (part,) = sources.cut(await S3Parquet("b", "k").pin(backend, "plans"))
    items = [row["n"] async for row in with_stops(part, backend, [20_000, 16_384])]
    assert items == list(range(50_000))


async def test_the_footer_may_be_longer_than_the_first_read():
    """A table of many columns has metadata of more than 64 KiB."""
    table = pa.table({f"column {number}": [number] for number in range(1_000)})
    rows = await rows_of(S3Parquet("b", "k", columns=["column 999"]), backend_with({"k": written(table)}))
    assert rows == [{"column 999": 999}]


async def test_a_segment_has_a_maximum_of_objects(monkeypatch):
    """It reads the footers of its objects one after another."""
    monkeypatch.setattr(parquet_pieces, "_MAX_PIECES", 2)
    backend = backend_with({f"in/{number}": written(numbers(number, number + 1)) for number in range(5)})
    assert [len(segment) for segment in await segments_of(S3Parquet("b", prefix="in/"), backend)] == [2, 2, 1]


async def test_metadata_of_other_objects_is_refused(tmp_path):
    """Dask and pyarrow write such an object: its row groups are in other objects."""
    collected: list[Any] = []
    parquet.write_to_dataset(numbers(0, 3), tmp_path, metadata_collector=collected)
    parquet.write_metadata(numbers(0, 1).schema, tmp_path / "_metadata", metadata_collector=collected)
    backend = backend_with({"_metadata": (tmp_path / "_metadata").read_bytes()})
    with pytest.raises(SourceError, match=r"s3://b/_metadata: its columns are in another object, '.*\.parquet': read"):
        await rows_of(S3Parquet("b", "_metadata"), backend)


async def test_a_missing_extra_names_the_install_command(monkeypatch):
    """The source can be created without it."""
    source = S3Parquet("b", "k")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"reading Parquet needs an extra: pip install 'fanfold\[parquet\]'"):
        await source.pin(backend_with({}), "plans")


async def test_a_list_of_addresses_selects_objects_of_several_buckets():
    """Athena writes such a list; blank lines are skipped."""
    backend = backend_with({"a": written(numbers(0, 2)), "list.csv": b"s3://b/a\n\ns3://c/x/y z\n"})
    backend.store.fill("c", {"x/y z": written(numbers(2, 4))})
    assert [row["n"] for row in await rows_of(S3Parquet("b", manifest="list.csv"), backend)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"b/a", "s3://b/list, line 2 is not the address of an object, such as s3://bucket/key, but 'b/a'"),
        (b"s3://b", "s3://b/list, line 2 is not the address"),
        (b"s3://b/\xff", "s3://b/list, line 2 is not UTF-8"),
        (b"s3://b/none", "s3://b/none does not exist: check the bucket and the key"),
    ],
)
async def test_a_malformed_list_of_addresses_is_refused_by_line(line, message):
    """The error names the list and the line, or the missing object."""
    backend = backend_with({"a": written(numbers(0, 2)), "list": b"s3://b/a\n" + line})
    with pytest.raises(SourceError, match=re.escape(message)):
        await rows_of(S3Parquet("b", manifest="list"), backend)


async def test_timestamps_of_type_int96_are_exact_outside_the_range_of_nanoseconds():
    """On its own, pyarrow would read the year 9999 as 1816."""
    column = pa.array([datetime(9999, 12, 31), datetime(1, 1, 1), None, datetime(1969, 1, 1)])  # noqa: DTZ001
    table = pa.table({"t": column, "l": [[value] for value in column.to_pylist()]})
    data = written(table, use_deprecated_int96_timestamps=True)
    rows = await rows_of(S3Parquet("b", "k"), backend_with({"k": data}))
    assert [row["t"] for row in rows] == column.to_pylist()
    assert [row["l"][0] for row in rows] == column.to_pylist()


async def test_fractions_of_seconds_before_1970_are_exact_or_refused():
    """Some releases of pyarrow read them wrongly as INT96."""
    moment = datetime(1969, 1, 1, 0, 0, 0, 5)  # noqa: DTZ001
    data = written(pa.table({"t": [moment]}), use_deprecated_int96_timestamps=True)
    try:
        result = await rows_of(S3Parquet("b", "k"), backend_with({"k": data}))
    except SourceError as error:
        result = re.findall("a timestamp of type INT96 is not exact in microseconds", str(error))
    assert result in ([{"t": moment}], ["a timestamp of type INT96 is not exact in microseconds"])


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("int96", [False, True])
async def test_nanoseconds_are_refused_by_column(nested, int96):
    """Python has no equal value; the error names the row group, the column, and the options that help."""
    column = pa.array([0, 1_000, 1_001], pa.int64()).cast(pa.timestamp("ns"))
    if nested:
        column = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), column)
    data = written(pa.table({"n": [1, 2, 3], "t": column}), row_group_size=2, use_deprecated_int96_timestamps=int96)
    backend = backend_with({"k": data})
    with pytest.raises(SourceError, match=r"s3://b/k: row group 1, column 't': .*leave the column out with columns="):
        await rows_of(S3Parquet("b", "k"), backend)
    assert [row["n"] for row in await rows_of(S3Parquet("b", "k", columns=["n"]), backend)] == [1, 2, 3]
    if not int96:
        batches = await rows_of(S3Parquet("b", "k", yields="batches"), backend)
        assert pa.Table.from_batches(batches).column("t").combine_chunks().equals(column)


@pytest.mark.parametrize("kind", [pa.time64("ns"), pa.duration("ns"), pa.timestamp("ns", "Europe/Oslo")])
async def test_nanoseconds_of_zero_are_values(kind):
    """Only a rest that does not fit in microseconds is refused."""
    column = pa.array([1_000, None], pa.int64()).cast(kind)
    rows = await rows_of(S3Parquet("b", "k"), backend_with({"k": written(pa.table({"c": column}))}))
    assert rows == [{"c": column[0].as_py()}, {"c": None}]


async def test_a_row_group_with_other_rows_than_the_footer_states_is_refused():
    """Some releases of pyarrow lose a row of such pages without an error."""
    kinds = pa.schema({"a": pa.list_(pa.int8()), "b": pa.list_(pa.list_(pa.bool_()))})
    data = written(pa.table({"a": [None], "b": [None]}, kinds), data_page_size=1, store_schema=False)
    lost = "s3://b/k: row group 0, column 'a': the number of rows differs from that in the footer"
    try:
        result = await rows_of(S3Parquet("b", "k"), backend_with({"k": data}))
    except SourceError as error:
        result = str(error)
    assert result in ([{"a": None, "b": None}], lost)


async def test_a_value_that_python_cannot_represent_is_refused_by_row():
    """The row is counted in its row group, rows that the filter excludes included."""
    table = numbers(0, 10, d=pa.array([0] * 9 + [2**30], pa.int32()).cast(pa.date32()))
    backend = backend_with({"k": written(table, row_group_size=5)})
    message = "s3://b/k: row group 1, row 4, column 'd' of type date32[day]: days=1073741824; must have"
    with pytest.raises(SourceError, match=re.escape(message)):
        await rows_of(S3Parquet("b", "k", filter=[("n", ">", 3)]), backend)
    assert (await rows_of(S3Parquet("b", "k", columns=["n"]), backend))[-1] == {"n": 9}


async def test_a_damaged_page_is_refused_by_column():
    """A checksum in the page detects a changed byte; the error names the row group and the column."""
    table = numbers(0, 100, text=["abcdefgh"] * 100)
    data = bytearray(written(table, compression="none", use_dictionary=False, write_page_checksum=True))
    data[data.index(b"\x08\0\0\0abcdefgh") + 9] ^= 1
    with pytest.raises(SourceError, match=r"s3://b/k: row group 0, column 'text': .*CRC"):
        await rows_of(S3Parquet("b", "k"), backend_with({"k": bytes(data)}))
