"""A segment that will not end in time stops at a position, and goes on from there in another message.

Where it stopped is entered in the ledger before that message is sent, and only once: a second delivery that stops
elsewhere finds the entry, drops what it has read, and sends the message that the entry asks for. So the results of all
hops, and that of the last one, together are those of the whole segment, however often each message is delivered.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from fanfold._base.concurrency import for_each
from fanfold._base.log import logger
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_result import INLINE_RESULTS_BYTES, SegmentStopped
from fanfold._ports.backend import Backend
from fanfold._ports.queue import Message
from fanfold._ports.run import Hop
from fanfold.errors import EnqueueError, FanfoldError

MOST_HOPS: Final = 12
"""How often a segment is continued before it has to end or fail: Lambda stops a function that has been reached through
its own queue about 16 times (Lambda developer guide, recursive loop detection), unless its ``RecursiveLoop`` is
``Allow``."""
_ABREAST: Final = 16


async def continue_later(stopped: Sequence[tuple[int, SegmentStopped]], backend: Backend) -> set[int]:
    """Send on what stopped; return the positions whose next hop is not on its way."""
    held: set[int] = set()

    async def send_on(placed: tuple[int, SegmentStopped]) -> None:
        position, one = placed
        try:
            await _send_on(one, backend)
        except FanfoldError:
            where = f"run {one.segment.run}, segment {one.segment.number}"
            logger.exception("%s: it stopped in time and could not be continued; its message comes back", where)
            held.add(position)

    await for_each(send_on, stopped, concurrency=_ABREAST)
    return held


async def _send_on(stopped: SegmentStopped, backend: Backend) -> None:
    segment = stopped.segment
    hop = await backend.ledger.put_hop(segment.run, await _hop(stopped, backend))
    follower = Segment(segment.job, segment.run, segment.number, hop.rest, gen=segment.gen, hop=segment.hop + 1)
    refused = await backend.work_queue.send([Message(follower.to_body())])
    if refused:
        raise EnqueueError(f"the work queue did not take it: {refused[0].reason}", rejected=[(0, refused[0].reason)])


async def _hop(stopped: SegmentStopped, backend: Backend) -> Hop:
    segment = stopped.segment
    result: str | None = stopped.result
    results_key = None
    if len(stopped.result) > INLINE_RESULTS_BYTES:
        # A name of its own: a delivery that stopped elsewhere, and lost, overwrites nothing.
        results_key = f"runs/{segment.run}/{segment.gen}/hops/{segment.number}-{segment.hop}-{uuid.uuid4().hex}.json"
        await backend.put_result(results_key, stopped.result.encode())
        result = None
    return Hop(segment.number, segment.hop, segment.gen, stopped.rest, result, results_key, stopped.items)
