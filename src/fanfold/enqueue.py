"""Many messages to a queue: in batches as large as SQS takes, several at once, each sent until it is accepted."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final

import anyio

from fanfold import limits
from fanfold.errors import EnqueueError, FanfoldError, ServiceError
from fanfold.protocols import Message, Queue

__all__ = ["batches", "enqueue"]

CONCURRENCY: Final = 16
"""Calls in flight at once."""
ATTEMPTS: Final = 8
"""How often a message is offered before it counts as rejected."""
_BASE_SECONDS = 0.1
_CAP_SECONDS = 5.0

Sleep = Callable[[float], Awaitable[None]]


def batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Yield the messages in order, in batches of at most 10 and at most 1 MiB in total.

    Raises:
        EnqueueError: If one message alone is larger than SQS takes.
    """
    batch: list[Message] = []
    batch_bytes = 0
    for position, message in enumerate(messages):
        size = message.size_bytes
        if size > limits.SQS_MESSAGE_BYTES:
            reason = f"{size} bytes, where SQS takes {limits.SQS_MESSAGE_BYTES}"
            raise EnqueueError(f"message {position} is too large: {reason}", rejected=[(position, reason)])
        if len(batch) == limits.SQS_BATCH_ENTRIES or batch_bytes + size > limits.SQS_BATCH_BYTES:
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
    sleep: Sleep = anyio.sleep,
) -> AsyncIterator[int]:
    """Send messages, drawn lazily, and yield how many of the first ones have been accepted without a gap.

    Entries that the queue did not accept are sent again, with growing, jittered delays, up to 8 times in all, unless
    the fault is the sender's. A message may be sent twice: a call that failed may have been accepted.

    Args:
        queue: Where to.
        messages: What; drawn as they can be sent, never more than ``concurrency`` batches ahead.
        concurrency: Calls in flight at once, from 1.
        sleep: What waits between attempts.

    Raises:
        EnqueueError: If messages were not accepted after every attempt; ``rejected`` holds them, and no later ones
            have been offered.
        ValueError: If concurrency is below 1.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency starts at 1, not {concurrency}")
    window = batches(messages)
    accepted = 0
    while group := list(itertools.islice(window, concurrency)):
        failures: list[tuple[int, str]] = []
        first = accepted
        try:
            async with anyio.create_task_group() as tasks:
                for batch in group:
                    tasks.start_soon(_send_all, queue, batch, first, failures, sleep)
                    first += len(batch)
        except* FanfoldError as errors:  # all calls fail alike: one of them says it
            raise _first_of(errors) from None
        if failures:
            position, reason = min(failures)
            raise EnqueueError(
                f"{len(failures)} messages were not accepted by the queue, the first is number {position}: {reason}",
                rejected=sorted(failures),
            )
        accepted = first
        yield accepted


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _send_all(
    queue: Queue, batch: Sequence[Message], first: int, failures: list[tuple[int, str]], sleep: Sleep
) -> None:
    waiting = list(enumerate(batch, first))
    reasons: dict[int, str] = {}
    for attempt in range(ATTEMPTS):
        if attempt:
            await sleep(random.uniform(0, min(_CAP_SECONDS, _BASE_SECONDS * 2**attempt)))  # noqa: S311 - jitter
        try:
            refused = await queue.send([message for _, message in waiting])
        except ServiceError as error:
            reasons.update((position, str(error)) for position, _ in waiting)
            if not error.transient:
                break
            continue
        reasons = {waiting[failure.position][0]: failure.reason for failure in refused}
        final = {failure.position for failure in refused if failure.sender_fault}
        if final:
            failures += [(waiting[position][0], reasons[waiting[position][0]]) for position in final]
        waiting = [waiting[failure.position] for failure in refused if not failure.sender_fault]
        if not waiting:
            return
    failures += [(position, reasons[position]) for position, _ in waiting]
