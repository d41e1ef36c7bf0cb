"""Damaged items of a ledger: how they are read, counted, and ended, at no cost to the others."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from failing import throttled
from fanfold import inmemory
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._jobs.collect import collect
from fanfold._jobs.deliveries import ATTEMPT, END, FAILURE, Event, count_deliveries
from fanfold._jobs.fold_requests import WatchRun, send_request
from fanfold._jobs.job_state import JobState
from fanfold._jobs.message_check import live_run
from fanfold._jobs.redrive import failures_of, redrive
from fanfold._jobs.results import opened
from fanfold._jobs.run_columns import Attempts, Ends
from fanfold._jobs.run_details import read_details
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_count import count_segments, total_of
from fanfold._jobs.tally import Redo
from fanfold._ports.run import Attempt, Counter, FailedBatch, Hop, Marker, Run, RunState, Unreadable
from fanfold.errors import FanfoldError, LedgerError, SegmentError
from fanfold.inmemory import InMemoryLedger
from harness import Bench, started
from numbers_job import ranges_job

RUN = Run("run", "numbers", {}, {"type": "items", "values": [1, 2, 3], "size": 1}, created_at=0.0, expires_at=1)
DAMAGED = Unreadable("RUN#run#1 MARK#0#x", "it cannot be read")


class DamagedLedger(InMemoryLedger):
    """A ledger that also has an item of each kind that cannot be read."""

    async def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker | Unreadable]:
        yield DAMAGED
        async for marker in super().markers(run_id, gen):
            yield marker

    async def hops(self, run_id: str, gen: int) -> AsyncIterator[Hop | Unreadable]:
        yield DAMAGED
        async for hop in super().hops(run_id, gen):
            yield hop

    async def attempts(self, run_id: str, gen: int) -> AsyncIterator[FailedBatch | Unreadable]:
        yield DAMAGED
        async for batch in super().attempts(run_id, gen):
            yield batch


async def backend_with(*markers: Marker, ledger: InMemoryLedger | None = None, run: Run = RUN) -> Any:
    backend = replace(inmemory.backend(), ledger=ledger or InMemoryLedger())
    await backend.ledger.open_run(run)
    await backend.ledger.seal("run", 3)
    for marker in markers:
        await backend.ledger.put_marker("run", marker)
        await backend.ledger.count("run", len(marker.ids) + len(marker.failed))
    return backend


async def test_the_details_of_a_run_list_what_cannot_be_read():
    """The rest is counted."""
    backend = await backend_with(Marker("m", 0, ids=[0], results={0: "1"}, ended_at=5.0), ledger=DamagedLedger())
    details = await read_details(RUN, backend)
    assert (details.done, details.total, details.is_exact) == (1, 3, False)
    assert details.unreadable == [DAMAGED] * 3
    assert details.elapsed > 0
    assert (await read_details(replace(RUN, ended_at=7.0), backend)).elapsed == 7.0


async def test_segments_whose_ends_cannot_be_read_fail_only_if_as_many_ends_were_counted():
    """Others may still be processed."""
    backend = await backend_with(Marker("m", 0, ids=[0], results={0: "1"}), ledger=DamagedLedger())
    with opened() as rows:
        assert (await collect(RUN, 3, backend, rows, counted=2)).tally.missing == 2
        collected = await collect(RUN, 3, backend, rows, counted=3)
        assert collected.tally.failed == dict.fromkeys((1, 2), "its end cannot be read: it cannot be read")
        await collected.pin()
        assert list(await collected.results()) == [1]


async def test_a_result_that_is_nested_deeply_is_not_lost_and_one_that_is_not_json_is():
    """Sqlite limits the depth more than Python."""
    deep = "[" * 900 + "]" * 900
    results = {0: deep, 1: "[1,", 2: "3"}
    backend = await backend_with(Marker("m", 0, ids=[0, 1, 2], results=results))
    with opened() as rows:
        collected = await collect(RUN, 3, backend, rows)
        assert len(await collected.results()) == 2
        assert collected.tally.failed == {1: "its result in the ledger is not JSON"}


async def test_the_result_of_a_hop_that_is_missing_fails_its_segment():
    """Its object was deleted; a hop after the end that counts is ignored."""
    backend = await backend_with(Marker("m", 0, ids=[0, 1, 2], results={0: "1", 1: "2", 2: "3"}, hops={0: 1, 1: 1}))
    await backend.ledger.put_hop("run", Hop(0, 0, 0, {}, None, results_key="missing"))
    await backend.ledger.put_hop("run", Hop(1, 0, 0, {}, '"first"'))
    await backend.ledger.put_hop("run", Hop(1, 5, 0, {}, '"later"'))
    with opened() as rows:
        collected = await collect(RUN, 3, backend, rows)
        assert list(await collected.results()) == ["first", 2, 3]
        assert list(collected.tally.failed) == [0]


@pytest.mark.parametrize(
    ("changes", "segment", "match"),
    [
        ({"job": "other"}, {}, "run run belongs to job 'other', not to 'numbers'"),
        ({"plan": {"type": "items", "unfinished": {}}}, {}, "the run has no complete plan yet"),
        ({}, {"gen": 1}, "the segment is of generation 1, but the run is in 0"),
        ({}, {"number": 3}, "the run has no segment of this number"),
        ({}, {"hop": 1, "source": {"type": "items"}}, "is not the data in the plan of the run"),
    ],
)
async def test_a_message_that_is_not_of_its_run_is_refused(
    changes: dict[str, Any], segment: dict[str, Any], match: str
):
    """Before it is processed, and with what is wrong."""
    backend = await backend_with(run=replace(RUN, **changes))
    batch = BatchContext(None, Deadline.never(), JobState(backend))
    sent = replace(Segment("numbers", "run", 0, {"type": "items", "values": [1]}), **segment)
    with pytest.raises(SegmentError, match=match):
        await live_run("numbers", [sent], batch)
    if not changes:
        assert await live_run("numbers", [Segment("numbers", "run", 0, {"type": "items", "values": [1]})], batch) == RUN


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 1_000])
def test_the_plan_determines_the_number_of_segments(count: int):
    """A number in the ledger that it contradicts is replaced, also that of the segments enqueued so far."""
    plan = {"type": "items", "values": list(range(count)), "size": 1}
    run = replace(RUN, plan=plan, position=count)
    assert count_segments(plan) == count
    for total in (0, 1, count - 1, count, count + 1, -5, 10**18):
        assert total_of(run, Counter(0, total)) == count
    assert total_of(run, Counter(0)) == count
    assert total_of(replace(run, position=count // 2), Counter(0)) == count // 2
    assert total_of(replace(run, position=10**9), Counter(0)) == count
    assert total_of(replace(run, gen=1, position=0), Counter(0)) == count


def test_a_plan_that_this_release_does_not_know_keeps_the_number_in_the_ledger():
    """And so does one that is unfinished."""
    assert total_of(replace(RUN, plan={"type": "unknown"}), Counter(0, 7)) == 7
    assert total_of(replace(RUN, plan={"type": "items"}), Counter(0, 7)) == 7
    assert total_of(replace(RUN, plan={"unfinished": 1}, position=2), Counter(0)) == 2


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], (0, False)),
        ([Event(END, 1)], (1, False)),
        ([Event(END, 1), Event(END, 1)], (2, False)),
        ([Event(ATTEMPT, 1, 7), Event(END, 2, 7)], (2, False)),
        ([Event(END, 3, 7)], (3, False)),
        ([Event(ATTEMPT, 1, 7), Event(END, 3, 8)], (4, False)),
        ([Event(END, 1), Event(END, 2, 7)], (2, True)),
        ([Event(ATTEMPT, 1, 7), Event(END, 2, 8, 1)], (2, False)),
        ([Event(END, 4, 8, 3)], (4, False)),
        ([Event(ATTEMPT, 1, 7), Event(ATTEMPT, 1, 8), Event(END, 3, 9, 2)], (3, True)),
        ([Event(END, 1), Event(END, 2, 9, 1)], (2, True)),
        ([Event(ATTEMPT, 2, 7), Event(FAILURE, 3)], (3, False)),
        ([Event(ATTEMPT, 2, 7), Event(ATTEMPT, 1, 8), Event(FAILURE, 9)], (9, True)),
    ],
)
def test_deliveries_are_counted_by_message(events: list[Event], expected: tuple[int, bool]):
    """A delivery that was killed is counted by the next one; what may be missing is stated."""
    assert count_deliveries(events) == expected


async def test_a_counter_without_a_total_is_restored_after_a_redrive():
    """By the watch of the run."""
    bench = Bench(ranges_job(3, tolerated_failures=0))
    bad = {1}

    async def segment(rows, ctx) -> list[int]:
        if ctx.segment.number in bad:
            raise ValueError("broken")
        return [number async for number in rows]

    bench.job.segment(segment)
    await (await started(bench)).settle()
    bad.clear()
    await redrive("run", bench.plain)
    bench.ledger._counters["run"] = Counter(2)
    await bench.settle()
    assert await bench.output() == [0, 1, 2]


async def test_a_redrive_that_cannot_read_a_hop_starts_its_segment_again():
    """All of it is read."""
    failed = Marker("m", 0, failed={0: "stopped", 1: "stopped", 2: "no"}, hops={0: 2, 1: 1})
    run = replace(RUN, state=RunState.FAILED, failed=3, output=RUN.failures_key())

    class Unreadables(InMemoryLedger):
        async def hop(self, run_id: str, gen: int, segment: int, number: int) -> Hop | None:
            if segment == 0:
                raise LedgerError("it cannot be read")
            return None

    backend = await backend_with(failed, ledger=Unreadables(), run=run)
    assert (await failures_of("run", backend)).hops == {0: (0, 1), 1: (0, 0)}
    assert (await redrive("run", backend)).segments == 3
    bodies = [json.loads(message.body) for message in await backend.work_queue.receive(max_messages=10)]
    assert [(body["segment"], body["hop"], body["gen"]) for body in bodies] == [(0, 0, 1), (1, 0, 1), (2, 0, 1)]


async def test_segments_that_cannot_be_sent_end_the_run():
    """The list of redriven segments names one that the run lacks; the others are not affected by another redrive."""
    bench = await started(Bench(ranges_job(3)))
    await bench.settle()
    key = "runs/run/1/redo-x.json"
    await bench.plain.put_result(key, json.dumps(["9", "", 0, {}]).encode())
    bench.ledger._runs["run"] = replace(
        await bench.run(), gen=1, redos=[key], redo=1, position=0, state=RunState.RUNNING, ended_at=None
    )
    await send_request(bench.plain, WatchRun("run", 0))
    await bench.settle()
    run = await bench.run()
    assert run.ended
    assert "its segments could not be sent" in (await bench.plain.get_result(str(run.output))).decode()


async def test_a_scatter_that_a_service_refuses_is_tried_again():
    """It is not damage, so it does not end the run."""
    fails = 4

    def gate(operation: str) -> None:
        nonlocal fails
        if operation == "before checkpoint" and fails:
            fails -= 1
            raise throttled()

    bench = Bench(ranges_job(3), gate=gate)
    with suppress(FanfoldError):
        await started(bench)
    await bench.settle()
    assert await bench.output() == [0, 1, 2]


def test_ends_and_attempts_that_say_little_are_counted():
    """Without times or items, outside the run, or older than the last one."""
    ends, attempts = Ends(2), Attempts(2)
    ends.tally.redo(Redo([0, 1, 7], lost=[1, 7]))
    for marker in (
        Marker("a", 0, ids=[0, 9]),
        Marker("b", 0, failed={0: "late", 1: "no", 9: "no"}, receive_counts={1: 0}),
    ):
        ends.tally.add(marker)
        ends.add(marker)
    for hop in (Hop(0, 0, 0, {}, "1", items=3), Hop(9, 0, 0, {}, "1"), Hop(0, 1, 3, {}, "1", seconds=1.0)):
        ends.add_hop(hop)
    first, second = ends.all()
    assert (first.began_at, first.items, first.seconds, second.reason) == (None, None, None, "no")
    late = Attempt(0, 0, 0, 2, 9.0, 1.0, "E", "late")
    for attempt in (late, replace(late, began_at=1.0, message="early"), replace(late, segment=9)):
        attempts.add(attempt)
    assert attempts.last(0) == late
    assert len(list(attempts.all())) == 2


async def test_results_that_are_lost_before_they_are_combined_end_the_run():
    """As failures, if they are not tolerated."""
    job = ranges_job(5, fan_in=2)
    job.combine(lambda results: [number for result in results for number in result])
    bench = await started(Bench(job))
    await bench.work()
    markers = bench.ledger._markers["run"]
    name = next(iter(markers))
    markers[name] = replace(markers[name], results={})
    await bench.settle()
    assert (await bench.run()).state == "FAILED"
    await redrive("run", bench.plain)
    await bench.settle()
    assert await bench.output() == list(range(5))
