"""A whole run in this process, without a queue or a ledger; failed segments are named and can be run again."""

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from failing import Scripted
from fanfold import Job, Ranges, S3Objects, inmemory
from fanfold._folds.output_file import File
from fanfold._jobs.inline import inline_details, run_inline
from fanfold._jobs.inline_database import DATABASE_BUCKET, open_inline_database
from fanfold.errors import ConfigurationError, FanfoldError, ObjectChangedError, ObjectMissingError, SourceError
from idempotent import opening


class Trial:
    """A job over 25 numbers, ten per segment, with configurable failures; it must not use a queue or a ledger."""

    def __init__(self, *, source=None, segment=None, fold=sum, **settings) -> None:
        self.bad: set[int] = set()
        self.calls: list[int] = []
        self.backend = inmemory.backend()

        def gate(operation: str) -> None:
            raise AssertionError(f"a run in this process called {operation}")

        for port in ("work_queue", "fold_queue", "quarantine_queue", "ledger"):
            object.__setattr__(self.backend, port, Scripted(getattr(self.backend, port), gate))

        self.job = Job("sum", backend=opening(self.backend), **settings)
        self.job.source(source or (lambda params: Ranges(params.get("count", 25), size=10)))
        self.job.fold(fold)

        @self.job.segment
        async def add(rows, ctx):
            self.calls.append(ctx.segment.number)
            if segment is not None:
                return await segment(rows, ctx)
            if ctx.segment.number in self.bad:
                raise ValueError("not this one")
            return sum([number async for number in rows])


async def test_all_segments_are_done_and_folded():
    """The functions are the same as the deployed ones; only the source is on AWS."""
    trial = Trial()
    seen: list[tuple[int, int]] = []
    ended = await run_inline(trial.job, {"count": 25}, progress=lambda *counts: seen.append(counts))
    assert (ended.output, ended.segments, ended.done, ended.missing) == (300, 3, 3, 0)
    assert ended.succeeded
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert (ended.evenness.items, ended.evenness.least, ended.evenness.most) == (25, 5, 10)


async def test_a_run_without_segments_folds_an_empty_list():
    """Like a deployed run."""
    ended = await run_inline(Trial().job, {"count": 0})
    assert (ended.output, ended.segments, ended.succeeded, ended.evenness) == (0, 0, True, None)


async def test_a_segment_that_fails_is_named_and_does_not_affect_the_others():
    """For any exception. The run then has no output."""

    async def fail(rows, ctx):
        if ctx.segment.number == 1:
            raise asyncio.CancelledError
        if ctx.segment.number == 2:
            return {1, 2}
        return 1

    ended = await run_inline(Trial(segment=fail).job)
    assert not ended.succeeded
    assert (ended.done, ended.output) == (1, None)
    assert ended.failed[1] == "CancelledError"
    assert "must return a JSON value" in ended.failed[2]


async def test_a_second_run_with_the_same_name_processes_only_missing_segments(tmp_path: Path):
    """It uses the plan of the first run, even if the source has changed."""
    trial = Trial()
    trial.bad = {1}
    first = await run_inline(trial.job, {"count": 25}, run="r", folder=tmp_path)
    assert first.failed == {1: "ValueError: not this one"}
    trial.bad, trial.calls = set(), []
    second = await run_inline(trial.job, run="r", folder=tmp_path)
    assert (trial.calls, second.output, second.worked_on, second.done) == ([1], 300, 1, 3)
    assert json.loads((tmp_path / "r" / "output.json").read_bytes()) == 300
    third = await run_inline(trial.job, run="r", folder=tmp_path)
    assert (trial.calls, third.output, third.worked_on) == ([1], 300, 0)
    with closing(sqlite3.connect(tmp_path / "r" / "results.sqlite")) as database:
        document = json.loads(database.execute("SELECT document FROM run").fetchone()[0])
    assert list(document) == ["run", "job", "params", "plan", "created_at", "expires_at"]  # the format of older files


