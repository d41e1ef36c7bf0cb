"""Move yesterday's objects of a bucket to ``S3/YYYY/MM/DD/``: one key per segment, ten segments per message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fanfold import Backoff, Job, Reject, S3Objects, SegmentContext, folds
from fanfold.protocols import Run
from fanfold.sinks import move_objects

job = Job(
    "archive",
    concurrency=10,
    segments_per_message=10,
    tolerated_failures=0.1,  # a share of the keys; above it, the run fails. The state machine tolerates the same share.
    backoff=Backoff(base=2, cap=60),
)


class KeyLeftError(Exception):
    """A key could not be moved now; its segment is redelivered."""


@job.source
def listing(params: dict[str, Any]) -> S3Objects:
    """List the bucket by prefix. The segment handler checks the day of each key, so that every key is reported."""
    date.fromisoformat(params.get("day", "2026-11-24"))  # an invalid day fails the start of the run
    return S3Objects(params["bucket"], prefix=params.get("prefix", "incoming/"), keys_per_segment=1)


def day_of(run: Run) -> date:
    """Return the day to archive: the ``day`` parameter of the run, or the day before its creation, in UTC.

    The run stores both, so a delivery after midnight or a redrive next week moves the same objects.
    """
    if "day" in run.params:
        return date.fromisoformat(run.params["day"])
    return (datetime.fromtimestamp(run.created_at, UTC) - timedelta(days=1)).date()


@job.segment
async def archive(objects: AsyncIterator[dict[str, Any]], ctx: SegmentContext) -> dict[str, str | None]:
    """Move one object if its name contains the day; return the result for its key."""
    item = await anext(objects)
    key, day = item["key"], day_of(ctx.run)
    name = key.rpartition("/")[2]
    to = f"S3/{day:%Y/%m/%d}/{name}"
    if day.isoformat() not in name or key == to:
        return {"key": key, "result": "no target", "to": None}
    (moved,) = await move_objects(ctx.store, ctx.run.params["bucket"], [item], to=lambda _: to, deadline=ctx.deadline)
    if moved.done:
        return {"key": key, "result": "archived", "to": to}
    if moved.transient:
        raise KeyLeftError(f"{key}: {moved.error}")  # at the last delivery, this is the reason in the notification
    raise Reject(f"{key}: {moved.error}")


job.fold(folds.to_csv("archived.csv", columns=["key", "result", "to"]))

scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
plan_handler, task_handler, collect_handler = job.plan_handler, job.task_handler, job.collect_handler  # Step Functions
