"""The dead-letter function: marks a dead-lettered segment as failed in its run, and quarantines any other message.

A segment that fails at its last delivery is sent to the dead-letter queue with its reason
(``segment_handler.process_message``). A segment without a reason was moved by the queue's redrive policy: its last
delivery crashed, timed out, or never started it. It is sent to the work queue once more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from fanfold._base.context import Context
from fanfold._base.dead_letter import (
    ATTRIBUTE,
    DELIVERIES_ATTRIBUTE,
    PUT_BACK_ATTRIBUTE,
    configured_max_receives,
    deliveries_before,
    reason_attribute,
    reason_in,
)
from fanfold._base.record import Record
from fanfold._jobs.job_state import JobState, logger_of
from fanfold._jobs.message_check import live_run
from fanfold._jobs.segment import Segment, segments_of
from fanfold._jobs.segment_result import BundleResult, SegmentFailed, Unrecorded
from fanfold._ports.enqueue import enqueue
from fanfold._ports.queue import Message
from fanfold.errors import FanfoldError, SegmentError

NO_REASON = "moved to the dead-letter queue by its redrive policy: too many deliveries without success"


async def handle_dead_letter(job: str, record: Record, ctx: Context[JobState]) -> BundleResult | Unrecorded:
    """Handle a message of the dead-letter queue.

    Segments of a running run are recorded as failed, with the reason, and stored under the run. Segments without a
    reason are first sent to the work queue once more. Any other message is sent to the quarantine queue with the
    reason; no message is dropped.

    Returns:
        The segments to record in the ledger, or why none are recorded.
    """
    try:
        segments = segments_of(record.body)
        run = await live_run(job, segments, ctx.batch)
    except SegmentError as error:
        await _quarantine(record, str(error), ctx.state)
        return Unrecorded.QUARANTINED
    if run is None:
        return Unrecorded.LATE
    reason = reason_in(record)
    if reason is None and configured_max_receives() is not None and PUT_BACK_ATTRIBUTE not in record.message_attributes:
        await _put_back(segments, record, ctx.state)
        logger_of(ctx.batch).warning(
            "run %s, segment %d: in the dead-letter queue without a reason; sent to the work queue once more",
            run.id,
            segments[0].number,
        )
        return Unrecorded.RETURNED
    reason = reason or NO_REASON
    for segment in segments:
        failure = {"segment": segment.number, "reason": reason, "body": segment.to_body()}
        key = f"{run.prefix()}/failed/{segment.number}.json"
        await ctx.state.backend.put_result(key, json.dumps(failure).encode())
    return BundleResult(
        [SegmentFailed(segment, deliveries_before(record), reason, segment.hop) for segment in segments]
    )


async def _put_back(segments: Sequence[Segment], record: Record, state: JobState) -> None:
    # One message per segment: a segment that kills its process must not affect those that shared its message.
    # Each has a unique deduplication id: with the digest of the body, a FIFO queue would drop it as a duplicate.
    messages = (
        Message(
            segment.to_body(),
            {PUT_BACK_ATTRIBUTE: "1", DELIVERIES_ATTRIBUTE: str(deliveries_before(record))},
            deduplication_id=f"{record.message_id}-{segment.number}-back",
        )
        for segment in segments
    )
    await enqueue(state.backend.work_queue, messages, sleep=state.backend.sleep)


async def _quarantine(record: Record, reason: str, state: JobState) -> None:
    quarantined = Message(record.body, {ATTRIBUTE: reason_attribute(record, reason)})
    refused = await state.backend.quarantine_queue.send([quarantined])
    if refused:
        raise FanfoldError(f"the quarantine queue did not accept message {record.message_id}: {refused[0].reason}")
