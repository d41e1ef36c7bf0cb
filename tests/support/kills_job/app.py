"""A job with slow segments, so that its workers can be killed in the middle of a batch."""

import asyncio
from typing import Any

from fanfold import Job, S3Lines

job = Job("slow", concurrency=4, watch_seconds=15)  # a lost check is repeated soon


@job.source
def numbers(params: dict[str, Any]) -> S3Lines:
    """Cut the object in the run's parameters."""
    return S3Lines(params["bucket"], params["key"], chunk_bytes=params["chunk_bytes"])


@job.segment
async def add(rows: Any, ctx: Any) -> int:
    """Add numbers, slowly."""
    total = 0
    async for number in rows:
        total += number
        await asyncio.sleep(0.004)
    return total


@job.fold
def total(results: Any) -> int:
    """Add the sums."""
    return sum(results)


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
