"""Contract of the sources that read ranges of objects: the same in memory and on S3."""

from dataclasses import replace

import pyarrow as pa
import pytest

from buckets import ODD_KEYS, Bucket
from exports import SUMMARY, export
from fanfold import DynamoDBExport, S3Inventory, S3Parquet, inmemory, sources
from fanfold._ports.backend import Backend
from fanfold.errors import SourceError
from inventories import inventory, row_of
from parquet_tables import written


@pytest.fixture
def backend(bucket: Bucket) -> Backend:
    return replace(inmemory.backend(), store=bucket.store, results_bucket=bucket.name)


def table(first: int, last: int) -> pa.Table:
    return pa.table({"n": list(range(first, last)), "text": [f"{number:040d}" for number in range(first, last)]})


async def rows_of(source: sources.Source, backend: Backend) -> list[dict]:
    plan = await source.pin(backend, "plans/run")
    return [row for part in sources.cut(plan) async for row in sources.read_items(part, backend)]


async def test_parquet_is_read_by_ranges(backend, bucket):
    """Rows of a part of the row groups and columns of an object that is larger than the first read."""
    await bucket.put("k", written(table(0, 20_000), row_group_size=1_000, compression="none", use_dictionary=False))
    source = S3Parquet(bucket.name, "k", columns=["n"], filter=[("n", ">=", 18_500)], bytes_per_segment=1)
    assert await rows_of(source, backend) == [{"n": number} for number in range(18_500, 20_000)]


async def test_many_parquet_objects_are_planned_and_read(backend, bucket):
    """Objects under a prefix, whatever their keys, in the order of their keys."""
    keys = sorted(f"in/{key}" for key in ODD_KEYS)
    for number, key in enumerate(keys):
        await bucket.put(key, written(table(number, number + 1)))
    await bucket.put("in/_SUCCESS", b"")
    rows = await rows_of(S3Parquet(bucket.name, prefix="in/"), backend)
    assert [row["n"] for row in rows] == list(range(len(keys)))


async def test_a_list_of_addresses_is_read(backend, bucket):
    """Each address is one object, whose size and ETag are looked up."""
    await bucket.put("in/1", written(table(0, 2)))
    await bucket.put("list.csv", f"s3://{bucket.name}/in/1\ns3://{bucket.name}/in/1\n".encode())
    rows = await rows_of(S3Parquet(bucket.name, manifest="list.csv"), backend)
    assert [row["n"] for row in rows] == [0, 1, 0, 1]


async def test_a_replaced_parquet_object_is_refused(backend, bucket):
    """The ETag of each read is that of the plan."""
    await bucket.put("k", written(table(0, 10)))
    (part,) = sources.cut(await S3Parquet(bucket.name, "k").pin(backend, "plans/run"))
    await bucket.put("k", written(table(1, 11)))
    with pytest.raises(SourceError, match="was replaced since the run was planned: start a new run"):
        [row async for row in sources.read_items(part, backend)]


@pytest.mark.parametrize("form", ["CSV", "Parquet", "ORC"])
async def test_an_inventory_is_planned_and_read(backend, bucket, form):
    """Its files are read as a stream or by ranges, and keys with any characters are listed."""
    keys = [*ODD_KEYS, *(f"k/{number}" for number in range(5_000))]
    for key, data in inventory([[row_of(key) for key in keys], [row_of("last")]], form, group_rows=1_000).items():
        await bucket.put(key, data)
    for keys_per_segment in (700, None):
        source = S3Inventory(bucket.name, "inv/manifest.json", keys_per_segment=keys_per_segment)
        assert [item["key"] for item in await rows_of(source, backend)] == [*keys, "last"]


async def test_an_export_of_a_table_is_planned_and_read(backend, bucket):
    """Its compressed files are read as streams."""
    files = [[{"Item": {"n": {"N": f"{file}.{number}"}}} for number in range(5_000)] for file in range(2)]
    for key, data in export(files).items():
        await bucket.put(key, data)
    items = await rows_of(DynamoDBExport(bucket.name, SUMMARY), backend)
    assert [str(item["n"]) for item in items] == [document["Item"]["n"]["N"] for file in files for document in file]
