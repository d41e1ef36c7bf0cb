"""An ended segment is recorded in the ledger before its message is acknowledged."""

from dataclasses import replace

import pytest

from fanfold import Record, Segment, inmemory
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._jobs.commit import commit_ended
from fanfold._jobs.job_state import JobState
from fanfold._jobs.segment_result import (
    INLINE_RESULTS_BYTES,
    BundleResult,
    SegmentDone,
    SegmentFailed,
    SegmentResult,
    SegmentStopped,
    Unrecorded,
)
from fanfold._ports.ledger_encoding import results_from_json
from fanfold._ports.run import Counter, Hop, Marker
from fanfold.errors import ServiceError
from fanfold.inmemory import InMemoryLedger
from fanfold.testing import make_record


class LedgerWithoutRun(InMemoryLedger):
    """A ledger that refuses the markers of one run."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.refused = run

    async def put_marker(self, run_id: str, marker: Marker) -> None:
        """Refuse the markers of one run."""
        if run_id == self.refused:
            raise ServiceError("slow down", code="ThrottlingException", transient=True)
        await super().put_marker(run_id, marker)


def record(run: str, number: int) -> Record:
    return Record(make_record(message_id=f"{run}-{number}"))


def segment(run: str, number: int) -> Segment:
    return Segment("job", run, number, {"type": "s3-lines"})


def ended(run: str, number: int, result: str = "null") -> tuple[Record, SegmentResult]:
    return record(run, number), SegmentDone(segment(run, number), 1, result, 0)


def batch_with(ledger: InMemoryLedger) -> BatchContext[JobState]:
    backend = replace(inmemory.backend(), ledger=ledger)
    return BatchContext(None, Deadline.never(), JobState(backend))


async def markers_of(ledger: InMemoryLedger, run: str) -> list[Marker]:
    return [marker async for marker in ledger.markers(run, 0)]


async def test_a_run_whose_writes_fail_keeps_its_messages_and_no_others():
    """A batch can contain segments of several runs; the failure of one run does not affect another."""
    batch = batch_with(LedgerWithoutRun("b"))
    done = [ended("a", 0), ended("b", 0), ended("a", 1), ended("b", 1)]
    assert await commit_ended(done, batch) == {0, 2}


class LedgerWithoutHops(InMemoryLedger):
    """A ledger that refuses hops."""

    async def put_hop(self, run_id: str, hop: Hop) -> Hop:
        """Refuse every hop."""
        raise ServiceError("slow down", code="ThrottlingException", transient=True)


async def test_a_segment_that_could_not_be_continued_is_redelivered_without_affecting_others():
    """A segment that was left in a message of several is sent separately, and that message is acknowledged."""
    batch = batch_with(LedgerWithoutHops())
    left = segment("a", 1)
    stopped = SegmentStopped(segment("a", 0), "null", 0, rest={"type": "s3-lines"})
    done = [(record("a", 0), stopped), (record("a", 1), BundleResult([], [left])), ended("a", 2)]
    assert await commit_ended(done, batch) == {1, 2}
    assert [message.body for message in await batch.state.backend.work_queue.receive()] == [left.to_body()]


async def test_a_message_that_is_not_for_the_ledger_is_acknowledged():
    """Late segments, quarantined messages, and segments that were sent to the work queue again."""
    ledger = InMemoryLedger()
    done = [*((Record(make_record()), reason) for reason in Unrecorded), ended("a", 3)]
    assert await commit_ended(done, batch_with(ledger)) == {0, 1, 2, 3}
    assert [marker.ids for marker in await markers_of(ledger, "a")] == [[3]]


async def test_a_segment_that_ended_three_times_in_a_batch_is_in_three_markers():
    """So that the run report counts each delivery, and the union of the markers each segment once."""
    ledger = InMemoryLedger()
    done = [ended("a", 3), ended("a", 4), ended("a", 3), ended("a", 3)]
    assert await commit_ended(done, batch_with(ledger)) == {0, 1, 2, 3}
    assert sorted(marker.ids for marker in await markers_of(ledger, "a")) == [[3], [3], [3, 4]]
    assert await ledger.counter("a") == Counter(4)


async def test_a_very_large_batch_is_recorded_in_several_markers():
    """The size of a DynamoDB item is limited."""
    ledger = InMemoryLedger()
    assert len(await commit_ended([ended("a", number) for number in range(2_001)], batch_with(ledger))) == 2_001
    assert sorted(len(marker.ids) for marker in await markers_of(ledger, "a")) == [1, 1000, 1000]


async def test_a_long_reason_is_truncated():
    """The complete reason is stored with the body, under the run."""
    ledger = InMemoryLedger()
    await commit_ended([(record("a", 0), SegmentFailed(segment("a", 0), 1, "x" * 5_000))], batch_with(ledger))
    (marker,) = await markers_of(ledger, "a")
    assert marker.failed == {0: "x" * 300}
    assert marker.ids == []


@pytest.mark.parametrize(("longest", "inline"), [(INLINE_RESULTS_BYTES - 2, True), (INLINE_RESULTS_BYTES - 1, False)])
async def test_results_are_stored_in_the_marker_if_they_are_small(longest: int, inline: bool):
    """Their total size counts. Larger results are stored in one object, and the marker has its key."""
    ledger = InMemoryLedger()
    batch = batch_with(ledger)
    results = {0: f'"{"x" * (longest - 2)}"', 1: "22"}
    done = [ended("a", number, result=result) for number, result in results.items()]
    assert await commit_ended(done, batch) == {0, 1}
    (marker,) = await markers_of(ledger, "a")
    assert (marker.results == results, marker.results_key is None) == (inline, inline)
    if marker.results_key is not None:
        assert marker.results == {}
        assert results_from_json(await batch.state.backend.get_result(marker.results_key)) == results


async def test_a_marker_records_deliveries_beyond_the_first_and_the_items_of_done_segments():
    """A receive count of 1 is not stored."""
    ledger = InMemoryLedger()
    done = [(record("a", number), SegmentDone(segment("a", number), 1 + number, "1", 7)) for number in range(3)]
    failed = (record("a", 3), SegmentFailed(segment("a", 3), 5, "broken"))
    await commit_ended([failed, *done], batch_with(ledger))
    (marker,) = await markers_of(ledger, "a")
    assert (marker.ids, marker.receive_counts, list(marker.items)) == ([0, 1, 2], {1: 2, 2: 3, 3: 5}, [7, 7, 7])
    assert marker.failed == {3: "broken"}
