"""Messages in hand, outside Lambda: kept hidden as long as they are, deleted when they are done.

A heartbeat hides a message for the queue's visibility timeout, counted from now, each time a third of that is over. So
what is no longer held comes back after one visibility timeout at most.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import anyio

from fanfold._base import aws_limits
from fanfold._base.record import Record
from fanfold._base.retry import ENDLESS, Retries
from fanfold._ports.queue import Refusal, Settler
from fanfold.errors import FanfoldError, ServiceError

__all__ = ["Acknowledging", "Holding", "HoldingSettler", "Port"]

logger = logging.getLogger("fanfold.worker")

BEATS: Final = 3
"""Heartbeats in a visibility timeout."""
LAST_SECONDS: Final = 5
"""Kept clear of the longest time a message can be hidden: SQS counts it from a little before we do."""
LINGER_SECONDS: Final = 0.1
"""How long an acknowledgement waits for nine others."""
CALLS: Final = 4
"""Deletions in flight at once, in tens."""

T = TypeVar("T")


class Port(Protocol):
    """What holding messages asks of their queue; see ``aws.sqs.SqsQueue``."""

    @property
    def visibility_timeout(self) -> int:
        """Seconds a received message stays hidden."""
        ...

    async def delete(self, handles: Sequence[str]) -> Sequence[Refusal]:
        """Delete 1 to 10 messages by their receipt handles; return what was refused."""
        ...

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
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


class Holding:
    """The heartbeats of the messages in hand, by their receipt handles."""

    def __init__(self, queue: Port, clock: Callable[[], float] = time.monotonic) -> None:
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
            refused = {each.position: each for each in await self._queue.hide(changes)}
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


class HoldingSettler:
    """A settler that lets go of a message before it changes its visibility: no heartbeat overwrites a delay."""

    def __init__(self, settler: Settler, holding: Holding) -> None:
        self._settler = settler
        self._holding = holding

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Hide messages, see ``Settler``; if that fails, they come back after their visibility timeout."""
        await self._holding.let_go([record.receipt_handle for record, _ in changes])
        return await self._settler.hide(changes)

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        """Send messages to the dead-letter queue, see ``Settler``; they are held until they are deleted."""
        return await self._settler.bury(rejects)


class Acknowledging:
    """Deletes what is done, in tens, until SQS has."""

    def __init__(self, queue: Port, holding: Holding) -> None:
        self._queue = queue
        self._holding = holding
        self._waiting: deque[str] = deque()
        self._deleting = 0
        self._changed = anyio.Event()

    @property
    def pending(self) -> int:
        """Messages that are done and not deleted."""
        return len(self._waiting) + self._deleting

    def add(self, handle: str) -> None:
        """Have a message deleted."""
        self._holding.done(handle)
        self._waiting.append(handle)
        self._change()

    async def below(self, bound: int) -> None:
        """Wait until fewer than so many messages are pending."""
        while self.pending >= bound:
            await self._changed.wait()

    async def run(self) -> None:
        """Delete what is added, until cancelled.

        Raises:
            ConfigurationError: If messages may not be deleted any more: all that is done would be done again.
        """
        places = anyio.Semaphore(CALLS)
        async with anyio.create_task_group() as calls:
            while True:
                while not self._waiting:
                    await self._changed.wait()
                await self._linger()
                await places.acquire()
                ten = [self._waiting.popleft() for _ in range(min(len(self._waiting), aws_limits.SQS_BATCH_ENTRIES))]
                self._deleting += len(ten)
                calls.start_soon(self._delete, ten, places)

    async def _linger(self) -> None:
        with anyio.move_on_after(LINGER_SECONDS):
            while len(self._waiting) < aws_limits.SQS_BATCH_ENTRIES:
                await self._changed.wait()

    async def _delete(self, handles: Sequence[str], places: anyio.Semaphore) -> None:
        waiting, retries = list(handles), Retries(ENDLESS)
        while waiting:
            left = await self._attempt(waiting)
            for handle in set(waiting).difference(left):
                self._holding.forget(handle)
            self._deleting -= len(waiting) - len(left)
            self._change()
            waiting = left
            if waiting:
                await retries.wait()
        places.release()

    async def _attempt(self, handles: Sequence[str]) -> list[str]:
        """Return what has to be tried again."""
        try:
            refused = await self._queue.delete(handles)
        except ServiceError as error:
            logger.warning("deleting %d messages failed; it is tried again: %s", len(handles), error)
            return list(handles)
        for refusal in refused:
            if refusal.final:
                logger.warning("a message that is done may come back: deleting it was refused: %s", refusal.reason)
        return [handles[refusal.position] for refusal in refused if not refusal.final]

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


def _tens(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), aws_limits.SQS_BATCH_ENTRIES):
        yield items[first : first + aws_limits.SQS_BATCH_ENTRIES]
