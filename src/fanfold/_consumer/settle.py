"""Settle records that did not succeed while others still run: send dead letters, and set delays on the source queue.

Each call settles up to 10 messages. If a call fails, no message is lost: it is reported in the batch response and
redelivered after its visibility timeout. Lambda does not change the visibility timeout of a reported message, so the
delays that are set here apply.
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

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._ports.queue import Settler

logger = logging.getLogger("fanfold")

_ENVELOPE_BYTES = 1_024
"""Size of the message attribute that holds the reason, without the reason itself."""

T = TypeVar("T")

OpenSettler: TypeAlias = Callable[[], Awaitable["Settler"]]
"""Returns the settler of this execution environment, which is opened when the first message has to be settled."""


def delay_of(outcome: Outcome, receive_count: int, backoff: Backoff | None) -> int | None:
    """Return the seconds until the next delivery as an integer; None for the queue's visibility timeout."""
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
    """Dead letters and delays of one batch."""

    def __init__(self, open_settler: OpenSettler, *, backoff: Backoff | None, dead_letters: bool) -> None:
        self._open = open_settler
        self._backoff = backoff
        self._dead_letters = dead_letters
        self._delays: deque[tuple[Record, int]] = deque()
        self._rejects: deque[tuple[int, Record, str]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.forwarded: set[int] = set()
        """Positions of rejected records that the dead-letter queue has accepted."""

    def add(self, position: int, record: Record, outcome: Outcome) -> int | None:
        """Settle a record that has ended, in the background, and return its delay; None if it has no delay."""
        if isinstance(outcome, Failed) and self._backoff is None:
            return None
        if isinstance(outcome, Rejected) and self._dead_letters:
            self._rejects.append((position, record, outcome.reason))
            self._start()
            return None
        delay = self.delay(record, outcome)
        if delay is not None:
            self.change_visibility(record, delay)
        return delay

    def delay(self, record: Record, outcome: Outcome) -> int | None:
        """Return the seconds until a record's next delivery as an integer; None for the queue's visibility timeout."""
        return delay_of(outcome, record.receive_count, self._backoff)

    def change_visibility(self, record: Record, seconds: int) -> None:
        """Set a message's visibility timeout to some seconds from now, in the background."""
        self._delays.append((record, seconds))
        self._start()

    async def finish(self, within_seconds: float | None) -> None:
        """Wait until all messages are settled, no longer than this; leave the others to their visibility timeout."""
        await self.wait(within_seconds)
        if self._task is not None and not self._task.done():
            logger.warning(
                "some messages could not be settled in time; they will be redelivered after their visibility timeout"
            )
            self._task.cancel()

    def stop(self) -> None:
        """Stop settling; messages that are not settled, or are added later, keep their visibility timeout."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def wait(self, within_seconds: float | None) -> None:
        """Wait until all messages that were added are settled, no longer than this."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=within_seconds)

    def _start(self) -> None:
        if not self._stopped and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._settle())

    async def _settle(self) -> None:
        await asyncio.sleep(0)  # records that end in the same iteration of the event loop share a call
        while self._delays or self._rejects:
            rejects, changes = _take_entries(self._rejects, _reject_bytes), _take_entries(self._delays, _change_bytes)
            if rejects:
                await self._attempt(
                    self._send_dead_letters,
                    rejects,
                    "rejected messages could not be sent to the dead-letter queue; they will be redelivered",
                )
            if changes:
                await self._attempt(
                    self._change_visibility,
                    changes,
                    "delays could not be set; the messages will be redelivered after their visibility timeout",
                )

    async def _attempt(
        self, settle: Callable[[Settler, list[T]], Awaitable[None]], messages: list[T], warning: str
    ) -> None:
        try:
            await settle(await self._open(), messages)
        except Exception as error:  # noqa: BLE001 - after any error, the messages are reported and redelivered
            logger.warning("%s: %s", warning, error if isinstance(error, FanfoldError) else repr(error))

    async def _send_dead_letters(self, settler: Settler, rejects: Sequence[tuple[int, Record, str]]) -> None:
        refusals = await settler.send_dead_letters([(record, reason) for _, record, reason in rejects])
        refused = {refusal.position: refusal.reason for refusal in refusals}
        accepted = set(range(len(rejects))) - refused.keys()
        self.forwarded.update(rejects[index][0] for index in accepted)
        for index, refusal_reason in refused.items():
            _, record, reason = rejects[index]
            logger.warning("the dead-letter queue refused message %s: %s", record.message_id, refusal_reason)
            if (delay := self.delay(record, Rejected(reason))) is not None:
                self._delays.append((record, delay))

    async def _change_visibility(self, settler: Settler, changes: Sequence[tuple[Record, int]]) -> None:
        while changes:
            refused = {refusal.position for refusal in await settler.change_visibility(changes)}
            # SQS limits the total visibility timeout to 12 hours and does not report how much of it is left.
            changes = [(record, seconds // 2) for index, (record, seconds) in enumerate(changes) if index in refused]
            changes = [(record, seconds) for record, seconds in changes if seconds]


def _take_entries(queue: deque[T], entry_bytes: Callable[[T], int]) -> list[T]:
    """Remove from a queue, and return, the entries that fit into one call: up to 10, and 1 MiB in total."""
    entries: list[T] = []
    total_bytes = 0
    while queue and len(entries) < aws_limits.SQS_BATCH_ENTRIES:
        total_bytes += entry_bytes(queue[0])
        if entries and total_bytes > aws_limits.SQS_BATCH_BYTES:
            break
        entries.append(queue.popleft())
    return entries


def _change_bytes(change: tuple[Record, int]) -> int:  # noqa: ARG001 - a receipt handle is small
    return 0


def _reject_bytes(reject: tuple[int, Record, str]) -> int:
    _, record, reason = reject
    attributes = sum(len(name) + len(str(value)) for name, value in record.message_attributes.items())
    return len(record.body.encode()) + 4 * (attributes + len(reason)) + _ENVELOPE_BYTES