async def test_a_single_segment_can_be_processed_again(tmp_path: Path):
    """Even if it is done. If it then fails, its result is deleted; other segments keep theirs."""
    trial = Trial()
    only = await run_inline(trial.job, run="r", folder=tmp_path, only=[2])
    assert (only.done, only.missing, only.output) == (1, 2, None)
    await run_inline(trial.job, run="r", folder=tmp_path)
    trial.bad, trial.calls = {2}, []
    repeated = await run_inline(trial.job, run="r", folder=tmp_path, only=[2])
    assert (trial.calls, list(repeated.failed), repeated.done, repeated.output) == ([2], [2], 2, None)
    with pytest.raises(ConfigurationError, match="segment 3 does not exist: the run has 3 segments, numbered 0 to 2"):
        await run_inline(trial.job, run="r", folder=tmp_path, only=[0, 3])


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"params": ["bucket"]}, r"^params must be a dict, .*not \['bucket'\]"),
        ({"only": "1"}, "^segment '1' does not exist: the run has 3 segments, numbered 0 to 2$"),
        ({"only": [True]}, "^segment True does not exist: "),
        ({"params": {"count": 0}, "only": [0]}, "^segment 0 does not exist: the run has 0 segments$"),
    ],
)
async def test_an_invalid_argument_is_one_clear_error(wrong, complaint):
    """No segment is processed."""
    trial = Trial()
    with pytest.raises(ConfigurationError, match=complaint):
        await run_inline(trial.job, **wrong)
    assert trial.calls == []


async def test_a_folder_may_be_a_string(tmp_path: Path):
    """It works like a path."""
    await run_inline(Trial().job, run="r", folder=str(tmp_path))
    assert (tmp_path / "r" / "output.json").is_file()


async def test_a_listing_is_stored_with_the_run(tmp_path: Path):
    """It is written to the database of the run, not to a bucket, and the second run reads it from there."""
    trial = Trial(
        source=lambda params: S3Objects("source", keys_per_segment=2),
        segment=lambda rows, ctx: keys(rows, ctx),  # noqa: PLW0108 - keys is defined below
        fold=lambda results: [key for result in results for key in result],
    )
    store = trial.backend.store
    store.fill("source", {f"{number}": b"" for number in range(5)})

    async def keys(rows, ctx):
        if ctx.segment.number in trial.bad:
            raise ValueError("not this one")
        await ctx.store.put("source", "written-by-a-handler", b"")
        return [row["key"] async for row in rows]

    trial.bad = {1}
    await run_inline(trial.job, run="r", folder=tmp_path)
    store.fill("source", {"later": b""})
    trial.bad = set()
    ended = await run_inline(trial.job, run="r", folder=tmp_path)
    assert ended.output == ["0", "1", "2", "3", "4"]
    assert {listed.key async for listed in store.list("source")} >= {"later", "written-by-a-handler"}
    assert [listed async for listed in store.list(trial.backend.results_bucket)] == []


async def test_segments_never_exceed_the_concurrency():
    """The argument of the call overrides the setting of the job."""
    running, maximum = 0, 0

    async def count(rows, ctx):
        nonlocal running, maximum
        running += 1
        maximum = max(maximum, running)
        await asyncio.sleep(0)
        running -= 1
        return 0

    trial = Trial(source=lambda params: Ranges(40, size=1), segment=count, concurrency=5)
    await run_inline(trial.job)
    assert maximum == 5
    maximum = 0
    await run_inline(trial.job, concurrency=2)
    assert maximum == 2
    with pytest.raises(ConfigurationError, match="concurrency"):
        await run_inline(trial.job, concurrency=0)


