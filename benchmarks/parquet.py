"""Parquet: throughput and memory of reading many row groups, and of planning a large inventory.

::

    python benchmarks/parquet.py [rows | batches | inventory] [--json FILE]
    python benchmarks/parquet.py rows [--rows 10000000] [--groups 40] [--concurrency 4]
    python benchmarks/parquet.py batches [--rows 10000000] [--groups 40] [--concurrency 4]
    python benchmarks/parquet.py inventory [--keys 100000 1000000]

A table of an integer, two strings, a float, a decimal, and a timestamp is written to a file, in row groups of the same
size. pyarrow reads the file in one thread, batch by batch. fanfold reads all segments of ``S3Parquet``, several
concurrently: from the same file, with a store that reads ranges of it, and over HTTP, with the real S3 adapter and a
small server. *rows*: dicts; all peers add up one column. *batches*: Arrow record batches; all peers count rows.

*inventory*: an S3 Inventory in files of 100,000 keys is planned by ``S3Inventory``, with 1,000 keys to a segment, and
all segments are read. Written chunks of the plan stay in a file, so that they do not affect the memory.

The ratio is that of rows per CPU second, because fanfold decodes in threads. Each measurement runs in a separate
process. Peak memory is the growth of resident memory.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from measure import Meter, Rows, fail, isolated, main, table
from fanfold import S3Inventory, S3Parquet, inmemory, sources
from fanfold.protocols import ObjectInfo, Store
from servers import CREDENTIALS, one_object

PIECE_BYTES = 262_144
TABLE_ROWS: TypeAlias = Annotated[int, "rows in the file"]
GROUPS: TypeAlias = Annotated[int, "row groups in the file"]
CONCURRENCY: TypeAlias = Annotated[int, "segments to read concurrently"]


class FileStore(inmemory.InMemoryStore):
    """A store whose bucket ``bucket`` has one object, a file."""

    def __init__(self, path: str) -> None:
        super().__init__("results")
        self._path = Path(path)
        self.fill("bucket", {"key": b"file"})

    async def head(self, bucket: str, key: str) -> Any:
        """Return the size of the file."""
        info = await super().head(bucket, key)
        return replace(info, size_bytes=self._path.stat().st_size) if bucket == "bucket" else info

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of the file."""
        if bucket != "bucket":
            async for piece in super().read(bucket, key, start=start, stop=stop, etag=etag):
                yield piece
            return
        with self._path.open("rb") as file:
            file.seek(start)
            position, end = start, self._path.stat().st_size if stop is None else stop
            while position < end and (piece := file.read(min(PIECE_BYTES, end - position))):
                position += len(piece)
                yield piece


def write_table(path: Path, rows: int, groups: int) -> None:
    """Write a table, row group by row group."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    schema = pa.schema(
        [
            ("number", pa.int64()),
            ("name", pa.string()),
            ("note", pa.string()),
            ("rate", pa.float64()),
            ("price", pa.decimal128(21, 2)),
            ("at", pa.timestamp("us", "UTC")),
        ]
    )
    names = pa.array([f"佐藤 {number}" for number in range(997)])
    per_group = -(-rows // groups)
    with parquet.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, per_group):
            numbers = pa.array(range(first, min(first + per_group, rows)), pa.int64())
            notes = pc.cast(pc.multiply(numbers, 7919), pa.string())
            moments = pc.add(pc.multiply(numbers, 1_001), 1_764_000_000_000_000)
            places = pc.subtract(numbers, pc.multiply(pc.divide(numbers, 997), 997))
            columns = [
                numbers,
                names.take(places),
                pc.binary_join_element_wise("row", notes, " "),
                pc.divide(pc.cast(numbers, pa.float64()), 7.0),
                pc.cast(numbers, pa.decimal128(21, 2)),
                pc.cast(moments, schema.field("at").type),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=per_group)


@asynccontextmanager
async def store_of(peer: str, path: str, port: int) -> AsyncIterator[Store]:
    """Yield the store from which a peer reads."""
    if peer == "fanfold, file":
        yield FileStore(path)
        return
    from aiobotocore.session import get_session

    from fanfold.aws.backend import config_of
    from fanfold.aws.s3 import S3Store

    address = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            get_session().create_client("s3", endpoint_url=address, config=config_of("s3"), **CREDENTIALS)
        )
        yield S3Store(client)


class Results(inmemory.InMemoryStore):
    """A store with a results bucket in memory; all other buckets are in another store."""

    def __init__(self, others: Store) -> None:
        super().__init__("results")
        self._others = others

    async def head(self, bucket: str, key: str) -> Any:
        """Return the metadata of an object."""
        return await self._others.head(bucket, key)

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of an object."""
        read = super().read if bucket == "results" else self._others.read
        async for piece in read(bucket, key, start=start, stop=stop, etag=etag):
            yield piece


