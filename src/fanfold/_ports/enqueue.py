"""Send many messages to a queue: in batches of the maximum size, concurrently, with retries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import anyio

from fanfold._base import aws_limits
from fanfold._base.retry import Retries, Sleep
from fanfold._ports.queue import Message, Queue
from fanfold.errors import EnqueueError, FanfoldError, ServiceError

CONCURRENCY: Final = 16
"""Concurrent calls."""

OnAccepted: TypeAlias = Callable[[int], Awaitable[None]]
"""Called with the number of messages that have been accepted without a gap, from the first one."""


def batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Yield the messages in order, in batches of at most 10 and at most 1 MiB in total.

    Raises:
        EnqueueError: If a message is larger than the SQS limit.
    """
    batch: list[Message] = []
    batch_bytes = 0
    for position, message in enumerate(messages):
        size = message.size_bytes
        if size > aws_limits.SQS_MESSAGE_BYTES:
            reason = f"{size} bytes, over the SQS limit of {aws_limits.SQS_MESSAGE_BYTES}"
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
    on_accepted: OnAccepted | None = None,
    should_stop: Callable[[], bool] | None = None,
    sleep: Sleep = anyio.sleep,
) -> int:
    """Send messages, read lazily, and return how many have been accepted without a gap, from the first one.

    Entries that the queue did not accept are retried with the default delays (``_base.retry.SCHEDULE``), up to 8
    attempts, unless the sender caused the error. A message may be sent twice, because SQS may have accepted the
    messages of a failed call.

    Args:
        queue: The queue.
        messages: The messages; at most ``concurrency`` batches and one message are read ahead.
        concurrency: Concurrent calls, from 1.
        on_accepted: Called repeatedly with the number of messages that have been accepted without a gap.
        should_stop: Called before each batch; if it returns true, no more batches are sent, and the calls in flight
            are awaited. None to send all messages.
        sleep: Waits between attempts.

    Returns:
        The number of all messages, unless ``should_stop`` stopped the sending.

    Raises:
        EnqueueError: If messages were not accepted after all attempts. They are in ``rejected``; of the later batches,
            only those in flight have been sent.
        FanfoldError: If the queue does not exist, or ``on_accepted`` raises it.
        ValueError: If concurrency is below 1.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
    sending = _Sending(queue, batches(messages), on_accepted, should_stop, sleep)
    async with anyio.create_task_group() as tasks:
        for _ in range(concurrency):
            tasks.start_soon(sending.work)
    if sending.error is not None:
        raise sending.error
    if failures := sorted(sending.failures):
        position, reason = failures[0]
        raise EnqueueError(
            f"the queue did not accept {len(failures)} messages; the first is message {position}: {reason}",
            rejected=failures,
        )
    return sending.accepted


class _Sending:
    """The state that the sending workers share: one iterator of batches, and their results."""

    def __init__(
        self,
        queue: Queue,
        remaining: Iterator[list[Message]],
        on_accepted: OnAccepted | None,
        should_stop: Callable[[], bool] | None,
        sleep: Sleep,
    ) -> None:
        self.accepted = 0
        """Number of messages that have been accepted without a gap, from the first one."""
        self.failures: list[tuple[int, str]] = []
        """Position and reason of each message that was not accepted."""
        self.error: FanfoldError | None = None
        """The first error that stopped the sending."""
        self._queue = queue
        self._batches = remaining
        self._on_accepted = on_accepted
        self._should_stop = should_stop
        self._sleep = sleep
        self._read = 0
        self._ahead: dict[int, int] = {}

    async def work(self) -> None:
        """Send batches until none is left or one has failed."""
        try:
            while (batch := self._next_batch()) is not None:
                first = self._read
                self._read += len(batch)
                failures = await _send_all(self._queue, batch, first, self._sleep)
                self.failures += failures
                if not failures and self._advance(first, first + len(batch)) and self._on_accepted is not None:
                    await self._on_accepted(self.accepted)
        except FanfoldError as error:
            self.error = self.error or error

    def _next_batch(self) -> list[Message] | None:
        if self.failures or self.error or (self._should_stop is not None and self._should_stop()):
            return None
        return next(self._batches, None)

    def _advance(self, first: int, after: int) -> bool:
        """Record an accepted batch; return whether the number accepted without a gap has grown."""
        self._ahead[first] = after
        before = self.accepted
        while (after := self._ahead.pop(self.accepted, -1)) >= 0:
            self.accepted = after
        return self.accepted > before


async def _send_all(queue: Queue, batch: Sequence[Message], first: int, sleep: Sleep) -> list[tuple[int, str]]:
    """Send a batch with retries; return the position and the reason of each message that was not accepted."""
    pending = list(enumerate(batch, first))
    failures: list[tuple[int, str]] = []
    reasons: dict[int, str] = {}
    retries = Retries(sleep=sleep)
    while True:
        try:
            refused = await queue.send([message for _, message in pending])
        except ServiceError as error:
            reasons.update((position, str(error)) for position, _ in pending)
            if not error.transient:
                break
        else:
            reasons = {pending[failure.position][0]: failure.reason for failure in refused}
            final = {failure.position for failure in refused if failure.final}
            failures += [(pending[position][0], reasons[pending[position][0]]) for position in final]
            pending = [pending[failure.position] for failure in refused if not failure.final]
        if not pending or not await retries.wait():
            break
    return failures + [(position, reasons[position]) for position, _ in pending]
