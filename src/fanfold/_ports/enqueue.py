"""Many messages to a queue: in batches as large as SQS takes, several at once, each sent until it is accepted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import anyio

from fanfold._base import aws_limits
from fanfold._base.retry import Retries, Sleep
from fanfold._ports.queue import Message, Queue
from fanfold.errors import EnqueueError, FanfoldError, ServiceError

CONCURRENCY: Final = 16
"""Calls in flight at once."""

Reached: TypeAlias = Callable[[int], Awaitable[None]]
"""Told how many of the first messages have been accepted."""


def batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Yield the messages in order, in batches of at most 10 and at most 1 MiB in total.

    Raises:
        EnqueueError: If one message alone is larger than SQS takes.
    """
    batch: list[Message] = []
    batch_bytes = 0
    for position, message in enumerate(messages):
        size = message.size_bytes
        if size > aws_limits.SQS_MESSAGE_BYTES:
            reason = f"{size} bytes, where SQS takes {aws_limits.SQS_MESSAGE_BYTES}"
            raise EnqueueError(f"message {position} is too large: {reason}", rejected=[(position, reason)])
        if len(batch) == aws_limits.SQS_BATCH_ENTRIES or batch_bytes + size > aws_limits.SQS_BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
        batch.append(message)
        batch_bytes += size
    if batch:
        yield batch


async def enqueue(
    queue: Queue,
    messages: Iterable[Message],
    *,
    concurrency: int = CONCURRENCY,
    on_accepted: Reached | None = None,
    should_stop: Callable[[], bool] | None = None,
    sleep: Sleep = anyio.sleep,
) -> int:
    """Send messages, drawn lazily, and return how many of the first ones have been accepted without a gap.

    Entries that the queue did not accept are sent again, after the usual delays (``_base.retry.SCHEDULE``), up to 8
    times in all, unless the fault is the sender's. A message may be sent twice: a call that failed may have been
    accepted.

    Args:
        queue: Where to.
        messages: What; drawn as they can be sent, never more than ``concurrency`` batches and a message ahead.
        concurrency: Calls in flight at once, from 1.
        on_accepted: Called, again and again, with how many of the first messages have been accepted by then.
        should_stop: Tells, before each batch, whether to stop; what is in flight is still awaited. None to never.
        sleep: What waits between attempts.

    Returns:
        The number of all messages, unless ``should_stop`` stopped it.

    Raises:
        EnqueueError: If messages were not accepted after every attempt; ``rejected`` holds them, and no later ones
            have been offered but those that were in flight.
        FanfoldError: If the queue is not there, or whatever ``on_accepted`` raises.
        ValueError: If concurrency is below 1.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency starts at 1, not {concurrency}")
    sending = _Sending(queue, batches(messages), on_accepted, should_stop, sleep)
    async with anyio.create_task_group() as tasks:
        for _ in range(concurrency):
            tasks.start_soon(sending.work)
    if sending.error is not None:
        raise sending.error
    if failures := sorted(sending.failures):
        position, reason = failures[0]
        raise EnqueueError(
            f"{len(failures)} messages were not accepted by the queue, the first is number {position}: {reason}",
            rejected=failures,
        )
    return sending.accepted


class _Sending:
    """What the workers that send share: one iterator of batches, and what became of them."""

    def __init__(
        self,
        queue: Queue,
        drawn: Iterator[list[Message]],
        on_accepted: Reached | None,
        should_stop: Callable[[], bool] | None,
        sleep: Sleep,
    ) -> None:
        self.accepted = 0
        """How many of the first messages have been accepted without a gap."""
        self.failures: list[tuple[int, str]] = []
        """Position and reason of what was not."""
        self.error: FanfoldError | None = None
        """What ended it; the first of several."""
        self._queue = queue
        self._batches = drawn
        self._on_accepted = on_accepted
        self._should_stop = should_stop
        self._sleep = sleep
        self._drawn = 0
        self._ahead: dict[int, int] = {}

    async def work(self) -> None:
        """Send batches until there are none, or one failed."""
        try:
            while (batch := self._draw()) is not None:
                first = self._drawn
                self._drawn += len(batch)
                failures = await _send_all(self._queue, batch, first, self._sleep)
                self.failures += failures
                if not failures and self._advance(first, first + len(batch)) and self._on_accepted is not None:
                    await self._on_accepted(self.accepted)
        except FanfoldError as error:
            self.error = self.error or error

    def _draw(self) -> list[Message] | None:
        if self.failures or self.error or (self._should_stop is not None and self._should_stop()):
            return None
        return next(self._batches, None)

    def _advance(self, first: int, after: int) -> bool:
        """Take note of an accepted batch; tell whether what has been accepted without a gap is more now."""
        self._ahead[first] = after
        before = self.accepted
        while (after := self._ahead.pop(self.accepted, -1)) >= 0:
            self.accepted = after
        return self.accepted > before


async def _send_all(queue: Queue, batch: Sequence[Message], first: int, sleep: Sleep) -> list[tuple[int, str]]:
    """Send a batch until it is accepted; return position and reason of what is not in the end."""
    waiting = list(enumerate(batch, first))
    failures: list[tuple[int, str]] = []
    reasons: dict[int, str] = {}
    retries = Retries(sleep=sleep)
    while True:
        try:
            refused = await queue.send([message for _, message in waiting])
        except ServiceError as error:
            reasons.update((position, str(error)) for position, _ in waiting)
            if not error.transient:
                break
        else:
            reasons = {waiting[failure.position][0]: failure.reason for failure in refused}
            final = {failure.position for failure in refused if failure.final}
            failures += [(waiting[position][0], reasons[waiting[position][0]]) for position in final]
            waiting = [waiting[failure.position] for failure in refused if not failure.final]
        if not waiting or not await retries.wait():
            break
    return failures + [(position, reasons[position]) for position, _ in waiting]
