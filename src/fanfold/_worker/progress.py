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
    """Records that succeeded."""
    rejected: int = 0
    """Records that were rejected and that the dead-letter queue has accepted."""
    failed: int = 0
    """Records that SQS redelivers."""
    in_flight: int = 0
    """Messages that were received and have not ended: being processed, or behind another one of their group."""

    def count_acknowledged(self, *, rejected: bool) -> None:
        """Count a message in flight that has ended and will be deleted."""
        self.in_flight -= 1
        if rejected:
            self.rejected += 1
        else:
            self.done += 1

    @property
    def ended(self) -> int:
        """Records that have ended, in any way."""
        return self.done + self.rejected + self.failed

    def __str__(self) -> str:
        return f"{self.done} done, {self.rejected} rejected, {self.failed} to be redelivered"


def starting_line(url: str, concurrency: int, visibility_timeout: int, dead_letter_queue_url: str) -> str:
    """Return the log line of a worker that starts."""
    dead_letters = (
        f"dead-letter queue {dead_letter_queue_url}"
        if dead_letter_queue_url
        else "no dead-letter queue: rejected messages are redelivered"
    )
    return f"polling {url}: concurrency {concurrency}, visibility timeout {visibility_timeout} s, {dead_letters}"


async def report(summary: Summary) -> None:
    """Log the progress every ten seconds, until cancelled."""
    before, before_at = Summary(), time.monotonic()
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        now, current = time.monotonic(), Summary(**asdict(summary))
        ended = current.ended - before.ended
        if ended or current.in_flight:
            rate = ended / (now - before_at)
            logger.info("%s, %d in flight, %.1f per second", current, current.in_flight, rate)
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
