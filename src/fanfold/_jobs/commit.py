"""The commit stage of a job's consumers: what ended is in the ledger before its message is acknowledged."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from fanfold._base.context import BatchContext
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._jobs.continuation import continue_later
from fanfold._jobs.fold_requests import CheckRun, send_request
from fanfold._jobs.job_state import JobState
from fanfold._jobs.segment import Segment
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
"""Most segments in one marker, so that their numbers and the reasons of failures stay within DynamoDB's item size."""

_Ended: TypeAlias = SegmentDone | SegmentFailed


async def commit_ended(done: Sequence[tuple[Record, MessageResult]], batch: BatchContext[JobState]) -> set[int]:
    """Enter in the ledger what ended in this batch; return the positions that may be acknowledged.

    For each run: the marker first, then the counter, then, if the counter says so, the check. A run whose writes fail
    is left out: its messages come back, and the marker that may have been written is harmless. A segment that stopped
    goes on in a message of its own, and so does one that was left in a message of several: it is sent before the old
    one is acknowledged.
    """
    backend = batch.state.backend
    results = [(position, one) for position, (_, value) in enumerate(done) for one in _results_in(value)]
    left = [(position, one) for position, (_, value) in enumerate(done) for one in _left_in(value)]
    stopped = [(position, one) for position, one in results if isinstance(one, SegmentStopped)]
    held = await continue_later(stopped, backend) if stopped else set()
    if left:
        held |= await _send_alone(left, backend)
    for group in _groups((position, one) for position, one in results if not isinstance(one, SegmentStopped)):
        try:
            await _enter([value for _, value in group], backend)
        except FanfoldError:
            run = group[0][1].segment.run
            logger.exception("run %s: %d ended segments could not be entered in the ledger", run, len(group))
            held.update(position for position, _ in group)
    return set(range(len(done))) - held


def _results_in(value: MessageResult) -> Sequence[SegmentResult]:
    if isinstance(value, BundleResult):
        return value.ended
    return [] if isinstance(value, Unrecorded) else [value]


def _left_in(value: MessageResult) -> Sequence[Segment]:
    return value.left if isinstance(value, BundleResult) else []


async def _send_alone(left: Sequence[tuple[int, Segment]], backend: Backend) -> set[int]:
    """Send each segment in a message of its own; return the positions of those that could not be."""
    try:
        await enqueue(backend.work_queue, (Message(segment.to_body()) for _, segment in left))
    except FanfoldError:
        logger.exception("%d segments could not be sent on; their messages come back", len(left))
        return {position for position, _ in left}
    return set()


def _groups(ended: Iterable[tuple[int, _Ended]]) -> Iterator[list[tuple[int, _Ended]]]:
    """Yield what goes into one marker: of one run and generation, no segment twice, not too many."""
    groups: dict[tuple[str, int, int], list[tuple[int, _Ended]]] = {}
    occurrences: dict[tuple[str, int, int], int] = {}
    for position, value in ended:
        segment = value.segment
        name = (segment.run, segment.gen, segment.number)
        layer = occurrences.get(name, 0)
        occurrences[name] = layer + 1
        groups.setdefault((segment.run, segment.gen, layer), []).append((position, value))
    for group in groups.values():
        yield from (group[first : first + MARKER_SEGMENTS] for first in range(0, len(group), MARKER_SEGMENTS))


async def _enter(ended: Sequence[_Ended], backend: Backend) -> None:
    run = ended[0].segment.run
    await backend.ledger.put_marker(run, await _marker(ended, backend))
    counter = await backend.ledger.count(run, len(ended))
    if counter.due:
        await send_request(backend, CheckRun(run))


async def _marker(ended: Sequence[_Ended], backend: Backend) -> Marker:
    name, gen = uuid.uuid4().hex, ended[0].segment.gen
    done = sorted((one for one in ended if isinstance(one, SegmentDone)), key=lambda one: one.segment.number)
    results = {one.segment.number: one.result for one in done}
    results_key = None
    if sum(map(len, results.values())) > INLINE_RESULTS_BYTES:
        results_key = f"runs/{ended[0].segment.run}/{gen}/results/{name}.json"
        await backend.put_result(results_key, results_to_json(results).encode())
    return Marker(
        id=name,
        gen=gen,
        ids=[one.segment.number for one in done],
        results={} if results_key else results,
        results_key=results_key,
        failed={one.segment.number: one.reason[:REASON_CHARACTERS] for one in ended if isinstance(one, SegmentFailed)},
        receive_counts={one.segment.number: one.receive_count for one in ended if one.receive_count > 1},
        hops={one.segment.number: one.segment.hop for one in done if one.segment.hop},
        items=[one.items for one in done],
    )
