"""Messages that are in flight outside Lambda are kept hidden.

A heartbeat hides a message for the queue's visibility timeout, counted from now, each time a third of that is over. So
what is no longer held comes back after one visibility timeout at most.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import anyio

from fanfold._base import aws_limits
from fanfold._base.record import Record
from fanfold._ports.queue import Refusal, Settler
from fanfold.errors import FanfoldError

logger = logging.getLogger("fanfold.worker")

BEATS: Final = 3
"""Heartbeats in a visibility timeout."""
LAST_SECONDS: Final = 5
"""Kept clear of the longest time a message can be hidden: SQS counts it from a little before we do."""


class WorkerQueue(Protocol):
    """The queue a worker works on; see ``aws.sqs.SqsQueue``."""

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue."""
        ...

    @property
    def visibility_timeout(self) -> int:
        """Seconds a received message stays hidden."""
        ...

    async def receive_records(self, *, most: int, wait_seconds: float) -> Sequence[dict[str, Any]]:
        """Receive 1 to 10 messages as records, waiting up to ``wait_seconds`` for the first."""
        ...

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete 1 to 10 messages by their receipt handles; return what was refused."""
        ...

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Hide 1 to 10 messages for some whole seconds from now; return what was refused."""
        ...


class _Hold:
    __slots__ = ("beat", "done", "due_at", "record", "since")

    def __init__(self, record: Record, since: float, due_at: float) -> None:
        self.record = record
        self.since = since
        self.due_at = due_at
        self.beat: anyio.Event | None = None
        """Set when the heartbeat that is under way has ended; None if none is."""
        self.done = False
        """Whether it is to be deleted: a heartbeat that is then refused is no news."""


class Heartbeats:
    """The heartbeats of the messages in hand, by their receipt handles."""

    def __init__(self, queue: WorkerQueue, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._clock = clock
        self._every = queue.visibility_timeout / BEATS
        self._holds: dict[str, _Hold] = {}

    def take(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Hold messages that were just received."""
        now = self._clock()
        for record in records:
            self._holds[record["receiptHandle"]] = _Hold(Record(record), now, now + self._every)

    async def let_go(self, handles: Collection[str]) -> None:
        """End the heartbeats of messages, and wait for one that is under way: nothing changes their visibility after.

        What is set from then on stays: a heartbeat that came in later would overwrite it.
        """
        gone = [hold for handle in handles if (hold := self._holds.pop(handle, None)) is not None]
        for hold in gone:
            if hold.beat is not None:
                await hold.beat.wait()

    def done(self, handle: str) -> None:
        """Take note that a message is to be deleted; it is held until it is."""
        if hold := self._holds.get(handle):
            hold.done = True

    def forget(self, handle: str) -> None:
        """End the heartbeats of a message that was deleted."""
        self._holds.pop(handle, None)

    async def run(self) -> None:
        """Keep what is held hidden, until cancelled."""
        async with anyio.create_task_group() as calls:
            while True:
                for ten in _tens(self._due()):
                    beat = anyio.Event()
                    for hold in ten:
                        hold.beat = beat
                    calls.start_soon(self._beat, ten, beat)
                await anyio.sleep(min(1.0, self._every / 4))

    def _due(self) -> list[_Hold]:
        """Return what is due; with it, to fill up tens, what nearly is."""
        now = self._clock()
        idle = [hold for hold in self._holds.values() if hold.beat is None]
        if not any(hold.due_at <= now for hold in idle):
            return []
        due = [hold for hold in idle if hold.due_at <= now + self._every / 4]
        return [hold for hold in due if not self._given_up(hold, now)]

    def _given_up(self, hold: _Hold, now: float) -> bool:
        if self._seconds(hold, now) > 0:
            return False
        self._holds.pop(hold.record.receipt_handle, None)
        logger.warning(
            "message %s has been in hand for nearly 12 hours, the longest SQS hides one: it may be delivered again "
            "while it is worked on",
            hold.record.message_id,
        )
        return True

    async def _beat(self, holds: Sequence[_Hold], beat: anyio.Event) -> None:
        now = self._clock()
        try:
            changes = [(hold.record, max(1, self._seconds(hold, now))) for hold in holds]
            refused = {each.position: each for each in await self._queue.change_visibility(changes)}
        except FanfoldError as error:
            logger.warning("a heartbeat for %d messages failed; it is tried again: %s", len(holds), error)
            self._put_off(holds, self._every / 4)
        else:
            self._put_off([hold for position, hold in enumerate(holds) if position not in refused], self._every)
            for position, refusal in refused.items():
                self._refused(holds[position], refusal)
        finally:
            for hold in holds:
                hold.beat = None
            beat.set()

    def _seconds(self, hold: _Hold, now: float) -> int:
        left = aws_limits.SQS_MAX_VISIBILITY_SECONDS - LAST_SECONDS - (now - hold.since)
        return min(self._queue.visibility_timeout, math.floor(left))

    def _put_off(self, holds: Sequence[_Hold], seconds: float) -> None:
        due_at = self._clock() + seconds
        for hold in holds:
            hold.due_at = due_at

    def _refused(self, hold: _Hold, refusal: Refusal) -> None:
        if not refusal.final:
            logger.warning(
                "the heartbeat of message %s was refused; it is tried again: %s", hold.record.message_id, refusal.reason
            )
            self._put_off([hold], self._every / 4)
        elif self._holds.pop(hold.record.receipt_handle, None) is not None and not hold.done:
            logger.warning(
                "message %s is no longer ours, and may be delivered again while it is worked on: %s",
                hold.record.message_id,
                refusal.reason,
            )


class HeartbeatSettler:
    """A settler that lets go of a message before it changes its visibility: no heartbeat overwrites a delay."""

    def __init__(self, settler: Settler, heartbeats: Heartbeats) -> None:
        self._settler = settler
        self._heartbeats = heartbeats

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Hide messages, see ``Settler``; if that fails, they come back after their visibility timeout."""
        await self._heartbeats.let_go([record.receipt_handle for record, _ in changes])
        return await self._settler.change_visibility(changes)

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send messages to the dead-letter queue, see ``Settler``; they are held until they are deleted."""
        return await self._settler.send_dead_letters(rejects)


def _tens(items: Sequence[_Hold]) -> Iterator[Sequence[_Hold]]:
    for first in range(0, len(items), aws_limits.SQS_BATCH_ENTRIES):
        yield items[first : first + aws_limits.SQS_BATCH_ENTRIES]
