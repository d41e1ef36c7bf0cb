"""A job in this process, from its source to its output."""

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from failing import RefusingQueue, throttled
from fanfold import Items, Job, S3Objects, Segment, inmemory
from fanfold._jobs.report import read_report
from fanfold._ports.queue import Message
from fanfold.errors import ConfigurationError, ServiceError
from harness import Bench, ended, started
from numbers_job import NUMBERS, make_job


async def test_the_results_of_all_segments_are_folded_in_segment_order():
    """Regardless of the order in which segments end, the fold sees every result once."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    await bench.settle(most=3)
    assert await bench.output() == list(range(100))
    assert (await bench.run()).state == "SUCCEEDED"


async def test_a_listing_is_planned_once_and_resumed_unchanged():
    """A run over a listing whose scatter failed resumes with the objects of the first listing."""
    refused: list[int] = []

    def gate(operation: str) -> None:
        if operation == "before checkpoint" and not refused:
            refused.append(1)
            raise throttled()

    async def keys(rows, ctx):
        return [row["key"] async for row in rows]

    bench = Bench(make_job(segment=keys), gate=gate)
    bench.job.source(lambda params: S3Objects("source", keys_per_segment=3))
    bench.store.fill("source", {f"{number:03d}": b"" for number in range(600)})
    with pytest.raises(ServiceError):
        await bench.job.start(bench.backend, {}, "run")
    bench.store.fill("source", {"000-new": b""})
    assert (await bench.job.start(bench.backend, {}, "run")).segments == 200
    await bench.settle()
    assert await bench.output() == [f"{number:03d}" for number in range(600)]


async def test_duplicated_messages_do_not_change_the_output():
    """Every segment is delivered twice; the run report counts the duplicates."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    for queued in bench.plain.work_queue.messages():
        await bench.plain.work_queue.send([queued.message])
    await bench.settle(most=7)
    assert await bench.output() == list(range(100))
    report = await read_report(bench.plain, await bench.run())
    assert (report.segments, report.done) == (29, 29)
    assert report.deliveries == 29 + report.duplicates > 29


async def test_a_segment_that_fails_at_first_is_delivered_again():
    """The run report counts the retry, and the output is exact."""

    async def segment(rows, ctx):
        if ctx.segment.number == 3 and ctx.receive_count == 1:
            raise ConnectionError
        return [number async for number in rows]

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS))
    assert await bench.output() == list(range(100))
    report = await read_report(bench.plain, await bench.run())
    assert (report.retries, report.deliveries, report.duplicates) == (1, 30, 0)


async def test_a_segment_that_fails_permanently_fails_the_run_with_a_list_and_its_body_is_stored():
    """No output is committed that omits a segment."""

    async def segment(rows, ctx):
        if ctx.segment.number == 3:
            raise ConnectionError
        return 1

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS))
    run = await bench.run()
    assert (run.state, run.failed) == ("FAILED", 1)
    assert await bench.output() == {
        "segments": {"3": "moved to the dead-letter queue by its redrive policy: too many deliveries without success"}
    }
    failure = json.loads(await bench.plain.get_result("runs/run/0/failed/3.json"))
    assert Segment.from_body(failure["body"]).number == 3


async def test_a_message_that_is_not_a_segment_is_quarantined_with_the_reason():
    """The run continues without it, and the message is not lost."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    await bench.plain.work_queue.send([Message("stray")])
    await bench.settle()
    (quarantined,) = await bench.plain.quarantine_queue.receive()
    assert quarantined.body == "stray"
    assert "the body is not JSON" in json.loads(quarantined.attributes["fanfold"])["reason"]
    assert (await bench.run()).state == "SUCCEEDED"


@pytest.mark.parametrize(
    ("stray", "reason"),
    [
        (Segment("sum", "other", 0, {"type": "s3-lines"}), "is not in the ledger"),
        (Segment("other", "run", 0, {"type": "s3-lines"}), "belongs to job 'other', not to 'sum'"),
    ],
)
async def test_a_segment_of_an_unknown_run_or_another_job_is_quarantined(stray: Segment, reason: str):
    """It does not count for any run of this job."""
    bench = Bench(make_job())
    await bench.plain.work_queue.send([Message(stray.to_body())])
    await bench.settle()
    (quarantined,) = await bench.plain.quarantine_queue.receive()
    assert reason in json.loads(quarantined.attributes["fanfold"])["reason"]


async def test_a_stray_that_cannot_be_quarantined_is_not_acknowledged():
    """It stays in the dead-letter queue."""
    bench = Bench(make_job())
    bench.backend = replace(bench.plain, quarantine_queue=RefusingQueue())
    dead = bench.plain.work_queue.dead_letter_queue
    await dead.send([Message("stray")])
    await bench.pump(dead, bench.job.dead_letter_handler)
    assert len(dead) == 1


async def test_a_late_segment_of_a_finished_run_is_acknowledged_without_running():
    """Its run no longer waits for it. A late message in the dead-letter queue has no effect either."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    late = [queued.message for queued in bench.plain.work_queue.messages()][:2]
    await bench.settle()
    before = await bench.ledger.counter("run")
    await bench.plain.work_queue.send(late[:1])
    await bench.plain.work_queue.dead_letter_queue.send(late[1:])
    await bench.settle()
    assert await bench.ledger.counter("run") == before
    assert len(bench.plain.quarantine_queue) == 0


