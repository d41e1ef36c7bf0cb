"""A segment handler that is a ``def``: it runs on a worker thread, like a consumer's."""

import asyncio
import functools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from failing import throttled
from fanfold import Job, Ranges, S3Lines, run_inline
from fanfold._base.context import BatchContext, Context
from fanfold._base.deadline import Deadline
from fanfold._base.outcome import Reject
from fanfold._base.record import Record
from fanfold._base.threads import StillRunningError, Threads
from fanfold._jobs.job_state import JobState
from fanfold._jobs.report import read_report
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_handler import process_segment
from fanfold._jobs.segment_thread import call_on_thread
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run
from fanfold.errors import AbandonedError, ConfigurationError, SourceError
from fanfold.testing import make_context, make_event
from harness import Bench, ended
from numbers_job import NUMBERS, make_job


def all_of(rows, ctx):
    return list(rows)


async def test_a_def_reads_all_items_on_a_thread():
    """With a for loop; results, items and evenness are those of an async def."""
    threads = set()

    def collect(rows, ctx):
        threads.add(threading.current_thread().name)
        assert ctx.segment.run == "run"
        return [row for row in rows]  # noqa: C416 - a loop, as users write it

    bench = await ended(Bench(make_job(segment=collect), numbers_jsonl=NUMBERS))
    assert await bench.output() == list(range(100))
    assert threads == {"fanfold-worker"}
    report = await read_report(bench.plain, await bench.run())
    assert report.evenness.items == 100


async def test_a_def_runs_in_one_process_too():
    """``run_inline`` calls the same handler in the same way."""
    bench = Bench(make_job(segment=all_of), numbers_jsonl=NUMBERS)
    inline = await run_inline(bench.job, {"chunk_bytes": 50})
    assert (inline.succeeded, inline.output) == (True, list(range(100)))


def test_segments_run_concurrently_up_to_the_limit():
    """Each in a thread; an event loop's default executor would have fewer threads than this job's concurrency."""
    barrier = threading.Barrier(20)

    def wait(rows, ctx):
        barrier.wait(timeout=30)
        return list(rows)

    job = Job("numbers", concurrency=20)
    job.source(lambda params: Ranges(20, size=1))
    job.segment(wait)
    job.fold(list)
    bench = Bench(job)
    bench.job.scatter_handler({"run": "run"}, make_context(60))
    messages = [json.loads(message.body) for message in bench.plain.work_queue.messages()]
    assert bench.job.segment_handler(make_event(*messages), make_context(60)) == {"batchItemFailures": []}


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (lambda rows, ctx: next(rows), 0),
        (lambda rows, ctx: [next(rows), next(rows, None), *rows], list(range(10))),
        (lambda rows, ctx: None, None),
        (functools.partial(lambda kind, rows, ctx: [kind, *rows][:2], "x"), ["x", 0]),
    ],
)
async def test_a_def_may_read_as_it_likes(handler: Callable[..., Any], result: Any):
    """One item, some, all, or none."""
    job = Job("numbers")
    job.source(lambda params: Ranges(10, size=10))
    job.segment(handler)
    job.fold(list)
    bench = await ended(Bench(job))
    assert await bench.output() == [result]


async def test_a_decorated_async_def_is_still_async():
    """A ``def`` that returns a coroutine, as some decorators do, runs it on the event loop."""

    def decorated(rows, ctx):
        async def inner():
            return [row async for row in rows]

        return inner()

    bench = await ended(Bench(make_job(segment=decorated), numbers_jsonl=NUMBERS))
    assert await bench.output() == list(range(100))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("row 7"), "ValueError: row 7"),
        (StopIteration("ended"), "RuntimeError: the handler raised StopIteration"),
        (Reject("no such row"), "Reject: no such row"),
    ],
)
async def test_an_error_of_a_def_fails_its_segment_alone(error: Exception, reason: str):
    """With the reason of the error; the others are done."""

    def fail(rows, ctx):
        if 7 in (numbers := list(rows)):
            raise error
        return numbers

    bench = Bench(make_job(segment=fail), numbers_jsonl=NUMBERS)
    inline = await run_inline(bench.job, {"chunk_bytes": 20})
    assert inline.failed == {0: reason}
    assert inline.done == inline.segments - 1


async def test_an_object_that_was_replaced_is_an_error_of_the_next_item():
    """The segment fails with the name of the object."""
    segment, run, context = await one_segment(store := Bench(make_job(), numbers_jsonl=NUMBERS).plain)
    store.store.fill("source", {"numbers.jsonl": b"1\n" * 145})
    with pytest.raises(SourceError, match=r"s3://source/numbers\.jsonl was replaced since the run was planned"):
        await process_segment(segment, run, all_of, context.record, context, 0, None)


