"""Sources: time and memory of planning and reading large inputs, and the bytes that are read of a long row.

::

    python benchmarks/readers.py [csv | json_array | listing | long_row] [--json FILE]
    python benchmarks/readers.py csv [--megabytes 1000] [--segments 64] [--concurrency 8]
    python benchmarks/readers.py json_array [--megabytes 1 10 100 1000]
    python benchmarks/readers.py listing [--keys 10000 100000 1000000]
    python benchmarks/readers.py long_row [--row-bytes 400000]

*csv*: a large object is a file, served by a small HTTP server that supports ``HEAD`` and ``GET`` with ``Range``, and
read with the real S3 adapter. fanfold counts rows and adds up one column of several concurrent segments of ``S3Lines``;
the single stream is one ``GET`` through ``csv.DictReader``, which decodes the same rows.

*json_array*: an array planned by ``S3JsonArray``, compared with an array that follows another one of the same size
(``/rows`` in an object), and with ``json.loads`` of the whole object, for sizes up to 100 MB.

*listing*: a listing planned by ``S3Objects``, with the sizes of plan and messages, compared with a list of the same
keys.

In both, the input is generated while it is read, and written chunks are discarded, so that neither affects the
measurement. Finding the rows or keys, writing them as chunks, and cutting the plan is measured.

*long_row*: one row longer than 128 KB that spans several chunks of a file: the bytes that fanfold and Lithops read.
Lithops is not a dependency of fanfold: install it with `pip install lithops`, or the script runs without it. It reads a
local file with its local executor; fanfold reads the same bytes from an in-memory store.

Each measurement runs in a separate process. Peak memory is the growth of resident memory.
"""

import asyncio
import csv as csv_module
import io
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from measure import Meter, Rows, fail, installed, isolated, main, table
from fanfold import S3JsonArray, S3Lines, S3Objects, Segment, inmemory, sources
from fanfold.inmemory import InMemoryStore
from fanfold.protocols import Listed, ObjectInfo
from servers import CREDENTIALS, one_object

# --- A large CSV object.

ROW_BYTES = 100


def write_csv(file: Path, megabytes: int) -> int:
    """Write rows of about this many MB; return their number."""
    rows = megabytes * 1_000_000 // ROW_BYTES
    with file.open("w", encoding="utf-8") as out:
        out.write("number,name,rank,points,filler\n")
        for number in range(rows):
            row = f"{number},佐藤 {number % 997},{number % 5 + 1},{50 + number % 51},"
            out.write(row + "x" * (ROW_BYTES - 1 - len(row.encode())) + "\n")
    return rows


