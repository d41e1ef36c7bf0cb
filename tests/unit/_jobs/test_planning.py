"""Runs whose planning outlasts an invocation: the fold function, or a retry, continues it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import anyio
import pytest

from failing import throttled
from fanfold import Deadline, Job, S3Lines, S3Objects
from fanfold._jobs.planning import Planning
from fanfold._jobs.redrive import redrive
from fanfold._jobs.report import read_report
from fanfold._jobs.scatter import ScatterResult, resume_scatter, scatter
from fanfold.errors import FanfoldError, ServiceError, UnfinishedPlanError
from fanfold.sources import manifest
from fanfold.testing import make_context
from harness import Bench
from numbers_job import all_of

OBJECTS = {f"in_{number:03}.txt": b"%d\n" % number for number in range(100)}
"""Objects with one line each; the harness replaces the underscores in names by dots."""
LINES = [str(number) for number in range(100)]


def job_of(source: Any = None, **settings: Any) -> Job:
    job = Job("sum", **settings)
    job.source(lambda params: source or S3Lines("source", prefix="in."))
    job.segment(all_of)
    job.fold(lambda results: [item for result in results for item in result])
    return job


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of about ten lines, so that plans are saved often."""
    monkeypatch.setattr(manifest, "CHUNK_BYTES", 2_000)


class Slow(Bench):
    """A job whose store takes a second for each request, and whose invocations have 30 seconds."""

    def __init__(self, job: Job, **objects: bytes) -> None:
        self.requests: list[str] = []

        def gate(operation: str) -> None:
            if operation in {"before read_start", "before list"}:
                self.requests.append(operation)
                self.clock.advance(1)

        super().__init__(job, gate=gate, **(objects or OBJECTS))

    async def start(self) -> ScatterResult:
        return await scatter(
            "sum",
            self.job.source_of({}),
            run_id="run",
            params={},
            backend=self.backend,
            watch_seconds=900,
            deadline=Deadline.after(30, clock=self.clock),
        )


async def test_planning_that_outlasts_an_invocation_is_continued_by_the_fold_function():
    """As often as needed, within each invocation's time; every object is planned once, and the output is complete."""
    bench = Slow(job_of())
    assert await bench.start() == ScatterResult("run", 0, complete=False)
    unfinished = await bench.run()
    assert not unfinished.is_planned
    assert unfinished.progress < 0
    assert (await read_report(bench.plain, unfinished)).segments == 0
    await bench.settle()
    run = await bench.run()
    assert (run.is_planned, run.state) == (True, "SUCCEEDED")
    assert await bench.output() == LINES
    assert (await read_report(bench.plain, run)).duplicates == 0


async def test_a_listing_that_outlasts_an_invocation_is_continued_by_the_fold_function():
    """A segment ends where the first invocation stopped; every key is in one segment."""
    bench = Bench(job_of(S3Objects("source", prefix="in.", keys_per_segment=7)), **OBJECTS)
    with stopping_after(50):
        assert not (await bench.job.start(bench.backend, {}, "run")).complete
    await bench.settle()
    assert [item["key"] for item in await bench.output()] == [name.replace("_", ".") for name in OBJECTS]
    assert (await bench.ledger.counter("run")).total == 15


@contextmanager
def stopping_after(objects: int) -> Iterator[None]:
    """Stop the planning of an invocation after so many objects."""
    calls = count()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Planning, "_must_stop", lambda _: next(calls) >= objects)
        yield


async def test_an_invocation_that_died_while_planning_is_resumed_from_the_last_chunk():
    """By a second call with the same run, which looks at no object that is in the saved plan."""
    bench = Slow(job_of())
    died = False

    def die(operation: str) -> None:
        nonlocal died
        if operation == "before read_start" and len(bench.requests) == 90 and not died:
            died = True
            raise ServiceError("killed", code="Killed", transient=False)

    slow_gate = bench.backend.store._gate
    bench.backend.store._gate = lambda operation: (slow_gate(operation), die(operation))
    with pytest.raises(ServiceError, match="killed"):
        await bench.job.start(bench.backend, {}, "run")
    saved = await bench.run()
    assert not saved.is_planned
    planned = saved.plan["objects"]
    assert planned > 40
    before = len(bench.requests)
    assert (await bench.job.start(bench.backend, {}, "run")).segments == 100
    assert len(bench.requests) - before == 1 + 100 - planned
    await bench.settle()
    assert await bench.output() == LINES


async def test_a_run_whose_planning_died_is_resumed_without_a_call():
    """By the second check of the fold function that finds no progress."""
    bench = Slow(job_of())
    gate = bench.backend.store._gate

    def die(operation: str) -> None:
        gate(operation)
        if len(bench.requests) == 90:
            bench.requests.append("died")
            raise ServiceError("killed", code="Killed", transient=False)

    bench.backend.store._gate = die
    with pytest.raises(ServiceError, match="killed"):
        await bench.job.start(bench.backend, {}, "run")
    began = bench.clock()
    await bench.settle()
    assert await bench.output() == LINES
    assert bench.clock() - began >= 2 * 900


