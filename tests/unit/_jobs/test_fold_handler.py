"""Looks at a run: checks, watches, and the fold when all has ended."""

import asyncio
import json
from dataclasses import replace

import pytest

from failing import RefusingQueue
from fanfold import Job, Ranges
from fanfold._jobs.fold_requests import CheckRun, send_request
from fanfold._jobs.report import watch
from fanfold._ports.queue import Message
from fanfold._ports.run import Marker
from fanfold.errors import FanfoldError
from harness import Bench, started
from numbers_job import NUMBERS, all_of, make_job


async def test_a_watch_message_finds_a_run_whose_check_was_lost():
    """Every check but the delayed one is dropped; the run ends all the same."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    work, fold = bench.plain.work_queue, bench.plain.fold_queue
    while await bench.pump(work, bench.job.segment_handler):
        pass
    (check,) = await fold.receive()
    await fold.delete([check.receipt_handle])
    await bench.settle()
    assert await bench.output() == list(range(100))
    assert bench.clock.now >= 900


async def test_a_watch_renews_itself_until_the_run_has_ended():
    """A segment that is missing for long is waited for."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    held = await bench.plain.work_queue.receive(max_messages=1)
    bench.plain.work_queue.change_visibility(held[0].receipt_handle, 5000 - bench.clock.now)
    await bench.settle()
    assert (await bench.run()).state == "SUCCEEDED"
    assert bench.clock.now >= 5000


async def test_a_fold_whose_lease_is_held_by_another_is_left_alone():
    """Only one invocation folds at a time."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    work, fold = bench.plain.work_queue, bench.plain.fold_queue
    while await bench.pump(work, bench.job.segment_handler):
        pass
    assert await bench.ledger.claim("run", now=0, lease_seconds=1e12) == 1
    await bench.pump(fold, bench.job.fold_handler)
    assert (await bench.run()).state == "FOLDING"
    assert len(fold) == 2  # the check comes back, beside the delayed one: the other invocation may die


@pytest.mark.parametrize("body", ["{", "[]", "{}", json.dumps({"check": "unknown"}), "[" * 100_000])
async def test_what_is_no_check_of_a_run_comes_back_until_it_is_parked(body: str):
    """The fold queue's own redrive does that."""
    bench = Bench(make_job())
    await bench.plain.fold_queue.send([Message(body)])
    await bench.pump(bench.plain.fold_queue, bench.job.fold_handler)
    assert len(bench.plain.fold_queue) == 1


async def test_a_check_the_queue_refuses_keeps_the_batch():
    """What is in the ledger but not checked is delivered again."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    bench.backend = replace(bench.plain, fold_queue=RefusingQueue())
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    assert len(bench.plain.work_queue) == 1
    with pytest.raises(FanfoldError, match="did not take the check: refused"):
        await send_request(bench.backend, CheckRun("run"))


async def test_watching_a_run_tells_how_far_it_is_until_it_has_ended():
    """The last word is its end state; a run that takes too long is said to go on."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    with pytest.raises(FanfoldError, match="has not ended in 0 s"):
        _ = [seen async for seen in watch(bench.plain, "run", within_seconds=0.01)]
    watching = asyncio.ensure_future(_last(bench))
    await bench.settle()
    assert (await watching).state == "SUCCEEDED"
    with pytest.raises(FanfoldError, match="'none' is not in the ledger"):
        _ = [seen async for seen in watch(bench.plain, "none", within_seconds=1)]


async def _last(bench: Bench):
    return [seen async for seen in watch(bench.plain, "run", within_seconds=30)][-1]


async def test_a_segment_that_ends_while_a_check_looks_is_looked_at_again_at_once():
    """Its own count may have come before the check said when to look: nobody else would."""
    looked = 0

    def gate(operation: str) -> None:
        nonlocal looked
        if operation == "before raise_next" and not looked:
            looked += 1
            bench.ledger._markers["run"]["late"] = Marker("late", 0, ids=[1], results={1: "[1]"})
            counter = bench.ledger._counters["run"]
            bench.ledger._counters["run"] = replace(counter, ended=counter.ended + 1)

    job = Job("sum")
    job.source(lambda params: Ranges(2, size=1))
    job.segment(all_of)
    job.fold(list)
    bench = await started(Bench(job, gate=gate))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler, most=1)
    await send_request(bench.plain, CheckRun("run"))
    await bench.fold()
    assert looked
    assert await bench.output() == [[0], [1]]


async def test_markers_that_do_not_hold_all_are_never_folded():
    """Were some lost after a check had seen them, the fold fails instead of leaving segments out."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    pins = "runs/run/0/markers.json"
    await bench.plain.put_result(pins, b"[]")
    await bench.work()
    await bench.pump(bench.plain.fold_queue, bench.job.fold_handler)
    assert not (await bench.run()).ended


async def test_a_look_that_fails_for_a_reason_of_its_own_does_not_fold_what_has_not_ended():
    """However often it is delivered: else the segments that still run would come too late."""
    broken = True

    def gate(operation: str) -> None:
        if broken and operation == "before markers":
            raise RuntimeError("the session is closed")

    bench = await started(Bench(make_job(), gate=gate, max_receive_count=5, numbers_jsonl=NUMBERS))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler, most=1)
    await send_request(bench.plain, CheckRun("run"))
    assert await bench.looks(4) == {"RUNNING"}
    broken = False
    await bench.settle()
    assert await bench.output() == list(range(100))
