"""Count flights by carrier: cut one CSV object into byte ranges, count in Lambda, and fold into one table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fanfold import Backoff, Context, Job, S3Lines

job = Job("flights-by-carrier", concurrency=16, backoff=Backoff(base=2, cap=60))


@job.source
def flights(params: dict[str, Any]) -> S3Lines:
    """Cut the object named in the parameters into chunks of bytes."""
    return S3Lines(params["bucket"], params["key"], chunk_bytes=params.get("chunk_bytes", 150_000))


@job.segment
async def count(rows: AsyncIterator[dict[str, str]], ctx: Context[Any]) -> dict[str, dict[str, int]]:  # noqa: ARG001 - the signature of a segment handler
    """Return integer counts and sums by carrier, which can be added exactly."""
    carriers: defaultdict[str, dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(("flights", "cancelled", "departed", "dep_delay", "arrived", "arr_delay"), 0)
    )
    async for row in rows:
        carrier = carriers[row["carrier"]]
        carrier["flights"] += 1
        carrier["cancelled"] += row["dep_time"] == "NA"
        for event, delay in (("departed", "dep_delay"), ("arrived", "arr_delay")):
            if row[delay] != "NA":
                carrier[event] += 1
                carrier[delay] += int(row[delay])
    return dict(carriers)


@job.fold
def total(results: Iterable[dict[str, dict[str, int]]]) -> dict[str, dict[str, float | None]]:
    """Return the number of flights, mean delays in minutes, and share of cancelled flights, by carrier."""
    sums: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for result in results:
        for carrier, counts in result.items():
            for name, number in counts.items():
                sums[carrier][name] += number
    return {
        carrier: {
            "flights": count["flights"],
            "mean_dep_delay": count["dep_delay"] / count["departed"] if count["departed"] else None,
            "mean_arr_delay": count["arr_delay"] / count["arrived"] if count["arrived"] else None,
            "cancelled_share": count["cancelled"] / count["flights"],
        }
        for carrier, count in sorted(sums.items())
    }


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
plan_handler, task_handler, collect_handler = job.plan_handler, job.task_handler, job.collect_handler  # Step Functions
