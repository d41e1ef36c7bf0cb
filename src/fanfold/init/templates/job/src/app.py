"""Compute what each customer spent, from a CSV object that is cut into byte ranges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fanfold import Backoff, Context, Job, S3Lines

job = Job("my-project", concurrency=16, backoff=Backoff(base=2, cap=60))


@job.source
def orders(params: dict[str, Any]) -> S3Lines:
    """Return the object in the run's parameters: ``{"bucket": …, "key": …}``."""
    return S3Lines(params["bucket"], params["key"], chunk_bytes=params.get("chunk_bytes", 8_000_000))


@job.segment
async def spent(rows: AsyncIterator[dict[str, str]], ctx: Context[Any]) -> dict[str, int]:  # noqa: ARG001 - the signature of a segment handler
    """Return the sums of one segment by customer, in cents, because integers add up exactly."""
    sums: defaultdict[str, int] = defaultdict(int)
    async for row in rows:
        sums[row["customer"]] += int(row["cents"])
    return dict(sums)


@job.fold
def total(results: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return the sums of all segments by customer. The fold may run twice; only one output is committed."""
    sums: defaultdict[str, int] = defaultdict(int)
    for result in results:
        for customer, cents in result.items():
            sums[customer] += cents
    return dict(sorted(sums.items()))


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler  # names for Lambda's Handler setting
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
plan_handler, task_handler, collect_handler = job.plan_handler, job.task_handler, job.collect_handler  # Step Functions
