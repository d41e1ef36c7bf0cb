"""The last delivery of a segment: what it tells, what is sent once more, what has failed."""

import asyncio
import json
from dataclasses import replace

import pytest

from failing import RefusingQueue
from fanfold import Retry, Segment
from fanfold._jobs.dead_letter_handler import UNTOLD
from fanfold._jobs.report import read_report
from harness import Bench, ended, started
from numbers_job import NUMBERS, make_job


@pytest.fixture
def told(monkeypatch) -> None:
    """The functions know how often the work queue delivers a message, as the template has it."""
    monkeypatch.setenv("FANFOLD_MAX_RECEIVE_COUNT", "3")
    monkeypatch.setenv("FANFOLD_DEAD_LETTER_QUEUE_URL", "dead")


async def test_a_segment_that_fails_to_its_last_delivery_tells_why(told):
    """Its handler's own words are in the failures of the run."""

    async def segment(rows, ctx):
        raise ValueError(f"delivery {ctx.receive_count}")

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert (await bench.run()).state == "FAILED"
    assert await bench.output() == {"segments": {"0": "ValueError: delivery 3"}}
    kept = json.loads(await bench.plain.get_result("runs/run/0/failed/0.json"))
    assert (kept["segment"], kept["reason"]) == (0, "ValueError: delivery 3")
    assert Segment.from_body(kept["body"]).number == 0


async def test_a_segment_that_was_never_started_is_sent_once_more(told):
    """A dead letter without a word tells that its last delivery had none: it ends as if nothing had been."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    work, dead = bench.plain.work_queue, bench.plain.work_queue.dead_letter_queue
    unheard = [queued.message for queued in work.messages()][:2]
    work.discard(work.messages())
    await dead.send(unheard)
    names = [queued.message_id for queued in dead.messages()]
    await bench.pump(dead, bench.job.dead_letter_handler)
    assert len(dead) == 0
    back = [queued.message for queued in work.messages()]
    assert [message.body for message in back] == [message.body for message in unheard]
    # A FIFO queue has just seen these bodies: only under names of their own are they messages to it.
    assert [message.deduplication_id for message in back] == [f"{name}-{at}-back" for at, name in enumerate(names)]


async def test_segments_that_shared_a_message_are_sent_back_alone(told):
    """One that kills its process each time fails by itself, and no other."""

    async def segment(rows, ctx):
        if ctx.segment.number == 1:
            raise SystemExit(1)
        return [number async for number in rows]

    job = make_job(segment=segment, segments_per_message=3, tolerated_failures=1)
    bench = await ended(Bench(job, numbers_jsonl=NUMBERS), chunk_bytes=100)
    run = await bench.run()
    account = await read_report(bench.backend, run)
    assert (run.state, account.segments, account.done, list(account.failed)) == ("SUCCEEDED", 3, 2, [1])
    output = await bench.output()
    assert (output[0], output[-1]) == (0, 99)


@pytest.mark.parametrize("value", [float("nan"), {"mean": float("inf")}])
async def test_a_number_that_json_does_not_have_fails_its_segment_or_fold(told, value):
    """A reader of the output could not parse it."""

    async def segment(rows, ctx):
        return value

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert "the segment handler returned what is no JSON value" in (await bench.output())["segments"]["0"]
    bench = await ended(Bench(make_job(fold=lambda results: value), numbers_jsonl=NUMBERS))
    assert "no JSON value" in (await bench.output())["fold"]


async def test_what_was_sent_once_more_and_comes_back_without_a_word_has_failed(told):
    """It is not sent round for ever."""

    async def segment(rows, ctx):
        raise asyncio.CancelledError  # as if its time had been over each time

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert await bench.output() == {"segments": {"0": UNTOLD}}


async def test_a_function_that_is_not_told_the_receive_limit_sends_nothing_back():
    """It cannot know whether a reason would have been there."""

    async def segment(rows, ctx):
        raise ValueError

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert await bench.output() == {"segments": {"0": UNTOLD}}


async def test_a_segment_that_cannot_be_sent_back_stays_a_dead_letter(told):
    """Until the work queue takes it."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    dead = bench.plain.work_queue.dead_letter_queue
    (queued,) = bench.plain.work_queue.messages()
    bench.backend = replace(bench.plain, work_queue=RefusingQueue())
    await dead.send([queued.message])
    await bench.pump(dead, bench.job.dead_letter_handler)
    assert len(dead) == 1


async def test_a_segment_that_asks_for_another_delivery_at_its_last_is_sent_once_more(told):
    """It did not fail."""
    deliveries: list[int] = []

    async def segment(rows, ctx):
        deliveries.append(ctx.receive_count)
        if len(deliveries) < 5:
            raise Retry(after=1)
        return [number async for number in rows]

    bench = await ended(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    assert deliveries == [1, 2, 3, 1, 2]
    assert await bench.output() == list(range(100))


async def test_a_message_of_several_that_all_fail_at_its_last_delivery_is_taken_apart(told):
    """Each has deliveries of its own, and its own reason."""

    async def segment(rows, ctx):
        raise ValueError(f"segment {ctx.segment.number}")

    bench = await started(
        Bench(make_job(segment=segment, segments_per_message=2), numbers_jsonl=NUMBERS), chunk_bytes=150
    )
    await bench.settle()
    assert await bench.output() == {"segments": {"0": "ValueError: segment 0", "1": "ValueError: segment 1"}}
