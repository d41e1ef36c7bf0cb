"""``examples/table_count`` with segments that fail until a file exists, or that are slow.

Tests copy it next to the example's ``app.py``. A log file gets a line at the start and at the end of each segment.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fanfold import Reject
from fanfold._jobs.segment_handler import SegmentContext

example: Any = importlib.import_module("app")


async def counted(items: AsyncIterator[dict[str, Any]], ctx: SegmentContext) -> dict[str, int]:
    """Count a segment as the example does.

    Raises:
        Reject: If the run's parameters list it as broken, and the file ``fixed`` does not exist.
    """
    params, number = ctx.run.params, ctx.segment.number
    note(params["log"], f"+{number}")
    try:
        counts: dict[str, int] = await example.count(slowly(items, params.get("item_seconds", 0)), ctx)
        if number in params.get("broken", []) and not Path(params["fixed"]).exists():  # noqa: ASYNC240 - a local file
            raise Reject("it is broken")
        return counts
    finally:
        note(params["log"], f"-{number}")


async def slowly(items: AsyncIterator[dict[str, Any]], item_seconds: float) -> AsyncIterator[dict[str, Any]]:
    """Wait after each item."""
    async for item in items:
        yield item
        if item_seconds:
            await asyncio.sleep(item_seconds)


def note(log: str, line: str) -> None:
    """Append a line in one write, since several processes write to the file."""
    with Path(log).open("a", encoding="ascii") as file:
        file.write(f"{line}\n")


job = example.job.with_changes(segment=counted)

scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
