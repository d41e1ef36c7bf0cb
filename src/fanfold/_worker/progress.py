"""How far a worker is: a line in the log now and then, and a health file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

logger = logging.getLogger("fanfold.worker")

HEALTH_SECONDS: Final = 2.0
"""How often the health file is written: one that is several times older is a worker that hangs."""
REPORT_SECONDS: Final = 10.0
"""How often the log says how far the work is, while there is any."""


@dataclass(slots=True)
class Summary:
    """What a worker has done so far."""

    done: int = 0
    """Records that succeeded, or were rejected and forwarded."""
    failed: int = 0
    """Records that come back."""
    in_flight: int = 0
    """Messages in hand."""


async def report(summary: Summary) -> None:
    """Log how far the work is, again and again, until cancelled."""
    before, began = Summary(), time.monotonic()
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        now, seen = time.monotonic(), Summary(**asdict(summary))
        ended = seen.done + seen.failed - before.done - before.failed
        if ended or seen.in_flight:
            rate = ended / (now - began)
            logger.info(
                "%d done, %d come back, %d in hand, %.1f a second", seen.done, seen.failed, seen.in_flight, rate
            )
        before, began = seen, now


async def show_health(summary: Summary, file: Path) -> None:
    """Write the health file again and again, and remove it in the end; what cannot be written is said once."""
    told = False
    try:
        while True:
            try:
                _write_health(summary, file)
            except OSError as error:
                if not told:
                    logger.warning("the health file %s cannot be written: %s", file, error.strerror)
                told = True
            await asyncio.sleep(HEALTH_SECONDS)
    finally:
        with contextlib.suppress(OSError):
            file.unlink()  # noqa: ASYNC240 - one small file, and the worker ends


def _write_health(summary: Summary, file: Path) -> None:
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    health = {"time": time.time(), "pid": os.getpid(), **asdict(summary)}
    unfinished.write_text(json.dumps(health), encoding="utf-8")
    unfinished.replace(file)
