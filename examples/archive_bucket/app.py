"""Yesterday's objects of a bucket, moved to ``S3/YYYY/MM/DD/``: a key a segment, ten segments a message."""

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
    tolerated_failures=0.1,  # a share of the keys; over it the run fails. The state machine bears as much.
    backoff=Backoff(base=2, cap=60),
)


class KeyLeftError(Exception):
    """A key could not be moved now; the next delivery tries again."""


@job.source
def listing(params: dict[str, Any]) -> S3Objects:
    """List the bucket by prefix; whether a key is of the day is found out key by key, so that each is reported."""
    date.fromisoformat(params.get("day", "2026-11-24"))  # a day that is none fails the start of the run
    return S3Objects(params["bucket"], prefix=params.get("prefix", "incoming/"), keys_per_segment=1)


def day_of(run: Run) -> date:
    """Return the day to archive: the one the run was given, else the day before it was created, by UTC.

    Both are written down with the run: a delivery after midnight, or a redrive next week, moves the same objects.
    """
    if "day" in run.params:
        return date.fromisoformat(run.params["day"])
    return (datetime.fromtimestamp(run.created_at, UTC) - timedelta(days=1)).date()


@job.segment
async def archive(objects: AsyncIterator[dict[str, Any]], ctx: SegmentContext) -> dict[str, str | None]:
    """Move one object if its name carries the day; say what became of its key."""
    found = await anext(objects)
    key, day = found["key"], day_of(ctx.run)
    name = key.rpartition("/")[2]
    to = f"S3/{day:%Y/%m/%d}/{name}"
    if day.isoformat() not in name or key == to:
        return {"key": key, "result": "no target", "to": None}
    (moved,) = await move_objects(ctx.store, ctx.run.params["bucket"], [found], to=lambda _: to, deadline=ctx.deadline)
    if moved.done:
        return {"key": key, "result": "archived", "to": to}
    if moved.transient:
        raise KeyLeftError(f"{key}: {moved.error}")  # at the last delivery, the reason that the notification names
    raise Reject(f"{key}: {moved.error}")


job.fold(folds.to_csv("archived.csv", columns=["key", "result", "to"]))

scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
plan_handler, task_handler, collect_handler = job.plan_handler, job.task_handler, job.collect_handler  # Step Functions
