"""So many records, so many at most in a job; or so many jobs, with the records spread evenly over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fanfold import Context, Job, Ranges, folds

job = Job("offsets", concurrency=16)


@job.source
def jobs(params: dict[str, Any]) -> Ranges:
    """Cut ``records`` into jobs of ``at_most`` so many, or into as many ``jobs`` as asked for."""
    return Ranges(params["records"], size=params.get("at_most"), parts=params.get("jobs"), yields="bounds")


@job.segment
async def work(parts: AsyncIterator[dict[str, int]], ctx: Context[Any]) -> dict[str, Any]:  # noqa: ARG001 - the signature of a segment handler
    """Do one job: what is read between offset and offset + count goes here. Return what was processed."""
    part = await anext(parts)
    offset, count = part["offset"], part["limit"]
    return {"offset": offset, "count": count, "processed": list(range(offset, offset + count))}


job.fold(folds.to_json_lines("jobs.jsonl"))

scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
plan_handler, task_handler, collect_handler = job.plan_handler, job.task_handler, job.collect_handler  # Step Functions
