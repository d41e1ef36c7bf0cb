"""Several small segments in one message: processed one after another, and not delayed by one that fails."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failing import RefusingQueue
from fanfold import Context, Job, Ranges, Reject, Segment, inmemory
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._base.record import Record
from fanfold._jobs.commit import commit_ended
from fanfold._jobs.job_state import JobState
from fanfold._jobs.report import read_report
from fanfold._jobs.segment import bodies, segments_of
from fanfold._jobs.segment_handler import process_message
from fanfold._jobs.segment_result import BundleResult, SegmentDone, Unrecorded
from fanfold.errors import ConfigurationError, SegmentError
from fanfold.testing import ManualClock, make_record
from harness import Bench, ended, started

SEGMENTS = [Segment("job", "run", n, {"type": "items", "values": [n]}, gen=2) for n in range(25)]


def bundle(*numbers: int) -> str:
    ((body, _),) = bodies([SEGMENTS[number] for number in numbers], len(numbers))
    return body


@given(count=st.integers(0, 25), size=st.integers(1, 30))
def test_bundled_segments_are_read_again(count, size):
    """In order, for any size; each body comes with the number of segments so far."""
    bundles = list(bodies(SEGMENTS[:count], size))
    assert [segment for body, _ in bundles for segment in segments_of(body)] == SEGMENTS[:count]
    assert [taken for _, taken in bundles] == [*range(size, count, size), *([count] if count else [])]


def test_a_bundle_of_one_segment_has_the_body_of_a_single_segment():
    """So that every release can read the messages of jobs without bundles."""
    assert bundle(3) == SEGMENTS[3].to_body()


def test_a_release_without_support_for_bundles_refuses_them():
    """It does not read a part of a bundle."""
    with pytest.raises(SegmentError):
        Segment.from_body(bundle(1, 2))


@pytest.mark.parametrize(
    "change",
    [
        {"segments": []},
        {"segments": {}},
        {"segments": [[1]]},
        {"segments": ["12"]},
        {"segments": [[-1, {"type": "items"}]]},
        {"segments": [[1, {"type": 5}]]},
        {"segment": 1},
        {"source": {"type": "items"}},
        {"v": 2},
        {"run": None},
    ],
)
def test_an_invalid_bundle_is_refused(change):
    """With the error of the segment, or of the list."""
    with pytest.raises(SegmentError):
        segments_of(json.dumps(json.loads(bundle(1, 2)) | change))


@pytest.mark.parametrize("body", ["", "[]", "{", '{"segments": [[1, {}]]}'])
def test_a_body_that_is_not_from_fanfold_is_refused(body):
    """Like for a single segment."""
    with pytest.raises(SegmentError, match="not a fanfold segment"):
        segments_of(body)


def make_job(per_message: int, failing: set[int], attempts: dict[int, int]) -> Job:
    job = Job("bundled", segments_per_message=per_message)
    job.source(lambda params: Ranges(params["count"], size=1))

    @job.segment
    async def segment(rows, ctx) -> int:
        (number,) = [row async for row in rows]
        attempts[number] = attempts.get(number, 0) + 1
        if number in failing:
            raise ValueError("poison")
        return number

    job.fold(list)
    return job


@pytest.mark.parametrize("per_message", [1, 2, 3, 10, 100])
async def test_the_results_of_all_segments_are_folded_in_order(per_message):
    """For any number of segments per message."""
    attempts: dict[int, int] = {}
    bench = await started(Bench(make_job(per_message, set(), attempts)), count=25)
    assert len(bench.plain.work_queue) == -(-25 // per_message)
    await bench.settle()
    assert await bench.output() == list(range(25))
    assert attempts == dict.fromkeys(range(25), 1)


async def test_a_segment_that_fails_continues_in_its_own_message_and_the_others_are_done_once():
    """It is tried as often as the queue allows, then reported; the others of its message are not processed again."""
    attempts: dict[int, int] = {}
    bench = await ended(Bench(make_job(5, {7}, attempts), max_receive_count=3), count=25)
    assert list((await bench.output())["segments"]) == ["7"]
    assert attempts == dict.fromkeys(range(25), 1) | {7: 1 + 3}
    report = await read_report(bench.plain, await bench.run())
    assert (report.done, report.duplicates) == (24, 0)


async def test_a_message_whose_segments_all_fail_is_redelivered_and_finally_all_are_reported():
    """Like a message with a single segment."""
    attempts: dict[int, int] = {}
    bench = await ended(Bench(make_job(5, {5, 6, 7, 8, 9}, attempts), max_receive_count=3), count=25)
    assert list((await bench.output())["segments"]) == ["5", "6", "7", "8", "9"]
    assert {attempts[number] for number in range(5, 10)} == {3}
    failure = json.loads(await bench.plain.get_result("runs/run/0/failed/6.json"))
    assert Segment.from_body(failure["body"]).number == 6


@pytest.mark.parametrize("error", [Reject("no such number"), SegmentError("no such number")])
async def test_a_rejected_segment_does_not_affect_the_others_of_its_message(error, monkeypatch):
    """Even if all segments of the message failed: the others have their own deliveries and reasons."""
    monkeypatch.setenv("FANFOLD_DEAD_LETTER_QUEUE_URL", "in this process")
    attempts: dict[int, int] = {}
    job = make_job(3, set(), attempts)

    @job.segment
    async def segment(rows: Any, ctx: Any) -> int:
        number = ctx.segment.number
        attempts[number] = attempts.get(number, 0) + 1
        if number == 0:
            raise error
        if attempts[number] == 1:
            raise ConnectionError("not now")
        return [row async for row in rows][0]  # noqa: RUF015 - an async iterator

    bench = await ended(Bench(job, max_receive_count=3), count=3)
    assert list((await bench.output())["segments"]) == ["0"]
    assert "no such number" in (await bench.output())["segments"]["0"]
    assert attempts == {0: 2, 1: 2, 2: 2}


async def test_the_position_of_a_scatter_counts_segments_and_not_messages():
    """A scatter that died can therefore be resumed with the first message that may not have been sent."""
    bench = Bench(make_job(10, set(), {}))
    positions: list[int] = []
    await bench.job.start(bench.backend, {"count": 25}, "run", progress=positions.append)
    assert (await bench.run()).position == 25
    assert positions[-1] == 25


async def test_remaining_segments_are_sent_separately_before_their_message_is_acknowledged():
    """If the queue refuses them, the message is redelivered; the ledger may hold the ended ones, which is harmless."""
    backend = inmemory.backend()
    batch: Any = BatchContext(None, Deadline.never(), JobState(backend))
    done = [(Record(make_record("x")), BundleResult([SegmentDone(SEGMENTS[1], 1, "1", 1)], [SEGMENTS[2], SEGMENTS[3]]))]
    assert await commit_ended(done, batch) == {0}
    assert [message.body for message in await backend.work_queue.receive()] == [s.to_body() for s in SEGMENTS[2:4]]
    refusing = BatchContext(None, Deadline.never(), JobState(replace(backend, work_queue=RefusingQueue())))
    assert await commit_ended([*done, (Record(make_record("y")), Unrecorded.LATE)], refusing) == {1}


def test_zero_segments_per_message_is_refused():
    """When the job is created."""
    with pytest.raises(ConfigurationError, match="segments_per_message"):
        Job("job", segments_per_message=0)


async def test_segments_that_would_start_after_the_deadline_are_sent_on_without_having_run():
    """The results of ended segments are kept."""
    clock = ManualClock()
    backend = inmemory.backend()
    job = make_job(10, set(), {})
    await job.start(backend, {"count": 4}, "run")
    (message,) = await backend.work_queue.receive()

    async def slow(rows: Any, ctx: Any) -> int:
        clock.advance(6)
        return [row async for row in rows][0]  # noqa: RUF015 - an async iterator

    batch: Any = BatchContext(None, Deadline(clock() + 15, 5, clock), JobState(backend))
    record = Record(make_record(message.body))
    value = await process_message("bundled", slow, record, Context(record, batch))
    assert isinstance(value, BundleResult)
    assert [result.segment.number for result in value.ended] == [0, 1]
    assert [segment.number for segment in value.left] == [2, 3]


async def test_a_bundle_of_an_ended_run_is_late():
    """All of its segments are late."""
    bench = await started(Bench(make_job(5, set(), {})), count=5)
    (message,) = await bench.plain.work_queue.receive()
    await bench.ledger.claim("run", now=0, lease_seconds=900)
    batch: Any = BatchContext(None, Deadline.never(), JobState(bench.plain))
    record = Record(make_record(message.body))
    assert await process_message("bundled", lambda rows, ctx: None, record, Context(record, batch)) is Unrecorded.LATE


async def bundled(count: int) -> tuple[Record, Context[Any]]:
    """Return the only message of a run whose segments share it, and its context."""
    backend = inmemory.backend()
    await make_job(10, set(), {}).start(backend, {"count": count}, "run")
    (message,) = await backend.work_queue.receive()
    batch: Any = BatchContext(None, Deadline.never(), JobState(backend))
    record = Record(make_record(message.body))
    return record, Context(record, batch)


async def test_each_segment_of_a_message_has_its_own_context():
    """With its message and its run."""
    record, ctx = await bundled(3)
    seen = []

    async def function(rows: Any, ctx: Any) -> dict:
        seen.append((ctx.segment.number, ctx.run.id, ctx.record))
        return {"rows": [row async for row in rows], "of": 3}

    value = await process_message("bundled", function, record, ctx)
    assert seen == [(0, "run", record), (1, "run", record), (2, "run", record)]
    assert isinstance(value, BundleResult)
    assert [result.result for result in value.ended] == [f'{{"rows":[{number}],"of":3}}' for number in range(3)]


async def test_a_message_whose_segments_all_fail_fails_with_the_first_error(caplog: pytest.LogCaptureFixture):
    """The log contains all errors."""
    record, ctx = await bundled(3)

    async def function(rows: Any, ctx: Any) -> None:
        raise ValueError(f"poison {ctx.segment.number}")

    with pytest.raises(ValueError, match="poison 0"):
        await process_message("bundled", function, record, ctx)
    assert [line.getMessage() for line in caplog.records] == [
        f"run run, segment {number} failed and is sent in a separate message" for number in range(3)
    ]


async def test_without_continuation_segments_are_not_continued_in_another_message():
    """A segment that passes the deadline is processed to its end."""
    record, ctx = await bundled(1)
    over: Any = BatchContext(None, Deadline(0, 0, lambda: 1.0), ctx.state)

    async def function(rows: Any, ctx: Any) -> int:
        return len([row async for row in rows])

    ended = await process_message("bundled", function, record, Context(record, over))
    assert isinstance(ended, SegmentDone)
    assert (ended.result, ended.items) == ("1", 1)
