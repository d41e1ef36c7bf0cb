"""Write the same table back: the batch writer adds a field to each item, segment by segment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fanfold import DynamoDBScan, Job, SegmentContext
from fanfold.aws.writer import DynamoDBItems, connect
from fanfold.sinks import BatchWriter


@asynccontextmanager
async def tables() -> AsyncIterator[DynamoDBItems]:
    """Open DynamoDB for writing, once per execution environment."""
    async with connect() as items:
        yield items


job = Job("table-write-back", concurrency=4, lifespan=tables, continuation=True)


@job.source
def table(params: dict[str, Any]) -> DynamoDBScan:
    """Cut the table named in the parameters into ``total`` segments, by default 4."""
    return DynamoDBScan(params["table"], segments=params.get("total", 4))


@job.segment
async def mark(items: AsyncIterator[dict[str, Any]], ctx: SegmentContext) -> dict[str, int]:
    """Write each item back with the length of its fields; a repeated call writes the same items."""
    params = ctx.run.params
    async with BatchWriter(ctx.state, params["table"], key=params["key"], deadline=ctx.deadline) as writer:
        async for item in items:
            fields = {name: value for name, value in item.items() if name != "length"}
            await writer.put({**fields, "length": sum(len(str(value)) for value in fields.values())})
    return {"written": writer.written}


@job.fold
def total(results: Iterable[dict[str, int]]) -> dict[str, int]:
    """Add up the numbers of written items."""
    return {"total_written": sum(result["written"] for result in results)}


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