async def by_fanfold(peer: str, path: str, port: int, yields: str, concurrency: int) -> tuple[int, int, int]:
    """Read all segments; return rows, the total of the column, and segments."""
    async with store_of(peer, path, port) as store:
        backend = replace(inmemory.backend(), store=Results(store))
        plan = await S3Parquet("bucket", "key", yields=yields, bytes_per_segment=1).pin(backend, "plan")
        parts, totals = sources.cut(plan), [0, 0, 0]

        async def work() -> None:
            for part in parts:
                totals[2] += 1
                async for item in sources.read_items(part, backend):
                    if yields == "rows":
                        totals[0] += 1
                        totals[1] += item["number"]
                    else:
                        totals[0] += item.num_rows

        await asyncio.gather(*(work() for _ in range(concurrency)))
        return totals[0], totals[1], totals[2]


def by_pyarrow(path: str, yields: str) -> tuple[int, int, int]:
    """Read the file batch by batch in one thread; return rows, the total of the column, and row groups."""
    from pyarrow import parquet

    count = total = 0
    file = parquet.ParquetFile(path)
    for batch in file.iter_batches(use_threads=False):
        if yields == "rows":
            for row in batch.to_pylist():
                count += 1
                total += row["number"]
        else:
            count += batch.num_rows
    return count, total, file.num_row_groups


@isolated
def reading(peer: str, path: str, port: int, yields: str, concurrency: int) -> dict[str, Any]:
    """Read the file as one of the peers; return the measurement."""
    import aiobotocore.session  # noqa: F401 - what is loaded before is not measured
    import pyarrow.parquet

    import fanfold.sources.s3_parquet  # noqa: F401

    pyarrow.parquet.read_schema(path)
    with Meter() as meter:
        if peer == "pyarrow":
            found = by_pyarrow(path, yields)
        else:
            found = asyncio.run(by_fanfold(peer, path, port, yields, concurrency))
    return {
        "rows": found[0],
        "total": found[1],
        "segments": found[2],
        "seconds": meter.seconds,
        "cpu": meter.cpu_seconds,
        "peak MB": meter.peak_mb,
    }