async def one_segment(backend: Backend, deadline: Deadline | None = None) -> tuple[Segment, Run, Context[JobState]]:
    """Return the only segment of the numbers, its run, and a context."""
    plan = await S3Lines("source", "numbers.jsonl").pin(backend, "p")
    (part,) = S3Lines.cut(plan)
    segment = Segment("sum", "run", 0, part)
    batch = BatchContext(None, deadline or Deadline.never(), JobState(backend))
    context = Context(Record({"messageId": "m", "body": segment.to_body()}), batch)
    return segment, Run("run", "sum", {}, plan, created_at=0.0, expires_at=1), context


async def test_a_transient_error_while_reading_is_retried_by_the_queue():
    """As for an async def."""
    failures = 2

    def gate(operation: str) -> None:
        nonlocal failures
        if operation == "before read" and failures:
            failures -= 1
            raise throttled()

    bench = await ended(Bench(make_job(segment=all_of), gate=gate, numbers_jsonl=NUMBERS))
    assert await bench.output() == list(range(100))
    assert failures == 0


def test_a_def_that_does_not_end_in_time_is_abandoned():
    """The response comes in time; the handler's next item is an error, and later it may still have side effects."""
    released, ended_with_error = threading.Event(), threading.Event()

    def hang(rows, ctx):
        first = next(rows)
        released.wait(timeout=60)
        try:
            list(rows)
        except AbandonedError:
            ended_with_error.set()
            raise
        return first

    job = make_job(segment=hang)
    bench = Bench(job, numbers_jsonl=NUMBERS)
    bench.job.scatter_handler({"run": "run", "params": {"chunk_bytes": 1_000}}, make_context(30))
    (message,) = bench.plain.work_queue.messages()
    handler = bench.job.segment_handler
    try:
        event = make_event(json.loads(message.body))
        response = handler(event, make_context(1.5))
        assert [item["itemIdentifier"] for item in response["batchItemFailures"]] == [event["Records"][0]["messageId"]]
        assert handler.stats.abandoned_handlers == 1
    finally:
        released.set()
    assert ended_with_error.wait(timeout=60)
    handler.close()


async def test_a_def_that_waits_for_an_item_when_it_is_cancelled_gets_an_error():
    """The read in progress is cancelled, too, so that the thread ends."""
    errors: SimpleQueue[Exception] = SimpleQueue()
    reading = asyncio.Event()

    class Hanging:
        is_stopped = False

        async def batches(self) -> AsyncIterator[Any]:
            reading.set()
            await asyncio.sleep(3_600)
            yield []

    def take(rows, ctx):
        try:
            next(rows)
        except AbandonedError as error:
            errors.put(error)

    threads = Threads()
    task = asyncio.create_task(call_on_thread(take, Hanging(), None, threads))
    await reading.wait()
    task.cancel()
    with pytest.raises(StillRunningError):
        await task
    assert "the handler was still running" in str(await asyncio.to_thread(errors.get, timeout=60))
    threads.close()


def test_a_def_whose_event_loop_has_ended_gets_an_error():
    """As in a process that shuts down."""
    errors: SimpleQueue[BaseException] = SimpleQueue()
    started_reading, released = threading.Event(), threading.Event()

    class Numbers:
        is_stopped = False

        async def batches(self) -> AsyncIterator[Any]:
            yield [(1, None)]
            yield [(2, None)]

        def items_of(self, batch: Any) -> Iterator[int]:
            return (item for item, _ in batch)

    def take(rows, ctx):
        next(rows)
        started_reading.set()
        released.wait(timeout=60)
        try:
            next(rows)
        except BaseException as error:  # noqa: BLE001 - whichever it is
            errors.put(error)

    async def abandon() -> None:
        task = asyncio.create_task(call_on_thread(take, Numbers(), None, Threads()))
        await asyncio.to_thread(started_reading.wait, 60)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(abandon())
    released.set()
    assert isinstance(errors.get(timeout=60), AbandonedError)


@pytest.mark.parametrize("stops_after", range(1, 7))
async def test_a_def_continues_in_another_message_at_the_deadline(stops_after: int):
    """The items end early; the next part starts after the last item that the handler received."""
    taken_count = 0

    def clock() -> float:
        return 100.0 if taken_count >= stops_after else 0.0

    def take(rows, ctx):
        nonlocal taken_count
        taken = []
        for row in rows:
            taken_count += 1
            taken.append(row)
        return taken

    backend = Bench(make_job(), numbers_jsonl=b"1\n2\n3\n4\n5\n").plain
    segment, run, context = await one_segment(backend, Deadline(60, 10, clock))
    ended_segment = await process_segment(segment, run, take, context.record, context, 1, None)
    assert json.loads(ended_segment.result) == [1, 2, 3, 4, 5][:stops_after]
    assert ended_segment.items == min(stops_after, 5)


def test_a_generator_is_refused():
    """It would never run."""

    def yields(rows, ctx):
        yield 1

    with pytest.raises(ConfigurationError, match="the segment function must not be a generator: return one value"):
        Job("numbers").segment(yields)
