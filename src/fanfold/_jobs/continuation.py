"""Continue a segment that cannot end in time: it stops at a position, and another message resumes it from there.

The position is recorded in the ledger before that message is sent, and only once. A second delivery that stops
elsewhere finds the entry, discards what it has read, and sends the message for the recorded position. The results of
all hops together therefore cover the segment exactly once, however often each message is delivered.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Final

from fanfold._base.concurrency import for_each
from fanfold._base.log import BatchLogger
from fanfold._jobs.result_text import origin_of
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_result import INLINE_RESULTS_BYTES, SegmentFailed, SegmentStopped
from fanfold._ports.backend import Backend
from fanfold._ports.queue import Message
from fanfold._ports.run import Hop
from fanfold.errors import EnqueueError, FanfoldError

MOST_HOPS: Final = 12
"""Maximum continuations of a segment; after that, it fails, and a redrive continues it. Lambda stops
a function that was invoked through its own queue about 16 times (Lambda developer guide, recursive loop detection),
unless its ``RecursiveLoop`` is ``Allow``."""
_CONCURRENT_SENDS: Final = 16
_PLACE_CHARACTERS: Final = 100


async def continue_later(
    stopped: Sequence[tuple[int, SegmentStopped]], backend: Backend, environment: str | None = None
) -> set[int]:
    """Send the next hop of each stopped segment; return the positions whose next hop could not be sent.

    The next hop of a segment that has used its continuations is stored, but not sent.

    Args:
        stopped: The segments with their positions.
        backend: Queue, ledger, and store.
        environment: Log stream of the execution environment.
    """
    unsent: set[int] = set()
    logger = BatchLogger()

    async def send_next_hop(placed: tuple[int, SegmentStopped]) -> None:
        position, result = placed
        try:
            await _send_next_hop(result, backend, environment)
        except FanfoldError:
            where = f"run {result.segment.run}, segment {result.segment.number}"
            logger.exception("%s: stopped before the deadline and could not be continued; it is redelivered", where)
            unsent.add(position)

    await for_each(send_next_hop, stopped, concurrency=_CONCURRENT_SENDS)
    return unsent


async def _send_next_hop(stopped: SegmentStopped, backend: Backend, environment: str | None) -> None:
    segment = stopped.segment
    hop = await backend.ledger.put_hop(segment.run, await _hop(stopped, backend, environment))
    if stopped.is_last:
        return
    continued = Segment(segment.job, segment.run, segment.number, hop.rest, gen=segment.gen, hop=segment.hop + 1)
    refused = await backend.work_queue.send([Message(continued.to_body())])
    if refused:
        reason = refused[0].reason
        raise EnqueueError(f"the work queue did not accept the continued segment: {reason}", rejected=[(0, reason)])


def failed_where_it_stopped(stopped: SegmentStopped) -> SegmentFailed:
    """Return the failure of a segment that has used its continuations."""
    segment = stopped.segment
    place = {name: value for name, value in stopped.rest.items() if segment.source.get(name) != value}
    where = json.dumps(place, separators=(",", ":"), ensure_ascii=False, default=str)[:_PLACE_CHARACTERS]
    reason = (
        f"it used its continuations (max_hops) and stopped at {where}{origin_of(segment.source)}; a redrive continues "
        "from there"
    )
    return SegmentFailed(segment, 0, reason, segment.hop + 1)


async def _hop(stopped: SegmentStopped, backend: Backend, environment: str | None) -> Hop:
    segment = stopped.segment
    result: str | None = stopped.result
    results_key = None
    if len(stopped.result) > INLINE_RESULTS_BYTES:
        # A unique name: a delivery that stopped elsewhere and lost the race overwrites nothing.
        results_key = f"runs/{segment.run}/{segment.gen}/hops/{segment.number}-{segment.hop}-{uuid.uuid4().hex}.json"
        await backend.put_result(results_key, stopped.result.encode())
        result = None
    return Hop(
        segment=segment.number,
        number=segment.hop,
        gen=segment.gen,
        rest=stopped.rest,
        result=result,
        results_key=results_key,
        items=stopped.items,
        bad_rows=stopped.bad_rows,
        receive_count=stopped.receive_count,
        message=stopped.message,
        began_at=None if stopped.timing is None else round(stopped.timing.began_at, 3),
        seconds=None if stopped.timing is None else round(stopped.timing.seconds, 3),
        environment=environment,
    )