def measure(yields: str, table_rows: int, groups: int, concurrency: int) -> Rows:
    """Measure all peers, pyarrow first and last; pyarrow's figure is the mean of both."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.parquet"
        write_table(file, table_rows, groups)
        megabytes = file.stat().st_size / 1e6
        with one_object(str(file)) as port:
            peers = ["pyarrow", "fanfold, file", "fanfold, HTTP"]
            took = {peer: reading(peer, str(file), port, yields, concurrency) for peer in peers}
            again = reading("pyarrow", str(file), port, yields, concurrency)
    if len({(found["rows"], found["total"]) for found in [*took.values(), again]}) != 1:
        fail(f"the peers read different rows: {took}")
    base = (took["pyarrow"]["cpu"] + again["cpu"]) / 2
    return [
        {
            "peer": peer,
            "rows": found["rows"],
            "file MB": megabytes,
            "segments": found["segments"],
            "seconds": found["seconds"],
            "CPU seconds": found["cpu"],
            "rows per CPU second": round(found["rows"] / found["cpu"]),
            "of pyarrow": base / found["cpu"],
            "peak MB": found["peak MB"],
        }
        for peer, found in took.items()
    ]


@table("pyarrow", "aiobotocore")
def rows(*, rows: TABLE_ROWS = 10_000_000, groups: GROUPS = 40, concurrency: CONCURRENCY = 4) -> Rows:
    """Measure reading rows as dicts, compared with pyarrow in one thread."""
    return measure("rows", rows, groups, concurrency)


@table("pyarrow", "aiobotocore")
def batches(*, rows: TABLE_ROWS = 10_000_000, groups: GROUPS = 40, concurrency: CONCURRENCY = 4) -> Rows:
    """Measure reading Arrow record batches, compared with pyarrow in one thread."""
    return measure("batches", rows, groups, concurrency)


# --- Planning an inventory.

FILE_KEYS = 100_000
FIELDS = ("bucket", "key", "size", "last_modified_date", "e_tag", "storage_class")


class Folder(inmemory.InMemoryStore):
    """A store whose objects are files of a folder, of all buckets."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = Path(folder)

    def path_of(self, key: str) -> Path:
        """Return the file of a key."""
        return self._folder / key.replace("/", "_")

    async def head(self, bucket: str, key: str) -> Any:  # noqa: ARG002 - all buckets are the same
        """Return the size of a file."""
        return ObjectInfo(self.path_of(key).stat().st_size, '"1"')

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:  # noqa: ARG002 - as above
        """Write a file."""
        self.path_of(key).write_bytes(data)

    async def read(
        self,
        bucket: str,  # noqa: ARG002 - as above
        key: str,
        *,
        start: int = 0,
        stop: int | None = None,
        etag: str | None = None,  # noqa: ARG002 - files are not replaced
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of a file."""
        with self.path_of(key).open("rb") as file:
            file.seek(start)
            position, end = start, self.path_of(key).stat().st_size if stop is None else stop
            while position < end and (piece := file.read(min(PIECE_BYTES, end - position))):
                position += len(piece)
                yield piece


@isolated
def write_inventory(folder: str, form: str, keys: int) -> int:
    """Write an inventory of this many keys; return the size of its files."""
    from inventories import inventory, row_of

    store, objects = Folder(folder), dict[str, bytes]()
    files = []
    for number, first in enumerate(range(0, keys, FILE_KEYS)):
        rows = [
            row_of(f"incoming/2026/11/25/{key:012d} {key % 7}.json")
            for key in range(first, min(first + FILE_KEYS, keys))
        ]
        made = inventory([rows], form, FIELDS, group_rows=FILE_KEYS)
        (name,) = (name for name in made if not name.endswith("manifest.json"))
        manifest = json.loads(made["inv/manifest.json"])
        files.append({**manifest["files"][0], "key": f"inv/data/{number}.{name.partition('.')[2]}"})
        store.path_of(files[-1]["key"]).write_bytes(made[name])
        objects["inv/manifest.json"] = json.dumps({**manifest, "files": files}).encode()
    store.path_of("inv/manifest.json").write_bytes(objects["inv/manifest.json"])
    return sum(file["size"] for file in files)


async def plan_inventory(folder: str, *, read: bool) -> tuple[int, int]:
    """Plan an inventory, or read its plan; return keys and the size of the plan."""
    backend = replace(inmemory.backend(), store=Folder(folder))
    if not read:
        plan = await S3Inventory("b", "inv/manifest.json").pin(backend, "plan")
        await backend.store.put("b", "plan.json", json.dumps(plan).encode())
        return plan["items"], len(json.dumps(plan))
    plan, count = json.loads(await backend.read_all("b", "plan.json")), 0
    for part in sources.cut(plan):
        async for _ in sources.read_items(part, backend):
            count += 1
    return count, len(json.dumps(plan))


@isolated
def planning(folder: str, read: bool) -> dict[str, Any]:
    """Plan an inventory, or read its plan, in a separate process."""
    import fanfold.sources.s3_inventory  # noqa: F401 - what is loaded before is not measured

    with Meter() as meter:
        keys, plan_bytes = asyncio.run(plan_inventory(folder, read=read))
    return {"keys": keys, "plan bytes": plan_bytes, "cpu": meter.cpu_seconds, "peak MB": meter.peak_mb}


@table("pyarrow")
def inventory(*, keys: Annotated[tuple[int, ...], "keys in the inventory"] = (100_000, 1_000_000)) -> Rows:
    """Measure time and memory of planning an inventory, and of reading the planned segments."""
    found = []
    for form in ("CSV", "Parquet", "ORC"):
        for count in keys:
            with tempfile.TemporaryDirectory() as folder:
                size = write_inventory(folder, form, count)
                planned, read = planning(folder, False), planning(folder, True)  # noqa: FBT003 - JSON values
            if {planned["keys"], read["keys"]} != {count}:
                fail(f"{planned['keys']} keys were planned and {read['keys']} read of {count}")
            found.append(
                {
                    "format": form,
                    "keys": count,
                    "files MB": size / 1e6,
                    "plan bytes": planned["plan bytes"],
                    "keys planned per CPU second": round(count / planned["cpu"]),
                    "peak MB": planned["peak MB"],
                    "keys read per CPU second": round(count / read["cpu"]),
                    "peak MB of reading": read["peak MB"],
                }
            )
    return found


if __name__ == "__main__":
    main(rows, batches, inventory)
