"""What ended is in the ledger before its message is acknowledged."""

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
    """Takes nothing of one run."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.refused = run

    async def put_marker(self, run_id: str, marker: Marker) -> None:
        """Refuse the markers of that run."""
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
    """A batch holds segments from everywhere; one run's fault is not another's."""
    batch = batch_with(LedgerWithoutRun("b"))
    done = [ended("a", 0), ended("b", 0), ended("a", 1), ended("b", 1)]
    assert await commit_ended(done, batch) == {0, 2}


class LedgerWithoutHops(InMemoryLedger):
    """Takes no hop."""

    async def put_hop(self, run_id: str, hop: Hop) -> Hop:
        """Refuse it."""
        raise ServiceError("slow down", code="ThrottlingException", transient=True)


async def test_a_segment_that_could_not_be_continued_comes_back_whatever_became_of_others():
    """One that was left in a message of several is sent on, and that message is done with."""
    batch = batch_with(LedgerWithoutHops())
    left = segment("a", 1)
    stopped = SegmentStopped(segment("a", 0), "null", 0, rest={"type": "s3-lines"})
    done = [(record("a", 0), stopped), (record("a", 1), BundleResult([], [left])), ended("a", 2)]
    assert await commit_ended(done, batch) == {1, 2}
    assert [each.body for each in await batch.state.backend.work_queue.receive()] == [left.to_body()]


async def test_what_is_not_for_the_ledger_is_accepted_as_it_is():
    """Late segments, what was quarantined, and what was sent to the work queue again."""
    ledger = InMemoryLedger()
    done = [*((Record(make_record()), why) for why in Unrecorded), ended("a", 3)]
    assert await commit_ended(done, batch_with(ledger)) == {0, 1, 2, 3}
    assert [marker.ids for marker in await markers_of(ledger, "a")] == [[3]]


async def test_a_segment_that_ended_three_times_in_a_batch_stands_in_three_markers():
    """So that the account counts each delivery, and the union each segment once."""
    ledger = InMemoryLedger()
    done = [ended("a", 3), ended("a", 4), ended("a", 3), ended("a", 3)]
    assert await commit_ended(done, batch_with(ledger)) == {0, 1, 2, 3}
    assert sorted(marker.ids for marker in await markers_of(ledger, "a")) == [[3], [3], [3, 4]]
    assert await ledger.counter("a") == Counter(4)


async def test_a_very_large_batch_is_entered_in_several_markers():
    """An item of the table has a limited size."""
    ledger = InMemoryLedger()
    assert len(await commit_ended([ended("a", number) for number in range(2_001)], batch_with(ledger))) == 2_001
    assert sorted(len(marker.ids) for marker in await markers_of(ledger, "a")) == [1, 1000, 1000]


async def test_a_long_reason_is_cut():
    """The whole of it is with the body, under the run."""
    ledger = InMemoryLedger()
    await commit_ended([(record("a", 0), SegmentFailed(segment("a", 0), 1, "x" * 5_000))], batch_with(ledger))
    (marker,) = await markers_of(ledger, "a")
    assert marker.failed == {0: "x" * 300}
    assert marker.ids == []


@pytest.mark.parametrize(("longest", "inline"), [(INLINE_RESULTS_BYTES - 2, True), (INLINE_RESULTS_BYTES - 1, False)])
async def test_results_stand_in_the_marker_as_long_as_they_are_short(longest: int, inline: bool):
    """Together: else all of them stand in one object, and the marker says which."""
    ledger = InMemoryLedger()
    batch = batch_with(ledger)
    results = {0: f'"{"x" * (longest - 2)}"', 1: "22"}
    assert await commit_ended([ended("a", number, result=each) for number, each in results.items()], batch) == {0, 1}
    (marker,) = await markers_of(ledger, "a")
    assert (marker.results == results, marker.results_key is None) == (inline, inline)
    if marker.results_key is not None:
        assert marker.results == {}
        assert results_from_json(await batch.state.backend.get_result(marker.results_key)) == results


async def test_a_marker_tells_of_deliveries_beyond_the_first_and_of_the_items_of_what_is_done():
    """What every segment has is not written down for each."""
    ledger = InMemoryLedger()
    done = [(record("a", number), SegmentDone(segment("a", number), 1 + number, "1", 7)) for number in range(3)]
    failed = (record("a", 3), SegmentFailed(segment("a", 3), 5, "broken"))
    await commit_ended([failed, *done], batch_with(ledger))
    (marker,) = await markers_of(ledger, "a")
    assert (marker.ids, marker.receive_counts, list(marker.items)) == ([0, 1, 2], {1: 2, 2: 3, 3: 5}, [7, 7, 7])
    assert marker.failed == {3: "broken"}
