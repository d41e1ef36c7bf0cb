"""Count the items of a DynamoDB table by a parallel scan: one segment per message, added up in the fold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from fanfold import Context, DynamoDBScan, Job

job = Job("table-count", concurrency=16, continuation=True)


@job.source
def table(params: dict[str, Any]) -> DynamoDBScan:
    """Cut the table named in the parameters into ``total`` segments, by default 4."""
    return DynamoDBScan(params["table"], segments=params.get("total", 4), page_items=params.get("page_items"))


@job.segment
async def count(items: AsyncIterator[dict[str, Any]], ctx: Context[Any]) -> dict[str, int]:  # noqa: ARG001 - the signature of a segment handler
    """Count the items of a segment. A segment that cannot end in time is continued and counted in parts."""
    counted = 0
    async for _ in items:
        counted += 1
    return {"count": counted}


@job.fold
def total(results: Iterable[dict[str, int]]) -> dict[str, int]:
    """Add up the counts."""
    return {"total_count": sum(result["count"] for result in results)}


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
