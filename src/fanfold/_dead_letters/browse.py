"""Read the messages of a queue once each. In the end, all that were not deleted are visible again immediately."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from fanfold._base.aws_limits import SQS_BATCH_ENTRIES
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._dead_letters.queues import DeadLetterQueue
from fanfold.errors import FanfoldError

HOLD_SECONDS: Final = 120
"""Visibility timeout of messages while others are read. If the process is killed, they are visible after it."""
WAIT_SECONDS: Final = 1
"""Long polling asks all servers of SQS: a short poll may return no message although there are some."""
_REPEATED_RECEIVES: Final = 5
"""Receives in a row with only known messages after which all are known."""


class Browser:
    """One pass over the messages of a queue."""

    def __init__(self, queue: DeadLetterQueue) -> None:
        self._queue = queue
        self._invisible: dict[str, Record] = {}
        self._seen: set[str] = set()

    async def batches(self, most: int, size: int = SQS_BATCH_ENTRIES) -> AsyncIterator[Sequence[Record]]:
        """Yield the messages, each once, up to ``size`` at a time; stop after ``most`` messages or when all are known.

        They stay invisible until they are deleted, or the pass ends.
        """
        repeated = 0
        while len(self._seen) < most and repeated < _REPEATED_RECEIVES:
            raws = await self._queue.receive_records(max_messages=size, wait_seconds=WAIT_SECONDS)
            records = [Record(raw) for raw in raws]
            if not records:
                return
            self._invisible |= {record.message_id: record for record in records}
            await self._queue.change_visibility([(record, HOLD_SECONDS) for record in records])
            fresh = [record for record in records if record.message_id not in self._seen]
            self._seen |= {record.message_id for record in fresh}
            repeated = 0 if fresh else repeated + 1
            if fresh:
                yield fresh

    def deleted(self, records: Iterable[Record]) -> None:
        """Note that messages have been deleted."""
        for record in records:
            self._invisible.pop(record.message_id, None)

    async def release(self) -> None:
        """Make all messages visible again; one that cannot be is visible after its visibility timeout."""
        records = list(self._invisible.values())
        self._invisible.clear()
        for first in range(0, len(records), SQS_BATCH_ENTRIES):
            changes = [(record, 0) for record in records[first : first + SQS_BATCH_ENTRIES]]
            try:
                await self._queue.change_visibility(changes)
            except FanfoldError as error:
                logger.warning("messages are invisible for up to %d s: %s", HOLD_SECONDS, error)


@asynccontextmanager
async def browsing(queue: DeadLetterQueue) -> AsyncIterator[Browser]:
    """Yield a pass over a queue; make its messages visible again at the end, also after an interruption."""
    browser = Browser(queue)
    try:
        yield browser
    finally:
        with anyio.CancelScope(shield=True):
            await browser.release()
