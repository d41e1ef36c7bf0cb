"""Batches with message groups, the ids in a response, and handlers that count concurrency or ignore cancellation."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from fanfold import BatchResult
from fanfold.testing import make_event, make_fifo_record, make_record

FIFO_ARN = "arn:aws:sqs:eu-west-1:123456789012:orders.fifo"


def ids(result: Any) -> list[Any]:
    """Return the ids in a response, or in the response of a result."""
    response = getattr(result, "response", result)
    return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


def kinds(result: BatchResult) -> list[type]:
    return [type(outcome) for outcome in result.outcomes]


def grouped(*groups: str, queue_arn: str = FIFO_ARN, body: Callable[[int], Any] = int) -> dict[str, Any]:
    """Return a batch with one record per message group; ``body`` makes a body from the number of a record."""
    return make_event(
        records=[
            make_record(
                body(number), message_id=f"message-{number}", queue_arn=queue_arn, attributes={"MessageGroupId": group}
            )
            for number, group in enumerate(groups)
        ]
    )


def fifo_event(*entries: tuple[str, Any]) -> dict[str, Any]:
    """Return a batch of a FIFO queue from pairs of message group and body."""
    return make_event(
        records=[
            make_fifo_record(body, group=group, message_id=f"message-{number}")
            for number, (group, body) in enumerate(entries)
        ]
    )


class Gauge:
    """A handler that records the maximum number of concurrent calls."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0

    async def __call__(self, body: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1


async def swallow_until(release: asyncio.Event) -> None:
    """Wait like a handler that ignores cancellation."""
    while not release.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await release.wait()
