"""A backend that fails at any call: the run ends with one exact output all the same."""

import itertools
import json

import pytest

from failing import FailsAt
from fanfold import Job, S3JsonArray, S3Lines, S3Objects
from fanfold.errors import FanfoldError
from fanfold.sinks import move_objects
from fanfold.sources import Source
from harness import Bench

NUMBERS = b"".join(b"%d\n" % number for number in range(60))


LINES = S3Lines("source", "numbers.jsonl", chunk_bytes=12)
ARRAY = S3JsonArray("source", "numbers.json", rows_per_segment=5)
LISTING = S3Objects("source", prefix="o", keys_per_segment=7)


def make_job(source: Source = LINES) -> Job:
    job = Job("join")
    job.source(lambda params: source)

    @job.segment
    async def segment(rows, ctx):
        return [int(row["key"][1:]) if isinstance(row, dict) else row async for row in rows]

    job.fold(lambda results: [number for result in results for number in result])
    return job


async def finish(bench: Bench) -> list[int]:
    for _ in range(100):
        try:
            await bench.job.start(bench.backend, {}, "run")
            break
        except FanfoldError:
            continue  # Lambda tries the scatter again: the same run
    await bench.settle(rounds=2000)
    return await bench.output()


def bench_of(source: Source, gate: FailsAt) -> Bench:
    bench = Bench(make_job(source), gate=gate, numbers_jsonl=NUMBERS, numbers_json=json.dumps([*range(60)]).encode())
    bench.store.fill("source", {f"o{number:02d}": b"" for number in range(60)})
    return bench


async def calls_of_a_sound_run(source: Source = LINES) -> list[str]:
    gate = FailsAt()
    assert await finish(bench_of(source, gate)) == list(range(60))
    return gate.seen


@pytest.mark.parametrize("source", [LINES, ARRAY, LISTING], ids=["lines", "array", "listing"])
async def test_a_failure_at_any_single_call_leaves_one_exact_output(source):
    """Throttled, or failed after it took effect: every call of a run, one after another."""
    for number in range(len(await calls_of_a_sound_run(source))):
        bench = bench_of(source, FailsAt(number))
        assert await finish(bench) == list(range(60)), f"call {number}: {bench.backend}"
        assert (await bench.run()).state == "SUCCEEDED"


@pytest.mark.parametrize("stride", [5, 7, 11])
async def test_failures_at_every_few_calls_leave_one_exact_output(stride: int):
    """Until far behind where a sound run would have ended; messages have the deliveries that takes."""
    bench = Bench(make_job(), gate=FailsAt(*range(3, 400, stride)), max_receive_count=100, numbers_jsonl=NUMBERS)
    assert await finish(bench) == list(range(60))


@pytest.mark.parametrize("operation", ["put_marker", "count", "claim", "put", "finish", "seal", "send"])
async def test_an_operation_that_fails_twice_after_its_effect_is_harmless(operation: str):
    """Written, not known to be written, and written again."""
    calls = await calls_of_a_sound_run()
    after = [number for number, name in enumerate(calls) if name == f"after {operation}"]
    assert after
    for first, second in itertools.pairwise([*after[:6], after[-1] + 3]):
        bench = Bench(make_job(), gate=FailsAt(first, second), numbers_jsonl=NUMBERS)
        assert await finish(bench) == list(range(60))


def make_archive() -> Job:
    job = Job("archive")
    job.source(lambda params: S3Objects("source", prefix="o", keys_per_segment=4))

    @job.segment
    async def move(objects, ctx):
        found = [each async for each in objects]
        results = await move_objects(ctx.store, "source", found, to=lambda key: f"archive/{key}", concurrency=1)
        return [result.key for result in results if not result.done]

    job.fold(lambda results: [key for keys in results for key in keys])
    return job


async def archived(gate: FailsAt) -> dict[str, bytes]:
    """Move eight objects by a job; return what lies where in the end."""
    bench = Bench(make_archive(), gate=gate)
    bench.store.fill("source", {f"o{number}": f"{number}".encode() for number in range(8)})
    assert await finish(bench) == []
    return {each.key: await bench.plain.read_all("source", each.key) async for each in bench.store.list("source")}


async def test_objects_moved_by_a_job_are_moved_once_whatever_fails():
    """With a fault at any single call of the run every object lies in the archive in the end, and none is told of."""
    gate = FailsAt()
    sound = await archived(gate)
    assert sound == {f"archive/o{number}": f"{number}".encode() for number in range(8)}
    for number in range(len(gate.seen)):
        assert await archived(FailsAt(number)) == sound