async def test_handlers_share_the_value_of_the_lifespan():
    """The lifespan ends with the run; if it fails, that is one clear error."""
    steps: list[str] = []

    @asynccontextmanager
    async def lifespan():
        steps.append("begun")
        yield "shared"
        steps.append("ended")

    async def state(rows, ctx):
        return ctx.state

    trial = Trial(segment=state, fold=list, lifespan=lifespan)
    assert (await run_inline(trial.job)).output == ["shared"] * 3
    assert steps == ["begun", "ended"]

    @asynccontextmanager
    async def broken():
        raise RuntimeError("no database")
        yield

    with pytest.raises(FanfoldError, match="job sum: the lifespan failed: RuntimeError: no database"):
        await run_inline(Trial(lifespan=broken).job)


async def test_a_fold_that_fails_loses_no_segment(tmp_path: Path):
    """After it is fixed, the same run is folded without processing any segment."""

    def broken(results):
        raise ZeroDivisionError("oh")

    trial = Trial(fold=broken)
    with pytest.raises(FanfoldError, match="the fold failed: ZeroDivisionError: oh"):
        await run_inline(trial.job, run="r", folder=tmp_path)
    trial.job.fold(sum)
    ended = await run_inline(trial.job, run="r", folder=tmp_path)
    assert (ended.output, ended.worked_on) == (300, 0)


async def test_a_file_that_the_fold_returns_is_stored_in_the_folder(tmp_path: Path):
    """Without a folder, the caller receives the file."""
    trial = Trial(fold=lambda results: File(b"abc", "a.txt", rows=1))
    ended = await run_inline(trial.job, run="r", folder=tmp_path)
    assert ended.output == {"file": str(tmp_path / "r" / "a.txt"), "bytes": 3, "rows": 1}
    assert (tmp_path / "r" / "a.txt").read_bytes() == b"abc"
    assert (await run_inline(trial.job)).output == File(b"abc", "a.txt", rows=1)


async def test_a_run_is_not_mistaken_for_another_one(tmp_path: Path):
    """Other parameters, another job, an invalid file, a file in use by another process: one clear line each."""
    trial = Trial()
    await run_inline(trial.job, {"count": 5}, run="r", folder=tmp_path)
    with pytest.raises(
        ConfigurationError, match=r"other params; these differ: 'count'\. Pass the same params, none, or"
    ):
        await run_inline(trial.job, {"count": 6}, run="r", folder=tmp_path)
    trial.job.name = "other"
    with pytest.raises(ConfigurationError, match="run r belongs to job 'sum'"):
        await run_inline(trial.job, run="r", folder=tmp_path)
    with (
        open_inline_database(tmp_path / "r" / "results.sqlite"),
        pytest.raises(ConfigurationError, match="is in use: another process is running this run"),
    ):
        await run_inline(trial.job, run="r", folder=tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "results.sqlite").write_bytes(b"something else, and long enough to be examined" * 100)
    with pytest.raises(ConfigurationError, match="cannot be used to store results"):
        await run_inline(trial.job, run="x", folder=tmp_path)
    with pytest.raises(ConfigurationError, match=r"run '\.\./x'"):
        await run_inline(trial.job, run="../x", folder=tmp_path)


async def test_a_source_that_cannot_be_cut_raises_the_same_error_as_in_a_deployed_run(tmp_path: Path):
    """Nothing is stored that would prevent the next attempt."""
    trial = Trial(source=lambda params: Ranges(params["count"], size=10))
    with pytest.raises(ConfigurationError, match="the source function failed"):
        await run_inline(trial.job, run="r", folder=tmp_path)
    assert (await run_inline(trial.job, {"count": 3}, run="r", folder=tmp_path)).output == 3
    missing = Trial(source=lambda params: S3Objects("no-such-bucket"))
    with pytest.raises((SourceError, FanfoldError), match="no-such-bucket"):
        await run_inline(missing.job)


