"""Damaged objects of a run end it as FAILED with the reason, and a redrive repairs it; no output is ever wrong."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fanfold import Job, Ranges
from fanfold._jobs.redrive import failures_of, redrive
from fanfold._ports.run import Attempt, FailedBatch, Marker
from harness import Bench, started
from numbers_job import ranges_job

pytestmark = pytest.mark.counted

Tamper = Callable[[Bench], Awaitable[None]]
PADDING = "x" * 3_000
"""Makes results so large that they are stored in objects."""


def large_job(count: int = 8, **settings: Any) -> Job:
    job = Job("numbers", watch_seconds=60, **settings)
    job.source(lambda params: Ranges(count, size=1))

    @job.segment
    async def segment(rows, ctx) -> list[Any]:
        if ctx.segment.number in ctx.run.params.get("bad", ()) and not ctx.segment.gen:
            raise ValueError("broken")
        return [[number, PADDING] async for number in rows]

    job.fold(lambda results: [number for result in results for number, _ in result])
    return job


async def keys_of(bench: Bench, part: str) -> list[str]:
    return [key for key in bench.store._buckets["results"] if part in key]


def object_as(data: bytes | None, part: str = "/results/") -> Tamper:
    """Replace or delete the first object whose key contains a text."""

    async def tamper(bench: Bench) -> None:
        (key, *_) = await keys_of(bench, part)
        if data is None:
            del bench.store._buckets["results"][key]
        else:
            await bench.plain.put_result(key, data)

    return tamper


def results_as(change: Callable[[dict[str, Any]], Any]) -> Tamper:
    """Change the results in an object."""

    async def tamper(bench: Bench) -> None:
        (key, *_) = await keys_of(bench, "/results/")
        changed = change(json.loads(await bench.plain.get_result(key)))
        await bench.plain.put_result(key, json.dumps(changed).encode())

    return tamper


def pins_as(data: bytes) -> Tamper:
    async def tamper(bench: Bench) -> None:
        await bench.plain.put_result("runs/run/0/markers.json", data)

    return tamper


async def a_marker_without_results(bench: Bench) -> None:
    markers = bench.ledger._markers["run"]
    (name, marker, *_) = next(iter(markers.items()))
    markers[name] = Marker(name, 0, ids=marker.ids)


async def a_marker_of_segments_outside_the_run(bench: Bench) -> None:
    await bench.ledger.put_marker("run", Marker("zz", 0, ids=[10**15], results={10**15: "[[1, 2]]"}))


async def attempts_of_segments_outside_the_run(bench: Bench) -> None:
    await bench.ledger.put_attempts("run", FailedBatch("a", 0, [Attempt(10**15, 0, 0, 1, 0.0, 0.0, "E", "m")]))


TAMPERED: dict[str, Tamper] = {
    "a missing object of results": object_as(None),
    "an empty object of results": object_as(b""),
    "results that are not JSON": object_as(b'{\n"0":[[0,'),
    "results that are not an object": object_as(b"[1,2,3]"),
    "results that are not text": object_as(b"\xff\xfe\x00"),
    "fewer results than ids": results_as(lambda results: dict(list(results.items())[:-1])),
    "no results": results_as(lambda results: {}),
    "results of other segments": results_as(lambda results: {str(int(name) + 100): results[name] for name in results}),
    "results with more segments": results_as(lambda results: results | {"0": [[99, ""]], "7": [[99, ""]], "x": 1}),
    "a marker without results": a_marker_without_results,
    "a marker of segments outside the run": a_marker_of_segments_outside_the_run,
    "attempts of segments outside the run": attempts_of_segments_outside_the_run,
    "pins that are not JSON": pins_as(b"["),
    "pins that are not a list": pins_as(b"{}"),
    "pins of other markers": pins_as(b'["other"]'),
    "no pins": pins_as(b"[]"),
}


async def repaired(bench: Bench, expected: Any, generations: int = 2) -> None:
    """Assert that the run has ended, with the right output or a reason, and that redrives repair it."""
    for _ in range(generations + 1):
        run = await bench.run()
        assert run.ended
        if run.state == "SUCCEEDED":
            break
        output = json.loads(await bench.plain.get_result(run.output))
        assert all((output.get("segments") or {"fold": output["fold"]}).values())
        await redrive("run", bench.plain)
        await bench.settle(rounds=2_000)
    assert (await bench.run()).state == "SUCCEEDED"
    assert await bench.output() == expected


@pytest.mark.parametrize("name", TAMPERED)
async def test_a_run_with_a_damaged_object_ends_and_a_redrive_repairs_it(name: str):
    """Its output is never wrong."""
    bench = await started(Bench(large_job()))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler, 4)
    await bench.work()
    await TAMPERED[name](bench)
    await bench.settle(rounds=2_000)
    await repaired(bench, list(range(8)))


async def test_lost_results_are_listed_as_failures_with_the_object():
    """Only the segments of that object are processed again."""
    bench = await started(Bench(large_job()))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler, 4)
    await bench.work()
    await object_as(None)(bench)
    await bench.settle()
    failures = await failures_of("run", bench.plain)
    assert len(failures.segments) == 4
    assert all(".json" in reason and "cannot be read" in reason for reason in failures.segments.values())
    assert (await redrive("run", bench.plain)).segments == 4
    await bench.settle()
    await repaired(bench, list(range(8)))


@pytest.mark.parametrize(
    "data", [None, b"[", b"{}", b'["9", "", 0, {}]', b'["0,0,0", "", 0, {}]', b'["", "", 0, {"1": 2}]']
)
async def test_a_damaged_list_of_redriven_segments_ends_the_run_and_another_redrive_repairs_it(data: bytes | None):
    """It is read by the process that sends the segments, and by every check."""
    bench = await started(Bench(large_job()), bad=[1, 5])
    await bench.settle()
    await redrive("run", bench.plain)
    await object_as(data, "redo-")(bench)
    await bench.settle(rounds=2_000)
    await repaired(bench, list(range(8)))


async def test_a_damaged_tree_of_combined_results_ends_the_run_and_a_redrive_repairs_it():
    """Its description, the inputs of a group, and a value of a group."""
    for part, data in (
        ("tree.json", b"{}"),
        ("combine/inputs", b'"one line"'),
        ("combine/inputs", None),
        ("combine/0/", None),
    ):
        job = ranges_job(8, fan_in=3)
        job.combine(lambda results: [number for result in results for number in result])
        bench = await started(Bench(job))
        await bench.work()
        while not await keys_of(bench, part):
            await bench.pump(bench.plain.fold_queue, bench.job.fold_handler, 1)
        await object_as(data, part)(bench)
        await bench.settle(rounds=2_000)
        await repaired(bench, list(range(8)))
