"""Batches of message groups, what a response reports, and handlers: counted, or not minding to be cancelled."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from fanfold import BatchResult
from fanfold.testing import make_event, make_fifo_record, make_record

FIFO_ARN = "arn:aws:sqs:eu-west-1:123456789012:orders.fifo"


def ids(result: Any) -> list[Any]:
    """Return the ids that a response, or the response of a result, reports."""
    response = getattr(result, "response", result)
    return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


def kinds(result: BatchResult) -> list[type]:
    return [type(outcome) for outcome in result.outcomes]


def grouped(*groups: str, queue_arn: str = FIFO_ARN, body: Callable[[int], Any] = int) -> dict[str, Any]:
    """Return a batch of one record for each message group named; a body is made of its record's number."""
    return make_event(
        records=[
            make_record(
                body(number), message_id=f"message-{number}", queue_arn=queue_arn, attributes={"MessageGroupId": group}
            )
            for number, group in enumerate(groups)
        ]
    )


def fifo_event(*entries: tuple[str, Any]) -> dict[str, Any]:
    """Return a batch of a FIFO queue from message groups and bodies."""
    return make_event(
        records=[
            make_fifo_record(body, group=group, message_id=f"message-{at}") for at, (group, body) in enumerate(entries)
        ]
    )


class Gauge:
    """A handler that counts how many of it run at once."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0

    async def __call__(self, body: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1


async def swallow_until(release: asyncio.Event) -> None:
    """Wait as a handler does that does not mind being cancelled."""
    while not release.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await release.wait()
