"""The dead-letter function: a dead segment becomes a failed one of its run; what is no segment is quarantined.

A segment that fails at its last delivery goes to the dead-letter queue with its reason
(``segment_handler.process_message``). One that comes without was moved by the queue itself: that delivery ended without
a word, or never started it. It is sent once more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from fanfold._base.context import Context
from fanfold._base.dead_letter import (
    ATTRIBUTE,
    PUT_BACK_ATTRIBUTE,
    configured_max_receives,
    reason_attribute,
    reason_in,
)
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._jobs.job_state import JobState
from fanfold._jobs.segment import Segment, segments_of
from fanfold._jobs.segment_handler import live_run
from fanfold._jobs.segment_result import BundleResult, SegmentFailed, Unrecorded
from fanfold._ports.enqueue import enqueue
from fanfold._ports.queue import Message
from fanfold.errors import FanfoldError, SegmentError

UNTOLD = "moved here by the queue's redrive policy: too many deliveries without success"


async def handle_dead_letter(job: str, record: Record, ctx: Context[JobState]) -> BundleResult | Unrecorded:
    """Find the place of a dead letter.

    Segments of a live run are entered as failed, with the reason, and kept under the run; those that came without a
    word are first sent once more. Anything else goes to the quarantine queue with the reason; nothing is dropped.

    Returns:
        What to enter in the ledger, or why nothing is.
    """
    try:
        segments = segments_of(record.body)
        run = await live_run(job, segments[0], ctx.batch)
    except SegmentError as error:
        await _quarantine(record, str(error), ctx.state)
        return Unrecorded.QUARANTINED
    if run is None:
        return Unrecorded.LATE
    reason = reason_in(record)
    if reason is None and configured_max_receives() is not None and PUT_BACK_ATTRIBUTE not in record.message_attributes:
        await _put_back(segments, record, ctx.state)
        logger.warning(
            "run %s, segment %d was dead-lettered without a word: sent once more", run.id, segments[0].number
        )
        return Unrecorded.RETURNED
    reason = reason or UNTOLD
    for segment in segments:
        kept = {"segment": segment.number, "reason": reason, "body": segment.to_body()}
        await ctx.state.backend.put_result(f"{run.prefix()}/failed/{segment.number}.json", json.dumps(kept).encode())
    return BundleResult([SegmentFailed(segment, ctx.receive_count, reason) for segment in segments])


async def _put_back(segments: Sequence[Segment], record: Record, state: JobState) -> None:
    # Each alone: one that kills its process must not take along those that shared its message. And under names of
    # their own, not by the body's digest: a FIFO queue would take it for the message it has just seen.
    again = (
        Message(each.to_body(), {PUT_BACK_ATTRIBUTE: "1"}, deduplication_id=f"{record.message_id}-{each.number}-back")
        for each in segments
    )
    await enqueue(state.backend.work_queue, again, sleep=state.backend.sleep)


async def _quarantine(record: Record, reason: str, state: JobState) -> None:
    quarantined = Message(record.body, {ATTRIBUTE: reason_attribute(record, reason)})
    refused = await state.backend.quarantine_queue.send([quarantined])
    if refused:
        raise FanfoldError(f"the quarantine queue did not take message {record.message_id}: {refused[0].reason}")
