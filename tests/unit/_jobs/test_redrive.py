"""A redrive processes the failed segments of a run again and ends with a new output."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from failing import FailingNotifier, FailsAt, RecordingNotifier, RefusingQueue, Scripted
from fanfold import Job, Ranges
from fanfold._jobs.fold_requests import CheckRun, send_request
from fanfold._jobs.notify import is_tolerated
from fanfold._jobs.redrive import failures_of, redrive
from fanfold._jobs.report import read_report
from fanfold._jobs.segment import Segment
from fanfold._ports.queue import Message
from fanfold._ports.run import Marker, RunState
from fanfold.errors import ConfigurationError, EnqueueError, FanfoldError
from harness import Bench, ended, started


class Broken:
    """Configures what fails, and counts the attempts of each segment."""

    def __init__(self, *segments: int) -> None:
        self.segments = set(segments)
        self.fold_fails = False
        self.attempts: dict[int, int] = {}


def make_job(broken: Broken, **settings: Any) -> Job:
    job = Job("job", **settings)
    job.source(lambda params: Ranges(20, size=2))

    @job.segment
    async def segment(rows, ctx) -> list[int]:
        number = ctx.segment.number
        broken.attempts[number] = broken.attempts.get(number, 0) + 1
        if number in broken.segments:
            raise ValueError(f"{number} is broken")
        return [row async for row in rows]

    @job.fold
    def fold(results) -> list[int]:
        if broken.fold_fails:
            raise ValueError("the fold is broken")
        return [row for result in results for row in result]

    return job


async def ended_with(broken: Broken, **settings: Any) -> Bench:
    return await ended(Bench(make_job(broken, **settings), max_receive_count=2))


async def test_only_failed_segments_are_processed_again_and_the_output_is_complete():
    """The output belongs to the next generation; the failures of the first generation stay stored."""
    broken = Broken(3, 7)
    bench = await ended_with(broken)
    assert (await bench.run()).state == RunState.FAILED
    assert set((await failures_of("run", bench.backend)).segments) == {3, 7}
    broken.segments.clear()
    broken.attempts.clear()
    assert (await redrive("run", bench.backend)).segments == 2
    assert (await bench.run()).state == RunState.RUNNING
    await bench.settle()
    assert await bench.output() == list(range(20))
    assert broken.attempts == {3: 1, 7: 1}
    run = await bench.run()
    assert (run.state, run.gen, run.output, run.failed) == (RunState.SUCCEEDED, 1, "runs/run/1/output.json", 0)
    assert list(json.loads(await bench.plain.get_result("runs/run/0/failures.json"))["segments"]) == ["3", "7"]
    report = await read_report(bench.plain, run)
    assert (report.segments, report.done, report.failed, report.duplicates) == (10, 10, {}, 0)


async def test_segments_that_fail_again_can_be_redriven_again():
    """As often as needed, and optionally only some of them."""
    broken = Broken(1, 3, 7)
    bench = await ended_with(broken)
    await redrive("run", bench.backend, only={3, 7})
    await bench.settle()
    assert set((await failures_of("run", bench.backend)).segments) == {1, 3, 7}
    broken.segments = {7}
    await redrive("run", bench.backend, only=[3])
    await bench.settle()
    assert set((await failures_of("run", bench.backend)).segments) == {1, 7}
    broken.segments.clear()
    await redrive("run", bench.backend)
    await bench.settle()
    assert (await bench.run()).gen == 3
    assert await bench.output() == list(range(20))


async def test_a_late_failure_of_an_old_generation_does_not_count_in_a_new_one():
    """A duplicate of an old message is late; a failure that is recorded late belongs to the earlier generation."""
    broken = Broken(3)
    bench = await ended_with(broken)
    broken.segments.clear()
    await redrive("run", bench.backend)
    old = Segment("job", "run", 3, {"type": "ranges", "start": 6, "stop": 8, "yields": "numbers"}, gen=0)
    await bench.plain.work_queue.dead_letter_queue.send([Message(old.to_body())])
    await bench.ledger.put_marker("run", Marker("zzz", 0, failed={3: "recorded late"}))
    await bench.settle()
    assert await bench.output() == list(range(20))
    assert broken.attempts[3] == 3


class Overtaken:
    """A ledger whose first claim takes so long that something else happens before it."""

    def __init__(self, ledger: Any, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._ledger = ledger
        self._meanwhile: Callable[[], Awaitable[None]] | None = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def claim(self, *args: Any, **kwargs: Any) -> Any:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await self._ledger.claim(*args, **kwargs)


async def test_a_fold_that_checked_before_a_redrive_does_not_end_the_new_generation():
    """All segments had ended at its check, but another fold ended the run and it was redriven before the claim."""
    broken = Broken(3, 7)
    bench = await started(Bench(make_job(broken), max_receive_count=2))
    work, fold = bench.plain.work_queue, bench.plain.fold_queue
    while len(work) or len(work.dead_letter_queue):
        await bench.pump(work, bench.job.segment_handler)
        await bench.pump(work.dead_letter_queue, bench.job.dead_letter_handler)
        bench.clock.advance(31)

    async def ended_and_redriven() -> None:
        bench.backend = bench.plain
        await send_request(bench.plain, CheckRun("run"))
        await bench.pump(fold, bench.job.fold_handler)
        assert (await bench.run()).state == RunState.FAILED
        broken.segments.clear()
        await redrive("run", bench.plain)

    bench.backend = replace(bench.plain, ledger=Overtaken(bench.ledger, ended_and_redriven))
    await bench.pump(fold, bench.job.fold_handler)
    run = await bench.run()
    assert (run.state, run.gen) == (RunState.RUNNING, 1)
    await bench.settle()
    assert (await bench.run()).state == RunState.SUCCEEDED
    assert await bench.output() == list(range(20))


async def test_a_redrive_repeats_a_failed_fold():
    """No segment is processed again."""
    broken = Broken()
    broken.fold_fails = True
    bench = await ended_with(broken)
    assert (await bench.run()).state == RunState.FAILED
    assert "the fold is broken" in (await bench.output())["fold"]
    broken.fold_fails = False
    assert (await redrive("run", bench.backend)).segments == 0
    await bench.settle()
    assert await bench.output() == list(range(20))
    assert set(broken.attempts.values()) == {1}


async def test_a_redrive_that_died_is_resumed_by_the_next_one_or_by_a_check_of_the_run():
    """At whichever call it died; no segment is lost."""
    for number in range(30):
        broken = Broken(3, 7, 9)
        bench = await ended_with(broken)
        broken.segments.clear()
        gate = FailsAt(number)
        ports = ("ledger", "work_queue", "fold_queue", "store")
        hostile = replace(bench.plain, **{name: Scripted(getattr(bench.plain, name), gate) for name in ports})
        with suppress(FanfoldError):
            await redrive("run", hostile)
        if number % 2 or (await bench.run()).gen == 0:
            with suppress(FanfoldError):  # a user who retries; "still running" if there is nothing to do
                await redrive("run", bench.backend)
        await bench.settle()
        assert await bench.output() == list(range(20)), f"call {number}"


async def test_a_redrive_can_be_resumed_after_the_queue_refused_its_messages():
    """The error states that the queue refused them."""
    broken = Broken(3)
    bench = await ended_with(broken)
    broken.segments.clear()
    with pytest.raises(EnqueueError):
        await redrive("run", replace(bench.plain, work_queue=RefusingQueue()))
    assert (await redrive("run", bench.backend)).segments == 1
    await bench.settle()
    assert await bench.output() == list(range(20))


async def test_a_redrive_that_is_not_possible_is_one_clear_error():
    """A run that is running, being folded, or without failures; a segment that did not fail; an unknown run."""
    broken = Broken(3)
    bench = await started(Bench(make_job(broken), max_receive_count=2))
    with pytest.raises(FanfoldError, match="run run is still running"):
        await redrive("run", bench.backend)
    await bench.settle()
    with pytest.raises(FanfoldError, match="segment 4 did not fail"):
        await redrive("run", bench.backend, only=[3, 4])
    broken.segments.clear()
    await redrive("run", bench.backend)
    await bench.settle()
    with pytest.raises(FanfoldError, match="there is nothing to redrive"):
        await redrive("run", bench.backend)
    with pytest.raises(FanfoldError, match="'none' is not in the ledger"):
        await redrive("none", bench.backend)
    await bench.job.start(bench.backend, {}, "other")
    await bench.ledger.claim("other", now=0, lease_seconds=900)
    assert (await bench.run("other")).state == RunState.FOLDING
    with pytest.raises(FanfoldError, match="is being folded"):
        await redrive("other", bench.backend)


async def test_of_two_concurrent_redrives_only_one_starts_the_generation():
    """The other raises an error and sends nothing."""
    broken = Broken(3)
    bench = await ended_with(broken)

    async def other() -> None:
        await bench.ledger.redrive("run", gen=1, redos=["x"], redo=0)

    class Beaten(Scripted):
        def __getattr__(self, name: str) -> Any:
            if name == "redrive":

                async def beaten(*args: Any, **kwargs: Any) -> bool:
                    await other()
                    return await bench.ledger.redrive(*args, **kwargs)

                return beaten
            return super().__getattr__(name)

    with pytest.raises(FanfoldError, match="redriven by another process"):
        await redrive("run", replace(bench.plain, ledger=Beaten(bench.ledger, lambda _: None)))
    assert len(bench.plain.work_queue) == 0


@pytest.mark.parametrize(
    ("failed", "total", "tolerated", "expected"),
    [
        (0, 10, 0, True),
        (1, 10, 0, False),
        (2, 10, 2, True),
        (3, 10, 2, False),
        (1, 10, 0.1, True),
        (2, 10, 0.19, False),
    ],
)
def test_failures_are_tolerated_by_count_or_by_share(failed, total, tolerated, expected):
    """A share is rounded down."""
    assert is_tolerated(failed, total, tolerated) is expected


async def test_a_run_with_tolerated_failures_succeeds_without_them_and_lists_them():
    """They can be redriven nevertheless."""
    broken = Broken(3)
    bench = await ended_with(broken, tolerated_failures=0.1)
    run = await bench.run()
    assert (run.state, run.failed) == (RunState.SUCCEEDED, 1)
    assert await bench.output() == [n for n in range(20) if n // 2 != 3]
    assert list(json.loads(await bench.plain.get_result(run.failures_key()))["segments"]) == ["3"]
    broken.segments.clear()
    await redrive("run", bench.backend)
    await bench.settle()
    assert await bench.output() == list(range(20))


@pytest.mark.parametrize("tolerated", [-1, 1.0, 1.5, True, "2", -0.1])
def test_an_invalid_tolerance_is_refused(tolerated):
    """When the job is created."""
    with pytest.raises(ConfigurationError, match="tolerated_failures"):
        Job("job", tolerated_failures=tolerated)


async def test_the_end_of_each_generation_is_notified_once_with_its_failures():
    """The notification contains the location of the output."""
    broken, notes = Broken(3), RecordingNotifier()
    bench = await ended(Bench(make_job(broken), max_receive_count=2, notifier=notes))
    broken.segments.clear()
    await redrive("run", bench.backend)
    await bench.settle()
    await send_request(bench.backend, CheckRun("run"))
    await bench.settle()
    (failed_subject, failed_text), (succeeded_subject, succeeded_text) = notes.published
    assert (failed_subject, succeeded_subject) == ("fanfold: job FAILED", "fanfold: job SUCCEEDED")
    document = json.loads(failed_text)
    assert document["failed"] == 1
    assert list(document["failures"]) == ["3"]
    assert document["all_failures"] == "s3://results/runs/run/0/failures.json"
    assert json.loads(succeeded_text)["output"] == "s3://results/runs/run/1/output.json"


async def test_a_notifier_that_fails_is_retried_and_does_not_change_how_the_run_ends():
    """At least once: the check is redelivered until the notification is sent."""
    notes = FailingNotifier(2)
    bench = await ended(Bench(make_job(Broken()), notifier=notes, max_receive_count=9))
    assert len(notes.published) == 1
    assert (await bench.run()).notified
    assert await bench.output() == list(range(20))
