"""Making held messages visible: those of a circuit that was closed, or one as the probe."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import anyio

from fanfold._base import aws_limits
from fanfold._base.backoff import random_share
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._base.retry import Retries, Sleep
from fanfold._breakers.shared_table import SharedTable
from fanfold._ports.breakers import Circuit, Held
from fanfold.errors import ServiceError

if TYPE_CHECKING:
    from fanfold._ports.queue import Settler

OpenSettler: TypeAlias = Callable[[], Awaitable["Settler"]]

PAGES: Final = 10
"""Pages that are read together."""
_CALLS: Final = 5
"""Concurrent calls of the queue."""


class Visible(NamedTuple):
    """The result of making messages visible."""

    visible: int
    """Messages that were held until now."""
    are_left: bool
    """True if a later attempt may make more of them visible."""


class Releases:
    """Makes the messages of one breaker visible.

    Args:
        name: Name of the breaker.
        table: Its table.
        open_settler: Opens what changes visibility timeouts.
        now: Returns the time, in seconds since 1970.
    """

    def __init__(self, name: str, table: SharedTable, open_settler: OpenSettler, now: Callable[[], float]) -> None:
        self._name = name
        self._table = table
        self._open_settler = open_settler
        self._now = now
        self.count: int = 0
        """Messages that were made visible so far."""

    async def pages(self, first: int, last: int, circuit: Circuit) -> bool:
        """Make the messages of pages visible, and note that in the table; return False if some of them are left."""
        numbers = range(first, last + 1)
        pages = await asyncio.gather(*(self._table.page(number, circuit) for number in numbers))
        if (await self.messages([message for page in pages for message in page])).are_left:
            return False
        await asyncio.gather(*(self._table.released(number, circuit) for number in numbers))
        return True

    async def messages(self, held: Iterable[Held]) -> Visible:
        """Make messages visible. A failing call leaves its messages held."""
        now = self._now()
        # The others are visible again, and may have been received: SQS may still accept their handles.
        waiting = sorted((message for message in held if message.until > now), key=lambda message: message.queue)
        if not waiting:
            return Visible(0, are_left=False)
        settler, size, visible = await self._open_settler(), aws_limits.SQS_BATCH_ENTRIES, 0
        are_left = False
        calls = [waiting[first : first + size] for first in range(0, len(waiting), size)]
        for first in range(0, len(calls), _CALLS):
            some = (make_visible(settler, call) for call in calls[first : first + _CALLS])
            for result in await asyncio.gather(*some, return_exceptions=True):
                if isinstance(result, BaseException):
                    logger.warning("breaker %r: messages could not be made visible: %s", self._name, result)
                    are_left |= isinstance(result, ServiceError) and result.transient
                else:
                    visible += result
        self.count += visible
        return Visible(visible, are_left=are_left)

    async def one_probe(self, circuit: Circuit, fewest_receives: int) -> int:
        """Make one message visible, which becomes the probe; return an estimate of how many probes there can be.

        It is one of those with the most receives left in the oldest pages, which are the largest: each probe that fails
        becomes a new page with one message.

        Args:
            circuit: The circuit.
            fewest_receives: Receives that it must have left.
        """
        now = self._now()
        oldest = range(circuit.released + 1, min(circuit.pages, circuit.released + PAGES) + 1)
        newest = range(circuit.pages, max(circuit.released + PAGES, circuit.pages - PAGES), -1)
        for numbers in (oldest, newest):
            pages = [await self._table.page(number, circuit) for number in numbers]
            able = [
                message
                for page in pages
                for message in page
                if message.until > now and message.receives_left >= fewest_receives
            ]
            # In random order, because earlier probes, whose handles are refused, are among them.
            able.sort(key=lambda message: (-message.receives_left, random_share()))
            for attempts, message in enumerate(able[:PAGES], 1):
                if (await self.messages([message])).visible:
                    seen = sum(message.receives_left - fewest_receives + 1 for message in able)
                    # The more were refused, the more of those that were seen are earlier probes.
                    return seen * (circuit.pages - circuit.released) // (len(numbers) * attempts)
        return 0


async def make_visible(
    settler: Settler,
    messages: Sequence[Held],
    sleep: Sleep = anyio.sleep,
    counted: Callable[[int], object] = bool,
) -> int:
    """Make 1 to 10 messages visible; return how many were held: others were received, or deleted.

    Args:
        settler: Changes visibility timeouts.
        messages: The messages.
        sleep: Waits for some seconds.
        counted: Called with the number of messages after each call of the settler.

    Raises:
        FanfoldError: If the queue does not accept it.
    """
    retries, records, visible = Retries(sleep=sleep), [_record(message) for message in messages], 0
    while records:
        refusals = await settler.change_visibility([(record, 0) for record in records])
        counted(len(records) - len(refusals))
        visible += len(records) - len(refusals)
        records = [records[refusal.position] for refusal in refusals if not refusal.final]
        if records and not await retries.wait():
            raise ServiceError(
                f"queue {records[0].queue_arn}: {len(records)} messages cannot be made visible: {refusals[0].reason}",
                code="BatchEntryFailed",
                transient=True,
            )
    return visible


def _record(message: Held) -> Record:
    """Return a held message as far as a settler needs it."""
    return Record({"messageId": "", "body": "", "receiptHandle": message.handle, "eventSourceARN": message.queue})
