"""The commit stage of a job's consumers: record ended segments in the ledger, then acknowledge their messages."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from fanfold._base.context import BatchContext
from fanfold._base.dead_letter import DELIVERIES_ATTRIBUTE
from fanfold._base.log import BatchLogger, logger
from fanfold._base.record import Record
from fanfold._jobs.attempts import environment_of, write_failed
from fanfold._jobs.continuation import continue_later, failed_where_it_stopped
from fanfold._jobs.fold_requests import CheckRun, send_request
from fanfold._jobs.job_state import JobState
from fanfold._jobs.segment_result import (
    INLINE_RESULTS_BYTES,
    REASON_CHARACTERS,
    BundleResult,
    MessageResult,
    SegmentDone,
    SegmentFailed,
    SegmentResult,
    SegmentStopped,
    Unrecorded,
)
from fanfold._ports.backend import Backend
from fanfold._ports.enqueue import enqueue
from fanfold._ports.ledger_encoding import results_to_json
from fanfold._ports.queue import Message
from fanfold._ports.run import Marker
from fanfold.errors import FanfoldError

MARKER_SEGMENTS: Final = 1_000
"""Maximum number of segments in one marker, so that their numbers and failure reasons fit into a DynamoDB item."""

_Ended: TypeAlias = SegmentDone | SegmentFailed


async def commit_ended(done: Sequence[tuple[Record, MessageResult]], batch: BatchContext[JobState]) -> set[int]:
    """Record the ended segments of this batch in the ledger; return the positions that may be acknowledged.

    For each run: the marker first, then the counter, then, if the counter is due, the check. If the writes of a run
    fail, its messages are redelivered; a marker that was already written is harmless. A segment that stopped, or that
    did not end in a message of several, continues in a separate message, which is sent before the old one is
    acknowledged.
    """
    backend, environment = batch.state.backend, environment_of(batch)
    results = [(position, result) for position, (_, value) in enumerate(done) for result in _results_in(value)]
    left = [(position, message) for position, (_, value) in enumerate(done) for message in _left_in(value)]
    stopped = [(position, result) for position, result in results if isinstance(result, SegmentStopped)]
    uncommitted = await continue_later(stopped, backend, environment) if stopped else set()
    if left:
        uncommitted |= await _send_separately(left, backend)
    batch_logger = BatchLogger()
    ended: list[tuple[int, _Ended]] = [
        (position, failed_where_it_stopped(result) if isinstance(result, SegmentStopped) else result)
        for position, result in results
        if not isinstance(result, SegmentStopped) or (result.is_last and position not in uncommitted)
    ]
    for group in _groups(ended):
        try:
            await _commit_group([value for _, value in group], backend, environment)
        except FanfoldError:
            run = group[0][1].segment.run
            batch_logger.exception("run %s: could not record %d ended segments in the ledger", run, len(group))
            uncommitted.update(position for position, _ in group)
    return set(range(len(done))) - uncommitted


class RecordStage:
    """The commit stage: records what ended, and at the end of each batch what failed."""

    async def __call__(self, done: Sequence[tuple[Record, MessageResult]], batch: BatchContext[JobState]) -> set[int]:
        """Record ended segments; return the positions that may be acknowledged."""
        return await commit_ended(done, batch)

    async def conclude(self, batch: BatchContext[JobState]) -> None:
        """Record failed attempts."""
        await write_failed(batch)


def _results_in(value: MessageResult) -> Sequence[SegmentResult]:
    if isinstance(value, BundleResult):
        return value.ended
    return [] if isinstance(value, Unrecorded) else [value]


def _left_in(value: MessageResult) -> Sequence[Message]:
    if not isinstance(value, BundleResult):
        return []
    attributes = {DELIVERIES_ATTRIBUTE: str(value.deliveries)} if value.deliveries else {}
    return [Message(segment.to_body(), attributes) for segment in value.left]


async def _send_separately(left: Sequence[tuple[int, Message]], backend: Backend) -> set[int]:
    """Send each segment in a separate message; return the positions of those that could not be sent."""
    try:
        await enqueue(backend.work_queue, (message for _, message in left))
    except FanfoldError:
        logger.exception("could not send %d segments in separate messages; their messages are redelivered", len(left))
        return {position for position, _ in left}
    return set()


def _groups(ended: Iterable[tuple[int, _Ended]]) -> Iterator[list[tuple[int, _Ended]]]:
    """Yield the segments of each marker: one run and generation, no segment twice, at most MARKER_SEGMENTS."""
    groups: dict[tuple[str, int, int], list[tuple[int, _Ended]]] = {}
    occurrences: dict[tuple[str, int, int], int] = {}
    for position, value in ended:
        segment = value.segment
        name = (segment.run, segment.gen, segment.number)
        occurrence = occurrences.get(name, 0)
        occurrences[name] = occurrence + 1
        groups.setdefault((segment.run, segment.gen, occurrence), []).append((position, value))
    for group in groups.values():
        yield from (group[first : first + MARKER_SEGMENTS] for first in range(0, len(group), MARKER_SEGMENTS))


async def _commit_group(ended: Sequence[_Ended], backend: Backend, environment: str | None) -> None:
    run = ended[0].segment.run
    await backend.ledger.put_marker(run, await _marker(ended, backend, environment))
    counter = await backend.ledger.count(run, len(ended))
    if counter.due:
        await send_request(backend, CheckRun(run))


def _hops_of(result: _Ended) -> int:
    return result.segment.hop if isinstance(result, SegmentDone) else result.hops


async def _marker(ended: Sequence[_Ended], backend: Backend, environment: str | None) -> Marker:
    name, gen = uuid.uuid4().hex, ended[0].segment.gen
    done = sorted((result for result in ended if isinstance(result, SegmentDone)), key=lambda done: done.segment.number)
    failed = [result for result in ended if isinstance(result, SegmentFailed)]
    timings = [result.timing for result in done if result.timing is not None]
    results = {result.segment.number: result.result for result in done}
    results_key = None
    if sum(map(len, results.values())) > INLINE_RESULTS_BYTES:
        results_key = f"runs/{ended[0].segment.run}/{gen}/results/{name}.json"
        await backend.put_result(results_key, results_to_json(results).encode())
    return Marker(
        id=name,
        gen=gen,
        ids=[result.segment.number for result in done],
        results={} if results_key else results,
        results_key=results_key,
        failed={result.segment.number: result.reason[:REASON_CHARACTERS] for result in failed},
        receive_counts={result.segment.number: result.receive_count for result in ended if result.receive_count != 1},
        messages={result.segment.number: result.message for result in done if result.receive_count > 1},
        hops={result.segment.number: hops for result in ended if (hops := _hops_of(result))},
        items=[result.items for result in done],
        bad_rows={result.segment.number: result.bad_rows for result in done if result.bad_rows},
        began_at=[round(timing.began_at, 3) for timing in timings] if len(timings) == len(done) else (),
        seconds=[round(timing.seconds, 3) for timing in timings] if len(timings) == len(done) else (),
        ended_at=round(backend.now(), 3),
        environment=environment,
    )
