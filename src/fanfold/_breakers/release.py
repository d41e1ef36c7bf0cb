"""Make held messages visible again, in calls of ten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fanfold._base import aws_limits
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._ports.breakers import Held
from fanfold.errors import ServiceError

if TYPE_CHECKING:
    from fanfold._ports.queue import Settler

OpenSettler: TypeAlias = Callable[[], Awaitable["Settler"]]
"""Opens the settler that makes messages visible."""

_CALLS: Final = 5
"""Concurrent calls that make messages visible."""


class Released(NamedTuple):
    """The result of making messages visible."""

    accepted: int
    """Messages that were held until now."""
    are_all_settled: bool
    """False if a later attempt may make more of them visible."""


async def release(held: Iterable[Held], now: float, open_settler: OpenSettler, name: str) -> Released:
    """Make messages visible, except for those that are visible by now.

    Args:
        held: The messages.
        now: Current time, seconds since 1970.
        open_settler: Opens the settler.
        name: Name of the breaker, for the log.
    """
    changes = [(_record(message), 0) for message in held if message.until > now]
    if not changes:
        return Released(0, are_all_settled=True)
    settler = await open_settler()
    size = aws_limits.SQS_BATCH_ENTRIES
    accepted, are_all_settled = len(changes), True
    calls = [changes[first : first + size] for first in range(0, len(changes), size)]
    for first in range(0, len(calls), _CALLS):
        some = calls[first : first + _CALLS]
        results = await asyncio.gather(*map(settler.change_visibility, some), return_exceptions=True)
        for call, result in zip(some, results, strict=True):
            if isinstance(result, BaseException):
                logger.warning("breaker %r: messages could not be made visible: %s", name, result)
                accepted -= len(call)
                are_all_settled &= not (isinstance(result, ServiceError) and result.transient)
            else:
                accepted -= len(result)  # received, deleted or visible in the meantime
                are_all_settled &= all(refusal.final for refusal in result)
    return Released(accepted, are_all_settled=are_all_settled)


def _record(message: Held) -> Record:
    """Return a held message as far as a settler needs it to make it visible."""
    return Record(
        {
            "messageId": message.handle[:100],
            "receiptHandle": message.handle,
            "body": "",
            "eventSource": "aws:sqs",
            "eventSourceARN": message.queue,
        }
    )