async def by_segments(address: str, segments: int, concurrency: int) -> tuple[int, int]:
    """Read all segments, several concurrently; return rows and points."""
    from aiobotocore.session import get_session

    from fanfold.aws.backend import config_of
    from fanfold.aws.s3 import S3Store

    async with get_session().create_client("s3", endpoint_url=address, config=config_of("s3"), **CREDENTIALS) as client:
        backend = replace(inmemory.backend(), store=S3Store(client))
        size = (await backend.store.head("bucket", "big.csv")).size_bytes
        plan = await S3Lines("bucket", "big.csv", chunk_bytes=-(-size // segments)).pin(backend, "plan")
        parts, totals = sources.cut(plan), [0, 0]

        async def work() -> None:
            for part in parts:
                async for row in sources.read_items(part, backend):
                    totals[0] += 1
                    totals[1] += int(row["points"])

        await asyncio.gather(*(work() for _ in range(concurrency)))
        return totals[0], totals[1]


async def by_one_stream(address: str) -> tuple[int, int]:
    """Read the object as one stream; return rows and points."""
    from aiobotocore.session import get_session

    rows = points = 0
    async with get_session().create_client("s3", endpoint_url=address, **CREDENTIALS) as client:
        response = await client.get_object(Bucket="bucket", Key="big.csv")
        header, unfinished = None, b""
        async with response["Body"] as body:
            while piece := await body.read(262_144):
                head, newline, tail = (unfinished + piece).rpartition(b"\n")
                unfinished = tail
                if not newline:
                    continue
                reader = csv_module.DictReader(io.StringIO(head.decode()), fieldnames=header)
                for row in reader:
                    rows += 1
                    points += int(row["points"])
                header = reader.fieldnames
    return rows, points


@isolated
def reading(port: int, segments: int | None, concurrency: int) -> tuple[float, float | None, int]:
    """Read the object; return seconds, peak memory in MB, and rows."""
    import aiobotocore.session  # noqa: F401 - what is loaded before is not measured

    address = f"http://127.0.0.1:{port}"
    with Meter() as meter:
        act = by_one_stream(address) if segments is None else by_segments(address, segments, concurrency)
        rows, _ = asyncio.run(act)
    return meter.seconds, meter.peak_mb, rows


@table("aiobotocore")
def csv(
    *,
    megabytes: Annotated[int, "size of the object"] = 1_000,
    segments: Annotated[int, "number of segments"] = 64,
    concurrency: Annotated[int, "segments to read concurrently"] = 8,
) -> Rows:
    """Measure reading a large CSV object in segments, compared with a single stream."""
    peers = {"plain stream": None, "fanfold": segments}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "big.csv"
        wanted = write_csv(file, megabytes)
        with one_object(str(file)) as port:
            took = {peer: reading(port, cut, concurrency) for peer, cut in peers.items()}
    if {rows for _, _, rows in took.values()} != {wanted}:
        fail(f"{[rows for _, _, rows in took.values()]} rows were read of {wanted}")
    return [
        {
            "peer": peer,
            "segments": peers[peer] or 1,
            "seconds": seconds,
            "MB a second": megabytes / seconds,
            "of the plain stream": took["plain stream"][0] / seconds,
            "peak MB": peak,
        }
        for peer, (seconds, peak, _) in took.items()
    ]


# --- Planning a JSON array, and a listing.

PIECE_BYTES = 262_144
ROW = {
    "number": 0,
    "name": "山田 太郎",
    "rank": 3,
    "points": 58,
    "rate": 1.10,
    "date": "2026-11-25",
    "tags": ["a", "b"],
}
WHOLE_MEGABYTES = 100
"""Size of the largest object that json.loads reads for comparison."""
KEYS_PER_SEGMENT = 100


class Made(InMemoryStore):
    """A store that generates its object and its listing while they are read, and discards written chunks."""

    def __init__(self, pieces: Iterable[bytes] = (), keys: int = 0) -> None:
        super().__init__("results")
        self.fill("bucket", {"key": b""})
        self.pieces, self.keys = pieces, keys

    async def read_start(self, *_place: Any) -> tuple[ObjectInfo, bytes]:
        """Return a size that is large enough, and no bytes."""
        return ObjectInfo(sys.maxsize, '"made"'), b""

    async def read(self, *_place: Any, **_options: Any) -> AsyncGenerator[bytes, None]:
        """Yield the object."""
        for piece in self.pieces:
            yield piece

    async def list(self, *_place: Any, **_options: Any) -> AsyncGenerator[Listed, None]:
        """Yield the listing."""
        for number in range(self.keys):
            yield Listed(
                f"incoming/2026/11/25/{number:012d}.json", 1_234, f'"{number:032x}"', 1_764_000_000.0 + number % 86_400
            )

    async def put(self, *_what: Any, **_options: Any) -> None:
        """Discard a chunk."""


def array(size_bytes: int) -> Iterator[bytes]:
    """Yield an array of about this size, in pieces with the same rows, which cost nothing to generate."""
    row = json.dumps(ROW, ensure_ascii=False).encode() + b", "
    yield b"["
    for _ in range(size_bytes // PIECE_BYTES):
        yield row * (PIECE_BYTES // len(row))
    yield row.removesuffix(b", ") + b"]"


def behind(size_bytes: int) -> Iterator[bytes]:
    """Yield an object with two arrays, each of half this size."""
    yield b'{"before": '
    yield from array(size_bytes // 2)
    yield b', "rows": '
    yield from array(size_bytes // 2)
    yield b"}"


def plan_array(pieces: Iterator[bytes], pointer: str) -> dict[str, int]:
    """Plan an array; return its rows."""
    backend = replace(inmemory.backend(), store=Made(pieces))
    planned = asyncio.run(S3JsonArray("bucket", "key", pointer).pin(backend, "runs/run/source/0"))
    return {"rows": planned["items"]}


async def plan_listing(keys: int) -> dict[str, int]:
    """Plan and cut a listing; return its sizes."""
    backend = replace(inmemory.backend(), store=Made(keys=keys))
    planned = await S3Objects("bucket", keys_per_segment=KEYS_PER_SEGMENT).pin(backend, "runs/run/source/" + "0" * 32)
    segments = largest = 0
    for number, part in enumerate(sources.cut(planned)):
        segments += 1
        largest = max(largest, len(Segment("job", "run", number, part).to_body()))
    return {"segments": segments, "plan bytes": len(json.dumps(planned)), "message bytes": largest}


async def hold_listing(keys: int) -> dict[str, int]:
    """Hold all keys in a list."""
    held = [key async for key in Made(keys=keys).list()]
    return {"segments": -(-len(held) // KEYS_PER_SEGMENT)}


WHOLE = "json.loads of the whole"
ARRAYS: dict[str, Callable[[int], dict[str, int]]] = {
    "S3JsonArray": lambda size: plan_array(array(size), ""),
    "S3JsonArray, behind another": lambda size: plan_array(behind(size), "/rows"),
    WHOLE: lambda size: {"rows": len(json.loads(b"".join(array(size))))},
}
"""Functions that find the rows of an array of this many bytes."""
LISTINGS: dict[str, Callable[[int], dict[str, int]]] = {
    "S3Objects": lambda keys: asyncio.run(plan_listing(keys)),
    "a list": lambda keys: asyncio.run(hold_listing(keys)),
}
"""Functions that read this many keys."""


@isolated
def planning(peer: str, size: int, warm_up: int) -> dict[str, Any]:
    """Warm up, plan an input of this size, and return its facts with time and memory."""
    act = (ARRAYS | LISTINGS)[peer]
    act(warm_up)
    with Meter() as meter:
        facts = act(size)
    return {**facts, "seconds": meter.cpu_seconds, "peak MB": meter.peak_mb}


@table()
def json_array(*, megabytes: Annotated[tuple[int, ...], "sizes of the object"] = (1, 10, 100, 1_000)) -> Rows:
    """Measure time and memory of planning a JSON array."""
    cases = [case for case in product(ARRAYS, megabytes) if case[0] != WHOLE or case[1] <= WHOLE_MEGABYTES]
    took = {case: planning(case[0], case[1] * 1_000_000, 1_000_000) for case in cases}
    return [
        {
            "peer": peer,
            "object MB": size,
            "rows": facts["rows"],
            "MB per CPU second": size / facts["seconds"],
            "peak MB": facts["peak MB"],
        }
        for (peer, size), facts in took.items()
    ]


@table()
def listing(*, keys: Annotated[tuple[int, ...], "keys listed"] = (10_000, 100_000, 1_000_000)) -> Rows:
    """Measure time and memory of planning a listing."""
    took = {case: planning(*case, 100) for case in product(LISTINGS, keys)}
    return [
        {
            "peer": peer,
            "keys": count,
            "segments": facts["segments"],
            "plan bytes": facts.get("plan bytes"),
            "message bytes": facts.get("message bytes"),
            "keys per CPU second": round(count / facts["seconds"]),
            "peak MB": facts["peak MB"],
        }
        for (peer, count), facts in took.items()
    ]


# --- A row that is longer than the chunks.

CHUNK_BYTES = 100_000


async def by_fanfold(data: bytes) -> list[int]:
    """Return the bytes of the lines that each segment reads, including line ends."""
    store = InMemoryStore("results")
    store.fill("bucket", {"rows.txt": data})
    backend = replace(inmemory.backend(), store=store)
    plan = await S3Lines("bucket", "rows.txt", chunk_bytes=CHUNK_BYTES).pin(backend, "runs/long-row")
    return [sum([len(line) + 1 async for line in sources.read_items(part, backend)]) for part in sources.cut(plan)]


def by_lithops(data: bytes) -> list[int]:
    """Return the bytes that each call of Lithops reads."""
    import lithops  # type: ignore[import-not-found]

    # Lithops starts a process named `python`, which must be this interpreter.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    local = {"lithops": {"backend": "localhost", "storage": "localhost"}}
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(data)
        file.flush()
        executor = lithops.FunctionExecutor(config=local, log_level="ERROR")
        executor.map(lambda obj: len(obj.data_stream.read()), [file.name], obj_chunk_size=CHUNK_BYTES)
        return list(executor.get_result())


@table(*installed("lithops"))
def long_row(*, row_bytes: Annotated[int, "length of the row"] = 400_000) -> Rows:
    """Check whether a long row that spans several chunks is read completely."""
    data = b"a\n" + b"b\n" * 10 + b"x" * row_bytes + b"\n" + b"c\n" * 10
    peers = {"fanfold": asyncio.run(by_fanfold(data))}
    if installed("lithops"):
        peers["Lithops"] = by_lithops(data)
    return [
        {"peer": peer, "bytes in the file": len(data), "bytes read": sum(parts), "parts": len(parts)}
        for peer, parts in peers.items()
    ]


if __name__ == "__main__":
    main(csv, json_array, listing, long_row)
