"""Progress of a worker: a log line every ten seconds, and a health file."""

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

from fanfold._base.log import SafeLogger

logger = SafeLogger(logging.getLogger("fanfold.worker"), {})

HEALTH_SECONDS: Final = 2.0
"""Interval at which the health file is written. If it is several times older than that, the worker hangs."""
REPORT_SECONDS: Final = 10.0
"""Interval of the progress line in the log, while there is work."""


@dataclass(slots=True)
class Summary:
    """Counts of a worker, from its start until now."""

    done: int = 0
    """Records that succeeded, or were rejected and forwarded."""
    failed: int = 0
    """Records that SQS redelivers."""
    in_flight: int = 0
    """Messages being processed."""


async def report(summary: Summary) -> None:
    """Log the progress every ten seconds, until cancelled."""
    before, before_at = Summary(), time.monotonic()
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        now, current = time.monotonic(), Summary(**asdict(summary))
        ended = current.done + current.failed - before.done - before.failed
        if ended or current.in_flight:
            rate = ended / (now - before_at)
            logger.info(
                "%d done, %d to be redelivered, %d in flight, %.1f per second",
                current.done,
                current.failed,
                current.in_flight,
                rate,
            )
        before, before_at = current, now


async def show_health(summary: Summary, file: Path) -> None:
    """Write the health file every two seconds, and remove it at the end; log the first failure to write it."""
    warned = False
    try:
        while True:
            try:
                _write_health(summary, file)
            except OSError as error:
                if not warned:
                    logger.warning("could not write the health file %s: %s", file, error.strerror)
                warned = True
            await asyncio.sleep(HEALTH_SECONDS)
    finally:
        with contextlib.suppress(OSError):
            file.unlink()  # noqa: ASYNC240 - one small file, and the worker ends


def _write_health(summary: Summary, file: Path) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    health = {"time": time.time(), "pid": os.getpid(), **asdict(summary)}
    temporary.write_text(json.dumps(health), encoding="utf-8")
    temporary.replace(file)
