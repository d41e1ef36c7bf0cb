"""What failed is handed back while others still run: rejects to the dead-letter queue, delays to the source queue.

Ten at a time. A settling that fails changes nothing for the worse: the message is reported, and comes back when its
visibility timeout is over. Lambda leaves the visibility of a reported message alone, so a change made here holds.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from fanfold._base import aws_limits
from fanfold._base.backoff import Backoff
from fanfold._base.outcome import Failed, Outcome, Rejected, Retrying
from fanfold._base.record import Record
from fanfold.errors import FanfoldError

if TYPE_CHECKING:  # a cold start pays for what it uses
    from fanfold._ports.queue import Settler

logger = logging.getLogger("fanfold")

_ENVELOPE_BYTES = 1_024
"""What the attribute with the reason needs besides the reason."""

T = TypeVar("T")

OpenSettler: TypeAlias = Callable[[], Awaitable["Settler"]]
"""Gives the settler of this execution environment; opened when something has to be settled for the first time."""


def delay_of(outcome: Outcome, receive_count: int, backoff: Backoff | None) -> int | None:
    """Return the whole seconds until the next delivery; None for the queue's visibility timeout."""
    if isinstance(outcome, Retrying) and outcome.after is not None:
        seconds = outcome.after
    elif isinstance(outcome, Failed | Retrying | Rejected) and backoff is not None:
        seconds = backoff.next_delay(receive_count)
    else:
        return None
    if math.isnan(seconds):
        return None
    return math.ceil(min(max(seconds, 0), aws_limits.SQS_MAX_VISIBILITY_SECONDS))


class Settling:
    """The settling of one batch."""

    def __init__(self, open_settler: OpenSettler, *, backoff: Backoff | None, dead_letters: bool) -> None:
        self._open = open_settler
        self._backoff = backoff
        self._dead_letters = dead_letters
        self._hiding: deque[tuple[Record, int]] = deque()
        self._burying: deque[tuple[int, Record, str]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.buried: set[int] = set()
        """Positions of rejected records that the dead-letter queue has accepted."""

    def add(self, position: int, record: Record, outcome: Outcome) -> int | None:
        """Settle a record that has ended, in the background; return its delay, if it has one."""
        if isinstance(outcome, Failed) and self._backoff is None:
            return None
        if isinstance(outcome, Rejected) and self._dead_letters:
            self._burying.append((position, record, outcome.reason))
            self._turn()
            return None
        delay = self.delay(record, outcome)
        if delay is not None:
            self.change_visibility(record, delay)
        return delay

    def delay(self, record: Record, outcome: Outcome) -> int | None:
        """Return the whole seconds until a record's next delivery; None for the queue's visibility timeout."""
        return delay_of(outcome, record.receive_count, self._backoff)

    def change_visibility(self, record: Record, seconds: int) -> None:
        """Hide a message for some seconds from now, in the background."""
        self._hiding.append((record, seconds))
        self._turn()

    async def finish(self, within_seconds: float | None) -> None:
        """Wait until all that was added is settled, at most this long; what is not, is left to its timeout."""
        await self.settled(within_seconds)
        if self._task is not None and not self._task.done():
            logger.warning("some messages could not be settled in time; they come back after their visibility timeout")
            self._task.cancel()

    def stop(self) -> None:
        """Give up what is not settled yet; a message that is added from now on is not hurried back."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def settled(self, within_seconds: float | None) -> None:
        """Wait until all that was added is settled, at most this long."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=within_seconds)

    def _turn(self) -> None:
        if not self._stopped and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._settle())

    async def _settle(self) -> None:
        await asyncio.sleep(0)  # what ends in the same turn of the loop goes in the same call
        while self._hiding or self._burying:
            rejects, changes = _take(self._burying, _size_of), _take(self._hiding, _no_size)
            if rejects:
                await self._attempt(
                    self._send_dead_letters, rejects, "rejected messages could not be forwarded; they come back"
                )
            if changes:
                await self._attempt(
                    self._change_visibility,
                    changes,
                    "delays could not be set; messages come back after the visibility timeout",
                )

    async def _attempt(
        self, hand_back: Callable[[Settler, list[T]], Awaitable[None]], messages: list[T], otherwise: str
    ) -> None:
        try:
            await hand_back(await self._open(), messages)
        except Exception as error:  # noqa: BLE001 - whatever it is, the messages are reported and come back
            logger.warning("%s: %s", otherwise, error if isinstance(error, FanfoldError) else repr(error))

    async def _send_dead_letters(self, settler: Settler, rejects: Sequence[tuple[int, Record, str]]) -> None:
        refusals = await settler.send_dead_letters([(record, reason) for _, record, reason in rejects])
        refused = {refusal.position: refusal.reason for refusal in refusals}
        accepted = set(range(len(rejects))) - refused.keys()
        self.buried.update(rejects[index][0] for index in accepted)
        for index, reason in refused.items():
            _, record, why = rejects[index]
            logger.warning("the dead-letter queue refused message %s: %s", record.message_id, reason)
            if (delay := self.delay(record, Rejected(why))) is not None:
                self._hiding.append((record, delay))

    async def _change_visibility(self, settler: Settler, changes: Sequence[tuple[Record, int]]) -> None:
        while changes:
            refused = {refusal.position for refusal in await settler.change_visibility(changes)}
            # Twelve hours in all is SQS's limit; how many are left of it only a try tells.
            changes = [(record, seconds // 2) for index, (record, seconds) in enumerate(changes) if index in refused]
            changes = [(record, seconds) for record, seconds in changes if seconds]


def _take(queue: deque[T], size_of: Callable[[T], int]) -> list[T]:
    """Take from a queue what fits into one call: ten, and 1 MiB in total."""
    taken: list[T] = []
    taken_bytes = 0
    while queue and len(taken) < aws_limits.SQS_BATCH_ENTRIES:
        taken_bytes += size_of(queue[0])
        if taken and taken_bytes > aws_limits.SQS_BATCH_BYTES:
            break
        taken.append(queue.popleft())
    return taken


def _no_size(change: tuple[Record, int]) -> int:  # noqa: ARG001 - a receipt handle is small
    return 0


def _size_of(reject: tuple[int, Record, str]) -> int:
    _, record, reason = reject
    attributes = sum(len(name) + len(str(value)) for name, value in record.message_attributes.items())
    return len(record.body.encode()) + 4 * (attributes + len(reason)) + _ENVELOPE_BYTES
