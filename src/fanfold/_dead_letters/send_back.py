"""Send chosen messages of a dead-letter queue back, at a bounded rate, and delete those that the target accepted.

A message is deleted only after the target has accepted it, so an interruption loses nothing, and a repeat continues. A
message whose deletion failed is sent twice, except to a FIFO queue within five minutes, whose deduplication drops it.

On a FIFO queue, messages of one group are sent one after another, and none after one that was refused, so their order
holds. The messages of a group that follow ten others that are not chosen cannot be read: SQS returns no more of a group
while some of it are in flight.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import anyio

from fanfold._base.aws_limits import SQS_BATCH_BYTES, SQS_BATCH_ENTRIES
from fanfold._base.dead_letter import original_of
from fanfold._base.record import Record
from fanfold._base.retry import Retries, Sleep
from fanfold._dead_letters.browse import HOLD_SECONDS, browsing
from fanfold._dead_letters.letters import Choice, Letter, letter_of
from fanfold._dead_letters.queues import DeadLetterQueue, Sent, TargetQueue
from fanfold._ports.queue import Refusal
from fanfold.errors import ServiceError

LEAST_RATE: Final = 0.1
"""Minimum messages per second: a message must be sent before it is visible again."""

BEHIND: Final = "it follows a message of its group that was refused"
"""Why a message of a FIFO queue was not sent."""


@dataclass(slots=True)
class SentBack:
    """The result so far."""

    sent: int = 0
    """Messages that a target accepted."""
    refused: dict[str, str] = field(default_factory=dict)
    """Reason by message id, for messages that a target refused, or that follow one in a FIFO group."""
    failed_again: int = 0
    """Messages that are in the dead-letter queue again after they were sent back; they stay there."""
    not_deleted: int = 0
    """Messages that were sent back, but could not be deleted: a repeat sends them again."""


async def look(queue: DeadLetterQueue, most: int) -> list[Letter]:
    """Return up to ``most`` messages of a queue, which are visible again afterwards."""
    async with browsing(queue) as browser:
        return [letter_of(record) async for records in browser.batches(most) for record in records]


async def send_back(  # noqa: PLR0913 - one option each, by keyword
    queue: DeadLetterQueue,
    target_of: Callable[[Letter], TargetQueue],
    choice: Choice,
    *,
    rate: float,
    most: int,
    sent_back: SentBack,
    progress: Callable[[int], object] = int,
    clock: Callable[[], float] = time.monotonic,
    sleep: Sleep = anyio.sleep,
) -> None:
    """Send the chosen messages back.

    Args:
        queue: The dead-letter queue.
        target_of: Returns the queue that a message goes to.
        choice: Which messages are sent.
        rate: Maximum number of messages per second, at least ``LEAST_RATE``.
        most: Maximum number of messages to read.
        sent_back: The result, which is updated as messages are sent.
        progress: Called with the number of messages sent so far.
        clock: Returns the time in seconds.
        sleep: Waits for some seconds.

    Raises:
        FanfoldError: If a service fails; what was not sent stays in the queue.
    """
    limit = _MaximumRate(rate, clock, sleep)
    new_ids: set[str] = set()
    blocked: set[str] = set()
    size = max(1, min(SQS_BATCH_ENTRIES, int(rate * HOLD_SECONDS / 4)))
    async with browsing(queue) as browser:
        async for records in browser.batches(most, size):
            chosen = []
            for record in records:
                letter = letter_of(record)
                if letter.original_id in new_ids:
                    sent_back.failed_again += 1
                elif choice.chooses(letter):
                    chosen.append((letter, record))
            for target, call in _calls(chosen, target_of):
                free = [(letter, record) for letter, record in call if letter.group not in blocked]
                sent_back.refused |= {letter.id: BEHIND for letter, _ in call if letter.group in blocked}
                await limit.wait(len(free))
                accepted: list[Record] = []
                try:
                    await _send(target, free, accepted, sent_back, blocked, new_ids, sleep)
                finally:  # also if the target fails after it has accepted some
                    browser.deleted(await _delete(queue, accepted, sent_back, sleep))
                progress(sent_back.sent)


Calls = Iterator[tuple[TargetQueue, list[tuple[Letter, Record]]]]


def _calls(chosen: Sequence[tuple[Letter, Record]], target_of: Callable[[Letter], TargetQueue]) -> Calls:
    """Yield the messages of each call: one target, at most 1 MiB, and of each FIFO group one message."""
    call: list[tuple[Letter, Record]] = []
    size = 0
    for letter, record in chosen:
        is_other = bool(call) and target_of(call[0][0]) is not target_of(letter)
        has_group = letter.group is not None and any(letter.group == other.group for other, _ in call)
        record_bytes = _bytes_of(record)
        if call and (is_other or has_group or size + record_bytes > SQS_BATCH_BYTES):
            yield target_of(call[0][0]), call
            call, size = [], 0
        call.append((letter, record))
        size += record_bytes
    if call:
        yield target_of(call[0][0]), call


def _bytes_of(record: Record) -> int:
    attributes = sum(_utf8_bytes(name) + _utf8_bytes(str(value)) for name, value in record.message_attributes.items())
    return _utf8_bytes(record.body) + 2 * attributes


def _utf8_bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


async def _send(
    target: TargetQueue,
    call: Sequence[tuple[Letter, Record]],
    accepted: list[Record],
    sent_back: SentBack,
    blocked: set[str],
    new_ids: set[str],
    sleep: Sleep,
) -> None:
    """Send messages, with retries of transient failures; add those that the target accepted to a list."""
    retries, pending = Retries(sleep=sleep), list(call)
    while pending:
        results = await _attempt(target, [original_of(record) for _, record in pending])
        refusals: list[tuple[Letter, Record, Refusal]] = []
        for (letter, record), result in zip(pending, results, strict=True):
            if isinstance(result, Refusal):
                refusals.append((letter, record, result))
            else:
                new_ids.add(result)
                accepted.append(record)
                sent_back.sent += 1
        pending = [(letter, record) for letter, record, refusal in refusals if not refusal.final]
        is_last = not pending or not await retries.wait()
        sent_back.refused |= {letter.id: refusal.reason for letter, _, refusal in refusals if refusal.final or is_last}
        if is_last:
            break
    blocked |= {letter.group for letter, _ in call if letter.id in sent_back.refused and letter.group}


async def _attempt(target: TargetQueue, records: Sequence[Record]) -> Sequence[Sent]:
    try:
        return await target.resend(records)
    except ServiceError as error:
        if not error.transient:
            raise
        return [Refusal(position, str(error), final=False) for position in range(len(records))]


async def _delete(
    queue: DeadLetterQueue, records: Sequence[Record], sent_back: SentBack, sleep: Sleep
) -> Sequence[Record]:
    """Delete messages, with retries of transient failures; return those that were deleted."""
    retries, left = Retries(sleep=sleep), list(records)
    while left:
        try:
            refusals = await queue.delete([record.receipt_handle for record in left])
            left = [left[refusal.position] for refusal in refusals]
            is_final = all(refusal.final for refusal in refusals)
        except ServiceError as error:
            is_final = not error.transient
        if left and (is_final or not await retries.wait()):
            break
    sent_back.not_deleted += len(left)
    return [record for record in records if record not in left]


class _MaximumRate:
    """A maximum rate."""

    def __init__(self, rate: float, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._next_at = clock()

    async def wait(self, messages: int) -> None:
        """Wait until so many messages may be sent."""
        now = self._clock()
        if self._next_at > now:
            await self._sleep(self._next_at - now)
        self._next_at = max(self._next_at, now) + messages / self._rate