async def test_results_too_large_for_a_marker_are_stored_in_s3():
    """They are read back unchanged."""

    async def segment(rows, ctx):
        return ["ü" * 3000, ctx.segment.number, 0.1 + 0.2]

    bench = await ended(Bench(make_job(segment=segment, fold=list), numbers_jsonl=NUMBERS))
    assert await bench.output() == [["ü" * 3000, number, 0.1 + 0.2] for number in range(29)]
    assert [key for key in bench.store._buckets["results"] if "/results/" in key]


async def test_a_result_that_is_not_json_is_a_permanent_error():
    """It is not retried forever, and the reason is in the log."""

    async def segment(rows, ctx):
        return {1, 2}

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert (await bench.run()).state == "FAILED"


async def test_an_async_fold_iterates_with_async_for():
    """It can also take the number of results."""

    async def fold(results):
        return [len(results), [result async for result in results]]

    async def segment(rows, ctx):
        return ctx.segment.number

    bench = await ended(Bench(make_job(segment=segment, fold=fold), numbers_jsonl=NUMBERS))
    assert await bench.output() == [29, list(range(29))]


@pytest.mark.parametrize(("raised_in", "state"), [(1, "SUCCEEDED"), (2, "SUCCEEDED"), (3, "FAILED")])
async def test_a_fold_that_raises_is_tried_three_times_and_then_fails_the_run(raised_in: int, state: str):
    """A run never hangs because its fold cannot succeed."""
    attempts = []

    def fold(results):
        attempts.append(1)
        if len(attempts) <= raised_in:
            raise ArithmeticError("no sum")
        return "fine"

    bench = await started(Bench(make_job(fold=fold), numbers_jsonl=NUMBERS))
    for _ in range(8):
        await bench.settle(rounds=100)
    run = await bench.run()
    assert (run.state, len(attempts)) == (state, 3 if raised_in == 3 else raised_in + 1)
    if state == "FAILED":
        assert await bench.output() == {"fold": "ArithmeticError: no sum"}


async def test_a_fold_that_does_not_return_json_fails_the_run_immediately():
    """A retry could not succeed."""
    bench = await ended(Bench(make_job(fold=lambda results: {1}), numbers_jsonl=NUMBERS))
    assert (await bench.run()).state == "FAILED"
    assert "must return a JSON value" in (await bench.output())["fold"]


async def test_the_lifespan_of_a_job_is_the_state_of_its_segments():
    """Like the lifespan of any consumer."""

    @asynccontextmanager
    async def lifespan():
        yield "the state"

    async def segment(rows, ctx):
        return [ctx.state, ctx.run.id]

    bench = await started(
        Bench(make_job(segment=segment, fold=list, lifespan=lifespan), numbers_jsonl=NUMBERS), chunk_bytes=1000
    )
    await bench.settle()
    assert await bench.output() == [["the state", "run"]]


def test_the_error_of_a_job_without_a_function_names_the_function():
    """It is raised when the handler is first used, at deployment."""
    for name in ("scatter", "segment", "fold"):
        with pytest.raises(ConfigurationError, match="decorate one with @job"):
            getattr(Job("empty"), f"{name}_handler")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Job(""),
        lambda: Job("a/b"),
        lambda: Job("job", concurrency=0),
        lambda: Job("job", watch_seconds=0),
        lambda: Job("job", watch_seconds=901),
        lambda: Job("job").source(5),
        lambda: Job("job", watch_seconds=True),
        lambda: Job("job", backend=inmemory.backend()),
        lambda: Job("job").with_changes(backend=inmemory.backend()),
    ],
)
def test_invalid_jobs_are_refused(make):
    """With one clear line each."""
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (lambda params: Items, "must return a source, such as .*, not <class"),
        (lambda params: params["bucket"], r"failed for params \{'key': 1\}: KeyError\('bucket'\)"),
        (lambda params: [1, 2], r"must return a source, such as .*, not \[1, 2\]"),
    ],
)
async def test_a_source_function_that_does_not_return_a_source_is_one_clear_error(source, complaint: str):
    """The error names the job; if the function raised, it also shows the parameters."""
    job = make_job()
    job.source(source)
    bench = Bench(job)
    with pytest.raises(ConfigurationError, match=complaint):
        await bench.job.start(bench.backend, {"key": 1}, "run")


def test_in_lambda_the_sdk_is_imported_while_the_execution_environment_initialises(monkeypatch: pytest.MonkeyPatch):
    """So that the first batch does not have to wait for it."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "segment")
    job = make_job()
    assert repr(job) == "<fanfold.Job sum>"
    assert job.segment_handler.__name__ == "segment_handler"
    assert job.dead_letter_handler is job.dead_letter_handler


@pytest.mark.parametrize("name", ["segment", "fold", "dead letter"])
def test_the_handlers_of_a_job_are_refused_for_worker_processes(name: str):
    """In one line, also if the segment function is a def."""

    def keep(rows, ctx):
        return list(rows)

    handler = getattr(make_job(segment=keep), f"{name.replace(' ', '_')}_handler")
    with pytest.raises(
        ConfigurationError, match=f"^{name} handlers cannot run in worker processes: .*remove processes$"
    ):
        handler.with_settings(processes=2, concurrency=2)
