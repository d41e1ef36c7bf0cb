"""The last delivery of a segment: which reason it records, what is sent once more, and what has failed."""

import asyncio
import json
from dataclasses import replace

import pytest

from failing import RefusingQueue
from fanfold import Retry, Segment
from fanfold._jobs.dead_letter_handler import NO_REASON
from fanfold._jobs.report import read_report
from harness import Bench, ended, started
from numbers_job import NUMBERS, make_job


@pytest.fixture
def receive_limit(monkeypatch) -> None:
    """Set the receive limit of the work queue in the environment, as the template does."""
    monkeypatch.setenv("FANFOLD_MAX_RECEIVE_COUNT", "3")
    monkeypatch.setenv("FANFOLD_DEAD_LETTER_QUEUE_URL", "dead")


async def test_a_segment_that_fails_until_its_last_delivery_records_the_reason(receive_limit):
    """The handler's error is in the failures of the run."""

    async def segment(rows, ctx):
        raise ValueError(f"delivery {ctx.receive_count}")

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert (await bench.run()).state == "FAILED"
    assert await bench.output() == {"segments": {"0": "ValueError: delivery 3"}}
    failure = json.loads(await bench.plain.get_result("runs/run/0/failed/0.json"))
    assert (failure["segment"], failure["reason"]) == (0, "ValueError: delivery 3")
    assert Segment.from_body(failure["body"]).number == 0


async def test_a_segment_that_was_never_started_is_sent_once_more(receive_limit):
    """A message in the dead-letter queue without a reason was never processed: the run then ends as usual."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    work, dead = bench.plain.work_queue, bench.plain.work_queue.dead_letter_queue
    never_started = [queued.message for queued in work.messages()][:2]
    work.discard(work.messages())
    await dead.send(never_started)
    names = [queued.message_id for queued in dead.messages()]
    await bench.pump(dead, bench.job.dead_letter_handler)
    assert len(dead) == 0
    sent = [queued.message for queued in work.messages()]
    assert [message.body for message in sent] == [message.body for message in never_started]
    # A FIFO queue has just seen these bodies: without unique deduplication ids, it would drop them.
    assert [message.deduplication_id for message in sent] == [f"{name}-{at}-back" for at, name in enumerate(names)]


async def test_segments_that_shared_a_message_are_sent_back_separately(receive_limit):
    """A segment that kills its process each time fails without affecting the others."""

    async def segment(rows, ctx):
        if ctx.segment.number == 1:
            raise SystemExit(1)
        return [number async for number in rows]

    job = make_job(segment=segment, segments_per_message=3, tolerated_failures=1)
    bench = await ended(Bench(job, numbers_jsonl=NUMBERS), chunk_bytes=100)
    run = await bench.run()
    report = await read_report(bench.backend, run)
    assert (run.state, report.segments, report.done, list(report.failed)) == ("SUCCEEDED", 3, 2, [1])
    output = await bench.output()
    assert (output[0], output[-1]) == (0, 99)


@pytest.mark.parametrize("value", [float("nan"), {"mean": float("inf")}])
async def test_a_number_that_json_cannot_represent_fails_its_segment_or_fold(receive_limit, value):
    """Otherwise, readers could not parse the output."""

    async def segment(rows, ctx):
        return value

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert "the segment handler must return a JSON value" in (await bench.output())["segments"]["0"]
    bench = await ended(Bench(make_job(fold=lambda results: value), numbers_jsonl=NUMBERS))
    assert "must return a JSON value" in (await bench.output())["fold"]


async def test_a_segment_that_was_sent_once_more_and_returns_without_a_reason_has_failed(receive_limit):
    """It does not circulate forever."""

    async def segment(rows, ctx):
        raise asyncio.CancelledError  # as if it had timed out each time

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert await bench.output() == {"segments": {"0": NO_REASON}}


async def test_a_function_without_the_receive_limit_sends_nothing_back():
    """It cannot know whether the segment would have had a reason."""

    async def segment(rows, ctx):
        raise ValueError

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert await bench.output() == {"segments": {"0": NO_REASON}}


async def test_a_segment_that_cannot_be_sent_back_stays_in_the_dead_letter_queue(receive_limit):
    """Until the work queue accepts it."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    dead = bench.plain.work_queue.dead_letter_queue
    (queued,) = bench.plain.work_queue.messages()
    bench.backend = replace(bench.plain, work_queue=RefusingQueue())
    await dead.send([queued.message])
    await bench.pump(dead, bench.job.dead_letter_handler)
    assert len(dead) == 1


async def test_a_segment_that_raises_retry_at_its_last_delivery_is_sent_once_more(receive_limit):
    """A segment that raises Retry has not failed."""
    deliveries: list[int] = []

    async def segment(rows, ctx):
        deliveries.append(ctx.receive_count)
        if len(deliveries) < 5:
            raise Retry(after=1)
        return [number async for number in rows]

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert deliveries == [1, 2, 3, 1, 2]
    assert await bench.output() == list(range(100))


async def test_segments_of_a_message_that_all_fail_at_its_last_delivery_are_sent_separately(receive_limit):
    """Each then has its own deliveries and its own reason."""

    async def segment(rows, ctx):
        raise ValueError(f"segment {ctx.segment.number}")

    bench = await started(
        Bench(make_job(segment=segment, segments_per_message=2), numbers_jsonl=NUMBERS), chunk_bytes=150
    )
    await bench.settle()
    assert await bench.output() == {"segments": {"0": "ValueError: segment 0", "1": "ValueError: segment 1"}}
