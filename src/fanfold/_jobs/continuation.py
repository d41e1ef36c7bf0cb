"""A segment that will not end in time stops at a position, and goes on from there in another message.

Where it stopped is entered in the ledger before that message is sent, and only once: a second delivery that stops
elsewhere finds the entry, drops what it has read, and sends the message that the entry asks for. So the results of all
hops, and that of the last one, together are those of the whole segment, however often each message is delivered.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import anyio

from fanfold import sources
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_result import INLINE_RESULTS_BYTES, Ended
from fanfold._ports.backend import Backend
from fanfold._ports.queue import Message
from fanfold._ports.run import Hop
from fanfold.errors import EnqueueError, FanfoldError

__all__ = ["MOST_HOPS", "Rows", "continue_later"]

logger = logging.getLogger("fanfold")

MOST_HOPS: Final = 12
"""How often a segment is continued before it has to end or fail: Lambda stops a function that has been reached through
its own queue about 16 times (Lambda developer guide, recursive loop detection), unless its ``RecursiveLoop`` is
``Allow``."""
_ABREAST: Final = 16


class Rows:
    """The items of a segment, as its handler sees them; they end early when the time is over.

    Args:
        part: What to read.
        backend: Where from.
        over: Tells, before each item but the first, whether to stop; None to never.
    """

    def __init__(self, part: Mapping[str, Any], backend: Backend, over: Callable[[], bool] | None = None) -> None:
        self.given: int = 0
        """Items the handler was given."""
        self.rest: Mapping[str, Any] | None = None
        """What is left to read; None unless the items ended early."""
        self._part = part
        self._backend = backend
        self._over = over

    async def read(self) -> AsyncGenerator[Any, None]:
        """Yield the items; a handler that asks for another one is done with the one before."""
        over = self._over
        async with aclosing(sources.read(self._part, self._backend)) as found:
            async for some in found:
                for item, mark in some:
                    self.given += 1
                    yield item
                    if over is not None and mark is not None and over():
                        self.rest = sources.rest(self._part, mark)
                        return


async def continue_later(stopped: Sequence[tuple[int, Ended]], backend: Backend) -> set[int]:
    """Send on what stopped; return the positions whose next hop is not on its way."""
    held: set[int] = set()
    places = anyio.CapacityLimiter(_ABREAST)

    async def send_on(position: int, ended: Ended) -> None:
        async with places:
            try:
                await _send_on(ended, backend)
            except FanfoldError:
                where = f"run {ended.segment.run}, segment {ended.segment.number}"
                logger.exception("%s: it stopped in time and could not be continued; its message comes back", where)
                held.add(position)

    async with anyio.create_task_group() as tasks:
        for position, ended in stopped:
            tasks.start_soon(send_on, position, ended)
    return held


async def _send_on(ended: Ended, backend: Backend) -> None:
    segment = ended.segment
    hop = await backend.ledger.put_hop(segment.run, await _hop(ended, backend))
    follower = Segment(segment.job, segment.run, segment.number, hop.rest, gen=segment.gen, hop=segment.hop + 1)
    refused = await backend.work_queue.send([Message(follower.to_body())])
    if refused:
        raise EnqueueError(f"the work queue did not take it: {refused[0].reason}", rejected=[(0, refused[0].reason)])


async def _hop(ended: Ended, backend: Backend) -> Hop:
    segment = ended.segment
    assert ended.rest is not None  # noqa: S101 - only what stopped comes here
    result: str | None = ended.result
    results_key = None
    if len(ended.result) > INLINE_RESULTS_BYTES:
        # A name of its own: a delivery that stopped elsewhere, and lost, overwrites nothing.
        results_key = f"runs/{segment.run}/{segment.gen}/hops/{segment.number}-{segment.hop}-{uuid.uuid4().hex}.json"
        await backend.put_result(results_key, ended.result.encode())
        result = None
    return Hop(segment.number, segment.hop, segment.gen, ended.rest, result, results_key, ended.items or 0)
