"""The dead-letter function: a dead segment becomes a failed one of its run; what is no segment is parked."""

from __future__ import annotations

import json

from fanfold.bundle import segments_of
from fanfold.context import Context
from fanfold.dead_letter import ATTRIBUTE, reason_attribute, reason_in
from fanfold.ended import Ended, JobState, Together
from fanfold.errors import FanfoldError, SegmentError
from fanfold.protocols import Message
from fanfold.record import Record
from fanfold.segments import live_run

__all__ = ["bury"]


async def bury(job: str, record: Record, ctx: Context[JobState]) -> Together | str:
    """Find the place of a dead letter.

    Segments of a live run are entered as failed, with the reason, and kept under the run. Anything else
    goes to the parking queue with the reason; nothing is dropped.

    Returns:
        What to enter in the ledger, or what was done instead.
    """
    try:
        segments = segments_of(record.body)
        run = await live_run(job, segments[0], ctx.batch)
    except SegmentError as error:
        await _park(record, str(error), ctx.state)
        return "parked"
    if run is None:
        return "late"
    reason = reason_in(record) or "moved here by the queue's redrive policy: too many deliveries without success"
    for segment in segments:
        kept = {"segment": segment.segment, "reason": reason, "body": segment.to_body()}
        await ctx.state.backend.put_result(f"{run.prefix()}/failed/{segment.segment}.json", json.dumps(kept).encode())
    return Together([Ended(segment, ctx.receive_count, failure=reason) for segment in segments])


async def _park(record: Record, reason: str, state: JobState) -> None:
    parked = Message(record.body, {ATTRIBUTE: reason_attribute(record, reason)})
    refused = await state.backend.parking_queue.send([parked])
    if refused:
        raise FanfoldError(f"the parking queue did not take message {record.message_id}: {refused[0].reason}")
