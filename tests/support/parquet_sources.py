"""Sources of Parquet objects in memory, and what they read."""

from dataclasses import replace
from typing import Any

import pyarrow as pa

from fanfold import S3Parquet, inmemory, sources
from fanfold._ports.backend import Backend
from fanfold.inmemory import InMemoryStore


def backend_with(objects: dict[str, bytes], store: InMemoryStore | None = None) -> Backend:
    """Return a backend whose bucket ``b`` has these objects."""
    filled = store or InMemoryStore("results")
    filled.fill("b", objects)
    return replace(inmemory.backend(), store=filled)


async def segments_of(source: S3Parquet, backend: Backend) -> list[list[Any]]:
    """Return the items of each segment."""
    plan = await source.pin(backend, "plans")
    return [[item async for item in sources.read_items(part, backend)] for part in sources.cut(plan)]


async def rows_of(source: S3Parquet, backend: Backend) -> list[Any]:
    """Return the items of all segments."""
    return [row for segment in await segments_of(source, backend) for row in segment]


def numbers(first: int, last: int, **columns: Any) -> pa.Table:
    """Return a table with a column ``n`` of consecutive numbers."""
    return pa.table({"n": list(range(first, last)), **columns})
