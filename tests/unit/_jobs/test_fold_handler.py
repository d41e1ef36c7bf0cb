"""The fold handler: checks and watches of a run, and the fold when all segments have ended."""

import asyncio
import json
import logging
from dataclasses import replace

import pytest

from failing import RefusingQueue, Scripted
from fanfold import Job, Ranges
from fanfold._jobs.fold_requests import CheckRun, send_request
from fanfold._jobs.redrive import redrive
from fanfold._jobs.report import watch
from fanfold._ports.queue import Message
from fanfold._ports.run import Marker, RunState
from fanfold.errors import FanfoldError, ServiceError
from fanfold.inmemory import InMemoryQueue
from harness import Bench, ended, started
from numbers_job import NUMBERS, all_of, make_job


async def test_a_watch_message_ends_a_run_whose_check_was_lost():
    """Every check except the delayed one is dropped; the run ends nevertheless."""
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
    """Even if a segment takes very long."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    (received,) = await bench.plain.work_queue.receive(max_messages=1)
    bench.plain.work_queue.change_visibility(received.receipt_handle, 5000 - bench.clock.now)
    await bench.settle()
    assert (await bench.run()).state == "SUCCEEDED"
    assert bench.clock.now >= 5000


async def test_a_fold_that_another_invocation_has_claimed_is_not_run():
    """Only one invocation folds at a time."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    work, fold = bench.plain.work_queue, bench.plain.fold_queue
    while await bench.pump(work, bench.job.segment_handler):
        pass
    assert await bench.ledger.claim("run", now=0, lease_seconds=1_000) == 1
    await bench.pump(fold, bench.job.fold_handler)
    assert (await bench.run()).state == "FOLDING"
    assert len(fold) == 2  # the check is redelivered, in addition to the delayed one: the other invocation may die


@pytest.mark.parametrize("body", ["{", "[]", "{}", json.dumps({"check": "unknown"}), "[" * 100_000])
async def test_a_message_that_is_not_a_check_is_redelivered_until_the_dead_letter_queue_gets_it(body: str):
    """The redrive policy of the fold queue moves it."""
    bench = Bench(make_job())
    await bench.plain.fold_queue.send([Message(body)])
    await bench.pump(bench.plain.fold_queue, bench.job.fold_handler)
    assert len(bench.plain.fold_queue) == 1


async def test_a_batch_whose_check_the_queue_refuses_is_redelivered():
    """Segments that are in the ledger but not checked are delivered again."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    bench.backend = replace(bench.plain, fold_queue=RefusingQueue())
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    assert len(bench.plain.work_queue) == 1
    with pytest.raises(FanfoldError, match="did not accept the check: refused"):
        await send_request(bench.backend, CheckRun("run"))


async def test_watching_a_run_yields_its_progress_until_it_has_ended():
    """The last progress has the end state; if the run takes too long, an error states that it continues."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    with pytest.raises(FanfoldError, match="has not ended within 0 s"):
        _ = [seen async for seen in watch(bench.plain, "run", within_seconds=0.01)]
    watching = asyncio.ensure_future(_last(bench))
    await bench.settle()
    assert (await watching).state == "SUCCEEDED"
    with pytest.raises(FanfoldError, match="'none' is not in the ledger"):
        _ = [seen async for seen in watch(bench.plain, "none", within_seconds=1)]


async def _last(bench: Bench):
    return [seen async for seen in watch(bench.plain, "run", within_seconds=300)][-1]


async def test_a_segment_that_ends_during_a_check_is_checked_again_immediately():
    """It may have been counted before the check set when the next check is due, so no other check would follow."""
    raised = 0

    def gate(operation: str) -> None:
        nonlocal raised
        if operation == "before raise_next" and not raised:
            raised += 1
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
    assert raised
    assert await bench.output() == [[0], [1]]


async def test_markers_that_lack_segments_are_never_folded():
    """If markers are lost after a check has seen them, the run fails instead of omitting segments; a redrive works."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    pins = "runs/run/0/markers.json"
    await bench.plain.put_result(pins, b"[]")
    await bench.work()
    await bench.fold()
    run = await bench.run()
    assert (run.state, run.output) == ("FAILED", "runs/run/0/failures.json")
    await redrive("run", bench.plain)
    await bench.settle()
    assert (await bench.run()).state == "SUCCEEDED"


async def test_a_check_that_fails_does_not_end_a_run_whose_segments_have_not_ended():
    """However often it is delivered: otherwise, the segments that still run would be late."""
    broken = True

    def gate(operation: str) -> None:
        if broken and operation == "before markers":
            raise RuntimeError("the session is closed")

    bench = await started(Bench(make_job(), gate=gate, max_receive_count=5, numbers_jsonl=NUMBERS))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler, most=1)
    await send_request(bench.plain, CheckRun("run"))
    assert await bench.deliver_checks(4) == {"RUNNING"}
    broken = False
    await bench.settle()
    assert await bench.output() == list(range(100))


async def test_a_run_is_watched_although_checks_fail_until_the_queue_gives_up_on_them():
    """The ledger refuses the fold function; the run ends some time after that is fixed."""
    fails = True

    def gate(operation: str) -> None:
        if fails and operation == "before counter":
            raise ServiceError("not authorized", code="AccessDeniedException", transient=False)

    bench = Bench(make_job(watch_seconds=60), numbers_jsonl=NUMBERS)
    given_up = InMemoryQueue(visibility_timeout=30, clock=bench.clock)
    queue = InMemoryQueue(visibility_timeout=30, max_receive_count=5, dead_letter_queue=given_up, clock=bench.clock)
    bench.plain = replace(bench.plain, fold_queue=queue)
    bench.backend = replace(bench.plain, ledger=Scripted(bench.plain.ledger, gate))
    await (await started(bench)).work()
    for _ in range(40):
        await bench.pump(queue, bench.job.fold_handler)
        bench.clock.advance(31)
    assert len(given_up) > 2
    fails = False
    await bench.settle()
    assert (await bench.run()).state == "SUCCEEDED"


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (UnspeakableError(), "UnspeakableError"),
        (ValueError("a \ud83d"), r"ValueError: a \ud83d"),
        (ValueError("x" * 1_000_000), f"ValueError: {'x' * 2_000}"),
    ],
    ids=["without a message", "with half of a surrogate pair", "with a long message"],
)
async def test_a_fold_that_raises_any_error_ends_the_run_with_its_reason(wrong: Exception, reason: str, caplog):
    """Also an error whose message cannot be made, or that UTF-8 cannot encode."""
    caplog.set_level(logging.CRITICAL, "fanfold")

    def fold(results: list) -> None:
        raise wrong

    job = Job("numbers")
    job.source(lambda params: Ranges(2, size=1))
    job.segment(all_of)
    job.fold(fold)
    bench = await ended(Bench(job))
    assert (await bench.run()).state == RunState.FAILED
    assert await bench.output() == {"fold": reason}