async def test_results_survive_an_interruption(tmp_path: Path):
    """A run that is cancelled keeps the segments that ended before."""

    async def stop_at_two(rows, ctx):
        if ctx.segment.number == 2:
            task.cancel()
            await asyncio.sleep(3600)
        return 7

    trial = Trial(segment=stop_at_two, concurrency=1)
    task = asyncio.ensure_future(run_inline(trial.job, run="r", folder=tmp_path))
    with pytest.raises(asyncio.CancelledError):
        await task
    database = sqlite3.connect(tmp_path / "r" / "results.sqlite")
    assert database.execute("SELECT segment, result FROM ends").fetchall() == [(0, "7"), (1, "7")]
    database.close()


async def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path):
    """Before any segment is processed."""
    (tmp_path / "file").write_bytes(b"")
    trial = Trial()
    with pytest.raises(ConfigurationError, match="cannot be used to store results"):
        await run_inline(trial.job, run="r", folder=tmp_path / "file")
    (tmp_path / "r" / "results.sqlite").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        await run_inline(trial.job, run="r", folder=tmp_path)
    assert trial.calls == []


async def test_an_error_when_the_lifespan_closes_is_raised_unchanged(tmp_path: Path):
    """It is not mistaken for an error of the run's database."""

    @asynccontextmanager
    async def lifespan():
        yield
        raise OSError("the database is down")

    with pytest.raises(OSError, match="the database is down"):
        await run_inline(Trial(lifespan=lifespan).job, run="r", folder=tmp_path)


def test_a_disk_that_is_full_is_one_clear_error(tmp_path: Path):
    """Regardless of what was being written."""
    with (
        pytest.raises(ConfigurationError, match="cannot be written: database or disk is full"),
        open_inline_database(tmp_path / "f"),
    ):
        raise sqlite3.OperationalError("database or disk is full")


async def test_an_object_that_a_source_writes_can_be_read_like_one_in_a_bucket():
    """Completely or in part, and only if it is the pinned object; calls for other buckets go to the store itself."""
    below = inmemory.InMemoryStore("b")
    below.fill("b", {"key": b"below"})
    with open_inline_database(None) as database:
        store = database.over(below)
        await store.put(DATABASE_BUCKET, "key", b"0123456789")
        info = await store.head(DATABASE_BUCKET, "key")
        assert info.size_bytes == 10
        assert [piece async for piece in store.read(DATABASE_BUCKET, "key", start=3, stop=5, etag=info.etag)] == [b"34"]
        assert [piece async for piece in store.read(DATABASE_BUCKET, "key", start=8)] == [b"89"]
        with pytest.raises(ObjectChangedError):
            _ = [piece async for piece in store.read(DATABASE_BUCKET, "key", etag='"other"')]
        with pytest.raises(ObjectMissingError):
            await store.head(DATABASE_BUCKET, "other")
        assert (await store.head("b", "key")).size_bytes == 5
        assert [piece async for piece in store.read("b", "key")] == [b"below"]


async def test_an_inline_run_has_the_same_details_as_a_distributed_one(tmp_path: Path):
    """Times, attempts of all calls with this name, and groups of failures; also read from its folder later."""
    trial = Trial()
    trial.bad = {1}
    first = (await run_inline(trial.job, {"count": 45}, run="r", folder=tmp_path)).details
    assert first is not None
    assert (first.run.state, first.total, first.done, first.failed) == ("FAILED", 5, 4, 1)
    (group,) = first.failed_groups
    assert (group.error, list(group.segments), group.highest_attempt) == ("ValueError", [1], 1)
    assert group.place is not None
    assert "test_inline.py:" in group.place
    trial.bad = set()
    await run_inline(trial.job, run="r", folder=tmp_path)
    details, _ = await inline_details(tmp_path, "r")
    assert (details.run.state, details.done, details.failed, details.is_exact) == ("SUCCEEDED", 5, 0, True)
    assert (details.deliveries, details.retries, details.failed_attempts) == (6, 1, 1)
    assert [end.attempts for end in details.ends()] == [1, 2, 1, 1, 1]
    assert all(end.began_at is not None and end.seconds is not None for end in details.ends())
    with pytest.raises(ConfigurationError, match="has no inline run 'other'"):
        await inline_details(tmp_path, "other")
