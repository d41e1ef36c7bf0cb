"""Someone cancels a run: nothing more is done for it, and it can be redriven."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from failing import FailsAt, RecordingNotifier, RefusingQueue, Scripted
from fanfold import Job, Ranges, S3Lines
from fanfold._jobs.cancel import cancel, cancellable
from fanfold._jobs.planning import Planning
from fanfold._jobs.redrive import failures_of, redrive
from fanfold._jobs.scatter import ScatterResult
from fanfold._ports.backend import Backend
from fanfold._ports.run import RunState
from fanfold.errors import FanfoldError
from fanfold.sources import manifest
from harness import Bench, started
from numbers_job import all_of


async def cancelled(backend: Backend, run_id: str = "run") -> None:
    await cancel(await cancellable(run_id, backend), backend)


def job_of(segments: int = 10, *, segment: Any = all_of, fold: Any = None, **settings: Any) -> Job:
    job = Job("job", **settings)
    job.source(lambda params: Ranges(segments, size=1))
    job.segment(segment)
    job.fold(fold or (lambda results: [number for result in results for number in result]))
    return job


class Before(Scripted):
    """A port that does something before the n-th call of an operation."""

    def __init__(self, port: Any, operation: str, number: int, action: Callable[[], Awaitable[None]]) -> None:
        super().__init__(port, lambda _: None)
        self._at = (operation, number)
        self._action = action
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        operation = super().__getattr__(name)
        if name != self._at[0]:
            return operation

        async def called(*args: Any, **kwargs: Any) -> Any:
            self._calls += 1
            if self._calls == self._at[1]:
                await self._action()
            return await operation(*args, **kwargs)

        return called


async def test_queued_segments_of_a_cancelled_run_are_acknowledged_without_work_and_one_read_for_each_batch():
    """The read of the run that each batch makes anyway; the fold is not called, and the end is notified once."""
    calls, notes = FailsAt(), RecordingNotifier()
    bench = Bench(job_of(), gate=calls, notifier=notes)
    await bench.job.start(bench.plain, {}, "run")
    await cancelled(bench.plain)
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    assert calls.seen == ["before run", "after run"]
    await bench.settle()
    run = await bench.run()
    assert (run.state, run.output, run.ended_at) == (RunState.CANCELLED, None, 0.0)
    assert [len(queue) for queue in (bench.plain.work_queue, bench.plain.fold_queue)] == [0, 0]
    (subject, text) = notes.published[0]
    assert (len(notes.published), subject) == (1, "fanfold: job CANCELLED")
    assert json.loads(text)["output"] is None


async def test_a_handler_that_is_running_ends_and_its_segment_is_not_repeated_by_the_redrive():
    """Its result is folded, and each segment was processed once."""
    seen: list[int] = []

    async def segment(rows: Any, ctx: Any) -> list[int]:
        seen.append(ctx.segment.number)
        if len(seen) == 3:
            await cancelled(bench.plain)
        return await all_of(rows, ctx)

    bench = await started(Bench(job_of(segment=segment, concurrency=1)))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler, 4)
    await bench.settle()
    assert seen == [0, 1, 2, 3]
    failures = await failures_of("run", bench.plain)
    assert (failures.missing, dict(failures.segments)) == ([4, 5, 6, 7, 8, 9], {})
    assert (await redrive("run", bench.plain)).segments == 6
    await bench.settle()
    assert (await bench.output(), sorted(seen)) == (list(range(10)), list(range(10)))


async def test_a_scatter_stops_at_its_next_checkpoint_and_a_redrive_sends_the_rest():
    """The number of segments was not known when the run was cancelled."""
    bench = Bench(job_of(5_000))
    bench.backend = replace(bench.plain, ledger=Before(bench.ledger, "checkpoint", 2, lambda: cancelled(bench.plain)))
    stopped = await bench.job.start(bench.backend, {}, "run")
    assert 2_000 <= stopped.segments < 3_000
    assert not stopped.complete
    assert await bench.job.start(bench.plain, {}, "run") == ScatterResult("run", 0, complete=False)
    bench.backend = bench.plain
    await bench.settle()
    assert (await redrive("run", bench.plain)).segments == 5_000
    assert (await bench.ledger.counter("run")).total == 5_000


async def test_a_scatter_of_few_segments_does_not_seal_a_cancelled_run():
    """Its last checkpoint is refused; the redrive ends with every item."""
    bench = Bench(job_of())
    backend = replace(bench.plain, ledger=Before(bench.ledger, "checkpoint", 1, lambda: cancelled(bench.plain)))
    assert await bench.job.start(backend, {}, "run") == ScatterResult("run", 10, complete=False)
    assert (await bench.ledger.counter("run")).total is None
    await bench.settle()
    await redrive("run", bench.plain)
    await bench.settle()
    assert await bench.output() == list(range(10))


async def test_a_run_that_is_cancelled_while_it_is_planned_is_not_planned_further(monkeypatch):
    """By the invocation that plans it, and by the fold function; it cannot be redriven, because nothing was done."""
    monkeypatch.setattr(manifest, "CHUNK_BYTES", 500)
    stops = iter([False, True])
    job = job_of()
    job.source(lambda params: S3Lines("source", prefix="in."))
    bench = Bench(job, **{f"in_{number:02}.txt": b"1\n" for number in range(40)})
    with monkeypatch.context() as patched:
        patched.setattr(Planning, "_must_stop", lambda _: next(stops, True))
        assert not (await bench.job.start(bench.plain, {}, "run")).complete
    bench.backend = replace(bench.plain, ledger=Before(bench.ledger, "replan", 1, lambda: cancelled(bench.plain)))
    await bench.settle()
    run = await bench.run()
    assert (run.state, run.is_planned) == (RunState.CANCELLED, False)
    assert len(bench.plain.work_queue) == 0
    with pytest.raises(FanfoldError, match="run run has no complete plan"):
        await redrive("run", bench.plain)


async def test_a_fold_that_is_running_commits_nothing_after_the_cancel():
    """Neither an output nor a file of the results bucket; the redrive folds again without work."""
    is_cancelled = False

    async def fold(results: Any) -> int:
        nonlocal is_cancelled
        if not is_cancelled:
            is_cancelled = True
            await cancelled(bench.plain)
        return sum(number for result in results for number in result)

    bench = await started(Bench(job_of(fold=fold)))
    await bench.settle()
    assert (await bench.run()).state == RunState.CANCELLED
    assert [key async for key in bench.store.list("results", "runs/run/0/output")] == []
    assert (await redrive("run", bench.plain)).segments == 0
    await bench.settle()
    assert await bench.output() == 45


async def test_a_fold_that_another_invocation_has_taken_over_is_an_error():
    """Its message is redelivered; only the cancel of a run ends it quietly."""
    bench = await started(Bench(job_of(fold=lambda results: len(list(results)))))
    await bench.work()

    async def take_over() -> None:
        bench.clock.advance(10_000)
        assert await bench.ledger.claim("run", now=bench.clock(), lease_seconds=60) == 2

    bench.backend = replace(bench.plain, ledger=Before(bench.ledger, "run", 2, take_over))
    await bench.pump(bench.plain.fold_queue, bench.job.fold_handler)
    assert [key async for key in bench.store.list("results", "runs/run/0/output")] == []
    bench.backend = bench.plain
    await bench.settle()
    assert await bench.output() == 10


async def test_a_cancel_that_was_interrupted_is_repeated():
    """At whichever call; a run that is cancelled can be cancelled again, which sends the check again."""
    for number in range(8):
        bench = await started(Bench(job_of()))
        gate = FailsAt(number)
        hostile = replace(
            bench.plain, ledger=Scripted(bench.ledger, gate), fold_queue=Scripted(bench.plain.fold_queue, gate)
        )
        try:
            await cancelled(hostile)
        except FanfoldError:
            await cancelled(bench.plain)
        await bench.settle()
        assert (await bench.run()).state == RunState.CANCELLED
    with pytest.raises(FanfoldError, match="did not accept"):
        await cancelled(replace(bench.plain, fold_queue=RefusingQueue()))


async def test_a_cancel_that_is_not_possible_is_one_clear_error():
    """An unknown run, one that has ended, and one that is redriven meanwhile."""
    bench = await started(Bench(job_of()))
    before = await cancellable("run", bench.plain)
    await cancelled(bench.plain)
    await redrive("run", bench.plain)
    with pytest.raises(FanfoldError, match="run run has just been redriven and is RUNNING: cancel it again"):
        await cancel(before, bench.plain)
    await bench.settle()
    with pytest.raises(FanfoldError, match="run run has ended as SUCCEEDED: there is nothing to cancel"):
        await cancel(before, bench.plain)
    with pytest.raises(FanfoldError, match="run 'none' is not in the ledger"):
        await cancellable("none", bench.plain)


async def test_a_redrive_of_a_cancelled_run_processes_all_segments_that_have_not_ended():
    """A choice of segments is refused: the others would never end."""
    bench = await started(Bench(job_of()))
    await cancelled(bench.plain)
    with pytest.raises(FanfoldError, match="run run was cancelled with 10 segments that have not ended"):
        await redrive("run", bench.plain, only=[3])
    assert (await bench.run()).gen == 0
