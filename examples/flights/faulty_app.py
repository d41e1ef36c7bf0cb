"""The same job with injected faults, deployed by ``fanfold demo``: some segments fail on their first delivery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from app import count
from app import job as original_job

FAIL_ON_FIRST_DELIVERY = frozenset({2, 7, 11})


async def count_with_faults(rows: AsyncIterator[dict[str, str]], ctx: Any) -> dict[str, dict[str, int]]:
    """Fail on the first delivery of some segments; otherwise, count like the original job."""
    if ctx.segment.number in FAIL_ON_FIRST_DELIVERY and ctx.receive_count == 1:
        raise ConnectionError("injected: this segment fails on its first delivery")
    return await count(rows, ctx)


job = original_job.with_changes(segment=count_with_faults)

scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
