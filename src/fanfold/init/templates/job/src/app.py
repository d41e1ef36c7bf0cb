"""What each customer spent: one CSV object, cut into byte ranges, added up in Lambda, folded into one table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fanfold import Backoff, Context, Job, S3Lines

job = Job("my-project", concurrency=16, backoff=Backoff(base=2, cap=60))


@job.source
def orders(params: dict[str, Any]) -> S3Lines:
    """Cut the object that the run is started with: ``{"bucket": …, "key": …}``."""
    return S3Lines(params["bucket"], params["key"], chunk_bytes=params.get("chunk_bytes", 8_000_000))


@job.segment
async def spent(rows: AsyncIterator[dict[str, str]], ctx: Context[Any]) -> dict[str, int]:  # noqa: ARG001 - the signature of a segment handler
    """Return, by customer, what the rows of one segment come to: whole cents, which add up exactly."""
    sums: defaultdict[str, int] = defaultdict(int)
    async for row in rows:
        sums[row["customer"]] += int(row["cents"])
    return dict(sums)


@job.fold
def total(results: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return, by customer, what all segments come to; it may run again, its output counts once."""
    sums: defaultdict[str, int] = defaultdict(int)
    for result in results:
        for customer, cents in result.items():
            sums[customer] += cents
    return dict(sorted(sums.items()))


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler  # Lambda wants module names
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
plan_handler, task_handler, collect_handler = job.plan_handler, job.task_handler, job.collect_handler  # Step Functions
