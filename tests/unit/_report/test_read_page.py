"""Read what the page of a run shows."""

from contextlib import suppress
from dataclasses import replace

import anyio
import pytest

from drawn_runs import DrawnRun
from fanfold import Job, Ranges, S3Lines, inmemory
from fanfold._ports.queue import Message, QueueCounts
from fanfold._ports.run import RunState
from fanfold._report.read_page import fold_failure, read_page, watch_pages
from fanfold.errors import ConfigurationError, FanfoldError
from fanfold.inmemory import InMemoryQueue
from fanfold.testing import make_context
from harness import Bench, ended
from idempotent import opening
from numbers_job import all_of


def job_of(**settings: object) -> Job:
    job = Job("rows")
    job.source(lambda _: S3Lines("source", "a.csv", **settings))
    job.segment(all_of)
    job.fold(lambda results: len(list(results)))
    return job


async def test_the_reason_of_a_run_that_failed_although_its_segments_did_not_is_known():
    """Too many bad rows are an example."""
    bench = await ended(Bench(job_of(on_bad_row="collect", max_bad_rows=0), a_csv=b"a,b\n1,2\n3\n"))
    source = await read_page("run", bench.backend)
    assert source.fold_failure is not None
    assert source.fold_failure.startswith("1 of 2 rows are bad, more than max_bad_rows=0 allows")


async def test_failed_segments_have_their_own_reasons_and_a_run_that_succeeded_has_none():
    """The report lists those of segments."""
    for settings in ({}, {"on_bad_row": "collect"}):
        bench = await ended(Bench(job_of(**settings), a_csv=b"a,b\n1,2\n3\n"))
        assert await fold_failure(await bench.run(), bench.backend) is None


async def test_an_unknown_run_and_one_that_has_expired_are_one_clear_line():
    """The ledger deletes expired runs in parts."""
    backend = await DrawnRun(5).backend()
    with pytest.raises(FanfoldError, match="run 'r-2' is not in the ledger: check its name"):
        await read_page("r-2", backend)
    late = replace(backend, now=lambda: 2_000_000_000.0)
    with pytest.raises(FanfoldError, match="run r-1 expired on 2033-05-18 03:33:20 UTC: the ledger no longer keeps"):
        await read_page("r-1", late)


async def test_a_run_is_watched_until_it_has_ended():
    """The last page is that of its end."""
    backend = await DrawnRun(5, state=RunState.RUNNING).backend()

    await backend.work_queue.send([Message("segment")])

    async def ends_meanwhile(_: float) -> None:
        fence = await backend.ledger.claim("r-1", now=0.0, lease_seconds=60)
        assert fence is not None
        await backend.ledger.finish("r-1", fence=fence, state=RunState.SUCCEEDED, output="o", ended_at=9.0, failed=0)

    pages = watch_pages("r-1", replace(backend, sleep=ends_meanwhile), within_seconds=60)
    seen = [(source.run.state, source.queue) async for source in pages]
    assert seen == [(RunState.RUNNING, QueueCounts(1, 0)), (RunState.SUCCEEDED, None)]


async def test_a_queue_that_may_not_be_read_is_left_out():
    """The ledger is enough for the status."""
    backend = await DrawnRun(5, state=RunState.RUNNING).backend()

    class Denied(InMemoryQueue):
        async def counts(self) -> QueueCounts:
            raise ConfigurationError("queue: access denied")

    source = await read_page("r-1", replace(backend, work_queue=Denied()))
    assert source.queue is None


async def test_a_run_that_does_not_end_in_time_continues():
    """The line states that it does."""
    backend = await DrawnRun(5, state=RunState.RUNNING).backend()
    with pytest.raises(
        FanfoldError, match="run r-1 has not ended within 0 s and continues: `fanfold status r-1` shows it"
    ):
        async for _ in watch_pages("r-1", backend, within_seconds=0.0):
            pass


def test_a_run_of_a_state_machine_is_drawn_like_any_other():
    """Its tasks record the same times and failed attempts."""
    backend = inmemory.backend()
    job = Job("sum", backend=opening(backend))
    job.source(lambda _: Ranges(30, size=10))
    job.fold(sum)

    @job.segment
    async def add(rows, ctx):
        if ctx.segment.number == 1:
            raise KeyError("carrier")
        return sum([number async for number in rows])

    planned = job.plan_handler({"run": "r", "input": {}, "items": "payload"}, make_context(900))
    for item in planned["items"]:
        with suppress(FanfoldError):
            job.task_handler(item, make_context(900))
    assert job.collect_handler({"run": "r"}, make_context(900))["state"] == "FAILED"
    source = anyio.run(read_page, "r", backend)
    (group,) = source.details.failed_groups
    assert (source.details.done, group.error, list(group.segments)) == (2, "KeyError", [1])
    assert group.place is not None
    assert "2 of 3 segments are done, 1 failed permanently." in source.verdict
    assert all(end.began_at is not None for end in source.details.ends() if end.reason is None)


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b"{}", b"7"])
async def test_a_run_with_a_damaged_reason_is_shown(content: bytes):
    """The page names the object."""
    bench = await ended(Bench(job_of(on_bad_row="collect", max_bad_rows=0), a_csv=b"a,b\n1,2\n3\n"))
    await bench.plain.put_result("runs/run/0/fold-failure.json", content)
    source = await read_page("run", bench.backend)
    assert source.fold_failure == "the reason in runs/run/0/fold-failure.json cannot be read"
