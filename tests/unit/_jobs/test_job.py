"""A job in this process, from its source to its one output."""

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
    """Whatever order they ended in, the fold sees the whole, once."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    await bench.settle(most=3)
    assert await bench.output() == list(range(100))
    assert (await bench.run()).state == "SUCCEEDED"


async def test_a_listing_is_planned_once_and_resumed_as_it_was():
    """A run over a listing whose scatter failed goes on with what was listed at first, whatever came since."""
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


async def test_duplicated_messages_change_nothing():
    """Every segment is delivered twice; the account says so."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    for queued in bench.plain.work_queue.messages():
        await bench.plain.work_queue.send([queued.message])
    await bench.settle(most=7)
    assert await bench.output() == list(range(100))
    account = await read_report(bench.plain, await bench.run())
    assert (account.segments, account.done) == (29, 29)
    assert account.deliveries == 29 + account.duplicates > 29


async def test_a_segment_that_fails_at_first_is_delivered_again():
    """Its retry is in the account, and the output is exact."""

    async def segment(rows, ctx):
        if ctx.segment.number == 3 and ctx.receive_count == 1:
            raise ConnectionError
        return [number async for number in rows]

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS))
    assert await bench.output() == list(range(100))
    account = await read_report(bench.plain, await bench.run())
    assert (account.retries, account.deliveries, account.duplicates) == (1, 30, 0)


async def test_a_segment_that_fails_for_good_fails_the_run_with_a_list_and_its_body_is_kept():
    """No output is committed that leaves a segment out."""

    async def segment(rows, ctx):
        if ctx.segment.number == 3:
            raise ConnectionError
        return 1

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS))
    run = await bench.run()
    assert (run.state, run.failed) == ("FAILED", 1)
    assert await bench.output() == {
        "segments": {"3": "moved here by the queue's redrive policy: too many deliveries without success"}
    }
    kept = json.loads(await bench.plain.get_result("runs/run/0/failed/3.json"))
    assert Segment.from_body(kept["body"]).number == 3


async def test_a_message_that_is_no_segment_is_quarantined_with_the_reason():
    """The run goes on without it, and it is not lost."""
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
        (Segment("other", "run", 0, {"type": "s3-lines"}), "of job 'other', not of 'sum'"),
    ],
)
async def test_a_segment_of_an_unknown_run_or_another_job_is_parked(stray: Segment, reason: str):
    """It counts for no run of ours."""
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
    """Its run no longer waits for it; neither does a late dead letter change anything."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    late = [queued.message for queued in bench.plain.work_queue.messages()][:2]
    await bench.settle()
    before = await bench.ledger.counter("run")
    await bench.plain.work_queue.send(late[:1])
    await bench.plain.work_queue.dead_letter_queue.send(late[1:])
    await bench.settle()
    assert await bench.ledger.counter("run") == before
    assert len(bench.plain.quarantine_queue) == 0


async def test_results_too_large_for_a_marker_go_through_the_store():
    """And come back exactly."""

    async def segment(rows, ctx):
        return ["ü" * 3000, ctx.segment.number, 0.1 + 0.2]

    bench = await ended(Bench(make_job(segment=segment, fold=list), numbers_jsonl=NUMBERS))
    assert await bench.output() == [["ü" * 3000, number, 0.1 + 0.2] for number in range(29)]
    assert [key for key in bench.store._buckets["results"] if "/results/" in key]


async def test_a_result_that_is_no_json_is_a_permanent_error():
    """It is not retried for ever, and the reason is in the log."""

    async def segment(rows, ctx):
        return {1, 2}

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert (await bench.run()).state == "FAILED"


async def test_an_async_fold_iterates_with_async_for():
    """And knows how many results there are."""

    async def fold(results):
        return [len(results), [result async for result in results]]

    async def segment(rows, ctx):
        return ctx.segment.number

    bench = await ended(Bench(make_job(segment=segment, fold=fold), numbers_jsonl=NUMBERS))
    assert await bench.output() == [29, list(range(29))]


@pytest.mark.parametrize(("raised_in", "state"), [(1, "SUCCEEDED"), (2, "SUCCEEDED"), (3, "FAILED")])
async def test_a_fold_that_raises_is_tried_three_times_and_then_fails_the_run(raised_in: int, state: str):
    """A run never hangs for a fold that cannot succeed."""
    tries = []

    def fold(results):
        tries.append(1)
        if len(tries) <= raised_in:
            raise ArithmeticError("no sum")
        return "fine"

    bench = await started(Bench(make_job(fold=fold), numbers_jsonl=NUMBERS))
    for _ in range(8):
        await bench.settle(rounds=100)
    run = await bench.run()
    assert (run.state, len(tries)) == (state, 3 if raised_in == 3 else raised_in + 1)
    if state == "FAILED":
        assert await bench.output() == {"fold": "ArithmeticError: no sum"}


async def test_a_fold_that_returns_no_json_fails_the_run_at_once():
    """Trying again would change nothing."""
    bench = await ended(Bench(make_job(fold=lambda results: {1}), numbers_jsonl=NUMBERS))
    assert (await bench.run()).state == "FAILED"
    assert "no JSON value" in (await bench.output())["fold"]


async def test_the_lifespan_of_a_job_is_the_state_of_its_segments():
    """As for any consumer."""

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


def test_a_job_without_a_part_says_which():
    """When the handler is asked for, at deployment."""
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
        lambda: Job("job").segment(lambda rows, ctx: 1),
    ],
)
def test_impossible_jobs_are_refused(make):
    """With one clear line each."""
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (lambda params: Items, "which is no source"),
        (lambda params: params["bucket"], r"failed for params \{'key': 1\}: KeyError\('bucket'\)"),
        (lambda params: [1, 2], r"returned \[1, 2\], which is no source"),
    ],
)
async def test_a_source_function_that_cannot_make_a_source_is_named_with_its_params(source, complaint: str):
    """The mistake is the caller's or the job's: one line says which job and which parameters."""
    job = make_job()
    job.source(source)
    bench = Bench(job)
    with pytest.raises(ConfigurationError, match=complaint):
        await bench.job.start(bench.backend, {"key": 1}, "run")


def test_in_lambda_the_sdk_is_imported_while_the_execution_environment_initialises(monkeypatch: pytest.MonkeyPatch):
    """Then the first batch does not pay for it."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "segment")
    job = make_job()
    assert repr(job) == "<fanfold.Job sum>"
    assert job.segment_handler.__name__ == "segment_handler"
    assert job.dead_letter_handler is job.dead_letter_handler
