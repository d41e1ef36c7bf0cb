"""Compute members' bonus points: a JSON array in S3, processed in segments of ten rows, joined into an Excel sheet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fanfold import Context, Job, Reject, S3JsonArray, folds

NUMBER, NAME, RANK, POINTS, DATE = "会員番号", "名前", "会員ランク", "ポイント", "タイムスタンプ"
BONUS = "ボーナスポイント"

job = Job("member-points", concurrency=16)


@job.source
def members(params: dict[str, Any]) -> S3JsonArray:
    """Cut the array named in the parameters into segments of ``rows`` rows, by default 10."""
    return S3JsonArray(params["bucket"], params["key"], rows_per_segment=params.get("rows", 10))


@job.segment
async def add_bonus(rows: AsyncIterator[dict[str, Any]], ctx: Context[Any]) -> list[dict[str, Any]]:  # noqa: ARG001 - the signature of a segment handler
    """Return the rows with an additional column."""
    return [{**row, BONUS: bonus(row)} async for row in rows]


def bonus(member: dict[str, Any]) -> float:
    """Return a member's points, with a quarter more for ranks 4 and 5. The result is exact: floats represent quarters.

    Raises:
        Reject: If the rank is not from 1 to 5, or the points are not an integer: a retry cannot fix that.
    """
    rank, points = member.get(RANK), member.get(POINTS)
    if type(rank) is not int or not 1 <= rank <= 5 or type(points) is not int:  # noqa: PLR2004 - the ranks
        raise Reject(f"member {member.get(NUMBER)!r} has rank {rank!r} and {points!r} points")
    return points * 5 / 4 if rank in {4, 5} else points


job.fold(folds.to_excel("members.xlsx", columns=[NUMBER, NAME, RANK, POINTS, DATE, BONUS], sheet="会員"))

scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
plan_handler, task_handler, collect_handler = job.plan_handler, job.task_handler, job.collect_handler  # Step Functions
