"""The job of ``end_to_end.py``: segments return the time of their end, the fold adds the time of its start."""

import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fanfold import Context, Job, Ranges

job = Job("end-to-end", concurrency=16)


@job.source
def numbers(params: dict[str, Any]) -> Ranges:
    """Cut the number of segments in the run's parameters."""
    return Ranges(params["segments"], size=1)


@job.segment
async def ended(rows: AsyncIterator[int], ctx: Context[Any]) -> float:  # noqa: ARG001 - the signature of a segment handler
    """Return the time of the end in seconds since 1970."""
    async for _ in rows:
        pass
    return time.time()


@job.fold
def began(results: Iterable[float]) -> dict[str, float]:
    """Return the end of the last segment, and the start of the fold."""
    now = time.time()
    return {"last_segment": max(results), "fold": now}


scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
