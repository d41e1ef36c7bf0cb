"""``examples/table_count``, with segments that fail until a file is there, or that take their time.

It is laid beside the example's ``app.py``. A line in a file tells of each time that a segment is begun and left.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fanfold import Reject
from fanfold._jobs.segment_handler import SegmentContext

example: Any = importlib.import_module("app")


async def on_trial(items: AsyncIterator[dict[str, Any]], ctx: SegmentContext) -> dict[str, int]:
    """Count a segment as the example does.

    Raises:
        Reject: If the run's parameters call it broken, and it has not been mended.
    """
    params, number = ctx.run.params, ctx.segment.number
    note(params["log"], f"+{number}")
    try:
        counted: dict[str, int] = await example.count(slowly(items, params.get("pause", 0)), ctx)
        if number in params.get("broken", []) and not Path(params["mended"]).exists():  # noqa: ASYNC240 - a local file
            raise Reject("it is broken")
        return counted
    finally:
        note(params["log"], f"-{number}")


async def slowly(items: AsyncIterator[dict[str, Any]], pause: float) -> AsyncIterator[dict[str, Any]]:
    """Pause after each item; so many seconds."""
    async for item in items:
        yield item
        if pause:
            await asyncio.sleep(pause)


def note(log: str, line: str) -> None:
    """Append a line at once: several processes write."""
    with Path(log).open("a", encoding="ascii") as file:
        file.write(f"{line}\n")


job = example.job.with_changes(segment=on_trial)

scatter_handler, segment_handler = job.scatter_handler, job.segment_handler
dead_letter_handler, fold_handler = job.dead_letter_handler, job.fold_handler