async def test_two_invocations_that_plan_the_same_run_do_not_mix():
    """Lambda may retry an asynchronous invocation that still runs. One of them finishes; the other uses its plan."""
    bench = Slow(job_of())
    results: list[ScatterResult] = []

    async def start() -> None:
        results.append(await bench.job.start(bench.backend, {}, "run"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        tasks.start_soon(start)
    await bench.settle()
    assert await bench.output() == LINES
    assert {result.segments for result in results} <= {0, 100}
    assert 100 in {result.segments for result in results}


async def test_an_invocation_that_is_overtaken_stops_planning_and_requests_nothing():
    """The other one continues itself; its plan is not replaced."""
    bench = Bench(job_of(), **OBJECTS)
    with stopping_after(30):
        await bench.job.start(bench.backend, {}, "run")
    slow = Planning(bench.backend, Deadline.never())
    before = await bench.run()
    with stopping_after(30):
        await resume_scatter(before, bench.backend, Deadline.never())
    faster = await bench.run()
    checks = len(bench.plain.fold_queue)
    assert await slow.resume(before) == faster
    assert slow.overtaken
    with stopping_after(30):
        overtaken = await resume_scatter(before, bench.backend, Deadline.never())
    assert overtaken == ScatterResult("run", 0, complete=False)
    assert (await bench.run(), len(bench.plain.fold_queue)) == (faster, checks)
    await bench.settle()
    assert await bench.output() == LINES


async def test_a_later_step_that_does_not_end_in_time_is_continued_by_another_one():
    """The fold function requests itself until the run is planned."""
    bench = Bench(job_of(), **OBJECTS)
    with stopping_after(30):
        await bench.job.start(bench.backend, {}, "run")
    for _ in range(2):
        with stopping_after(30):
            assert not (await resume_scatter(await bench.run(), bench.backend, Deadline.never())).complete
    run = await bench.run()
    assert (run.is_planned, run.plan["objects"], len(run.plan["more"])) == (False, 91, 2)
    await bench.settle()
    assert await bench.output() == LINES


async def test_an_object_that_cannot_be_planned_later_fails_the_run_with_its_name():
    """The scatter function has returned by then, so the reason is the run's; there is nothing to redrive."""
    objects = {name.replace("txt", "csv"): b"n\n" + data for name, data in OBJECTS.items()}
    bench = Slow(job_of(), **objects | {"in_070.csv": b"n,n\n1,2\n"})
    assert not (await bench.start()).complete
    await bench.settle()
    run = await bench.run()
    assert run.state == "FAILED"
    reason = json.loads(await bench.plain.get_result(run.output))["fold"]
    assert reason.startswith("the run could not be planned: ")
    assert "s3://source/in.070.csv: line 1, the header, has the column 'n' twice" in reason
    with pytest.raises(FanfoldError, match="run run has no complete plan: correct the input, and start a new run"):
        await redrive("run", bench.plain)
    assert len(bench.plain.work_queue) == 0


async def test_a_key_of_unknown_format_fails_the_run_after_three_attempts():
    """A setting is wrong, but a deployment may correct it: so it is tried again first."""
    bench = Slow(job_of(), **OBJECTS | {"in_070.what": b"1"})
    assert not (await bench.start()).complete
    await bench.settle()
    run = await bench.run()
    assert run.state == "FAILED"
    assert "the format of 'in.070.what' is unknown" in json.loads(await bench.plain.get_result(run.output))["fold"]


async def test_a_throttled_request_while_planning_is_repeated():
    """As every call of fanfold; no object is planned twice."""
    throttles = 5

    def gate(operation: str) -> None:
        nonlocal throttles
        if operation == "before read_start" and throttles:
            throttles -= 1
            raise throttled()

    bench = Bench(job_of(), gate=gate, **OBJECTS)
    assert (await bench.job.start(bench.backend, {}, "run")).segments == 100
    assert throttles == 0


def test_a_state_machine_retries_its_plan_step_until_the_run_is_planned():
    """Each attempt continues where the one before stopped; the last one returns all segments."""
    bench = Bench(job_of(), **OBJECTS)
    event = {"run": "run", "input": {}, "items": "payload"}
    for _ in range(3):
        with stopping_after(30), pytest.raises(UnfinishedPlanError, match="run run: planning has not ended; a retry"):
            bench.job.plan_handler(event, make_context(900))
    planned = bench.job.plan_handler(event, make_context(900))
    assert planned["segments"] == len(planned["items"]) == 100
