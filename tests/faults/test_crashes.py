"""A backend that fails at any call: the run ends with one exact output."""

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
            continue  # Lambda retries the scatter of the same run
    await bench.settle(rounds=2000)
    return await bench.output()


def bench_of(source: Source, gate: FailsAt) -> Bench:
    bench = Bench(make_job(source), gate=gate, numbers_jsonl=NUMBERS, numbers_json=json.dumps([*range(60)]).encode())
    bench.store.fill("source", {f"o{number:02d}": b"" for number in range(60)})
    return bench


async def calls_of_a_run_without_failures(source: Source = LINES) -> list[str]:
    gate = FailsAt()
    assert await finish(bench_of(source, gate)) == list(range(60))
    return gate.seen


@pytest.mark.parametrize("source", [LINES, ARRAY, LISTING], ids=["lines", "array", "listing"])
@pytest.mark.uncounted
async def test_after_a_failure_at_any_call_a_run_has_one_exact_output(source):
    """Each call of a run in turn is throttled, or fails after it took effect."""
    for number in range(len(await calls_of_a_run_without_failures(source))):
        bench = bench_of(source, FailsAt(number))
        assert await finish(bench) == list(range(60)), f"call {number}: {bench.backend}"
        assert (await bench.run()).state == "SUCCEEDED"


async def test_after_a_failure_at_any_call_every_bad_row_is_reported_once():
    """The bad rows of a segment count as its result does, whichever call failed."""
    source = S3Lines("source", "numbers.jsonl", chunk_bytes=30, on_bad_row="collect", max_bad_rows=9)
    data = NUMBERS.replace(b"7\n", b"7\nx\n")
    gate = FailsAt()
    await finish(Bench(make_job(source), gate=gate, numbers_jsonl=data))
    for number in range(len(gate.seen)):
        bench = Bench(make_job(source), gate=FailsAt(number), numbers_jsonl=data)
        assert await finish(bench) == list(range(60)), f"call {number}: {bench.backend}"
        lines = (await bench.plain.get_result("runs/run/0/bad-rows.jsonl")).splitlines()
        assert [json.loads(line)["byte"] for line in lines] == [16, 46, 78, 110, 142, 174]


@pytest.mark.parametrize("stride", [5, 7, 11])
async def test_with_failures_at_every_few_calls_a_run_has_one_exact_output(stride: int):
    """The failures continue far longer than a run without failures takes; the receive limit allows that."""
    bench = Bench(make_job(), gate=FailsAt(*range(3, 400, stride)), max_receive_count=100, numbers_jsonl=NUMBERS)
    assert await finish(bench) == list(range(60))


@pytest.mark.parametrize("operation", ["put_marker", "count", "claim", "put", "finish", "seal", "send"])
async def test_an_operation_that_fails_twice_after_it_took_effect_is_harmless(operation: str):
    """It was written, but the response was lost, so it is written again."""
    calls = await calls_of_a_run_without_failures()
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
        items = [item async for item in objects]
        results = await move_objects(ctx.store, "source", items, to=lambda key: f"archive/{key}", concurrency=1)
        return [result.key for result in results if not result.done]

    job.fold(lambda results: [key for keys in results for key in keys])
    return job


async def archived(gate: FailsAt) -> dict[str, bytes]:
    """Move eight objects with a job; return the final contents of the bucket by key."""
    bench = Bench(make_archive(), gate=gate)
    bench.store.fill("source", {f"o{number}": f"{number}".encode() for number in range(8)})
    assert await finish(bench) == []
    keys = [listed.key async for listed in bench.store.list("source")]
    return {key: await bench.plain.read_all("source", key) for key in keys}


@pytest.mark.uncounted
async def test_a_job_moves_objects_exactly_once_under_any_failure():
    """With a failure at any call of the run, every object is finally in the archive, and no failure is reported."""
    gate = FailsAt()
    expected = await archived(gate)
    assert expected == {f"archive/o{number}": f"{number}".encode() for number in range(8)}
    for number in range(len(gate.seen)):
        assert await archived(FailsAt(number)) == expected
