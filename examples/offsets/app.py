"""Divide a number of records into jobs of a maximum size, or into a number of jobs of equal size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fanfold import Context, Job, Ranges, folds

job = Job("offsets", concurrency=16)


@job.source
def jobs(params: dict[str, Any]) -> Ranges:
    """Cut ``records`` into jobs of at most ``at_most`` records, or into ``jobs`` jobs."""
    return Ranges(params["records"], size=params.get("at_most"), parts=params.get("jobs"), yields="bounds")


@job.segment
async def work(parts: AsyncIterator[dict[str, int]], ctx: Context[Any]) -> dict[str, Any]:  # noqa: ARG001 - the signature of a segment handler
    """Process one job: replace this code to read the records from offset to offset + count. Return their numbers."""
    part = await anext(parts)
    offset, count = part["offset"], part["limit"]
    return {"offset": offset, "count": count, "processed": list(range(offset, offset + count))}


job.fold(folds.to_json_lines("jobs.jsonl"))

scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
plan_handler, task_handler, collect_handler = job.plan_handler, job.task_handler, job.collect_handler  # Step Functions
