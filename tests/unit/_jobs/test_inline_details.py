"""The details of an inline run, from its folder."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fanfold import Job, Ranges, inmemory
from fanfold._jobs.inline import inline_details, run_inline
from fanfold._jobs.inline_database import ENVIRONMENT, open_inline_database
from fanfold._ports.run import RunState
from fanfold.errors import ConfigurationError, FanfoldError
from idempotent import opening


def job_of(bad: set[int], fold=sum) -> Job:
    """Return a job of three segments, of which those in ``bad`` fail."""
    job = Job("sum", backend=opening(inmemory.backend()))
    job.source(lambda _: Ranges(25, size=10))
    job.fold(fold)

    @job.segment
    async def add(rows, ctx):
        if ctx.segment.number in bad:
            raise KeyError("carrier")
        return sum([number async for number in rows])

    return job


async def test_a_failed_segment_is_known_with_its_error_its_place_and_its_attempts(tmp_path: Path):
    """After the segment is done, its failed attempts still count as deliveries."""
    bad = {1}
    for _ in range(2):
        await run_inline(job_of(bad), run="r", folder=tmp_path)
    details, reason = await inline_details(tmp_path, "r")
    (group,) = details.failed_groups
    assert (details.run.state, details.done, details.failed, reason) == (RunState.FAILED, 2, 1, None)
    assert (group.error, group.message, list(group.segments)) == ("KeyError", "'carrier'", [1])
    assert group.place is not None
    assert group.place.rpartition(":")[0].endswith("test_inline_details.py")
    assert group.highest_attempt == 2
    bad.clear()
    await run_inline(job_of(bad), run="r", folder=tmp_path)
    details, _ = await inline_details(tmp_path, "r")
    ends = list(details.ends())
    assert (details.run.state, details.deliveries, details.failed_attempts) == (RunState.SUCCEEDED, 5, 2)
    assert [(end.segment, end.items, end.attempts, end.environment) for end in ends] == [
        (0, 10, 1, ENVIRONMENT),
        (1, 10, 3, ENVIRONMENT),
        (2, 5, 1, ENVIRONMENT),
    ]
    assert all(end.began_at is not None and end.seconds is not None for end in ends)
    assert details.run.output == str(tmp_path / "r" / "output.json")


async def test_a_failed_fold_is_the_reason_of_the_failure(tmp_path: Path):
    """The segments stay done."""

    def fold(results):
        raise ValueError("no fold")

    with pytest.raises(FanfoldError, match="the fold failed"):
        await run_inline(job_of(set(), fold), run="r", folder=tmp_path)
    details, reason = await inline_details(tmp_path, "r")
    assert (details.run.state, details.failed, details.done) == (RunState.FAILED, 0, 3)
    assert reason == "the fold failed: ValueError: no fold"


async def test_a_run_with_missing_segments_has_not_ended(tmp_path: Path):
    """For example because only some were requested."""
    await run_inline(job_of(set()), run="r", folder=tmp_path, only=[0])
    details, _ = await inline_details(tmp_path, "r")
    assert (details.run.state, details.done, details.missing) == (RunState.RUNNING, 1, 2)


async def test_a_run_of_an_earlier_version_has_no_times(tmp_path: Path):
    """Everything else is shown."""
    await run_inline(job_of(set()), run="r", folder=tmp_path)
    with closing(sqlite3.connect(tmp_path / "r" / "results.sqlite")) as database, database:
        for table in ("times", "attempts", "run_end"):
            database.execute(f"DROP TABLE {table}")
    details, _ = await inline_details(tmp_path, "r")
    assert [(end.segment, end.began_at, end.items) for end in details.ends()] == [
        (0, None, 10),
        (1, None, 10),
        (2, None, 5),
    ]


async def test_an_unknown_run_and_one_that_is_in_progress_are_one_clear_line(tmp_path: Path):
    """A name cannot leave the folder."""
    with pytest.raises(ConfigurationError, match="has no inline run 'r': use the folder in which"):
        await inline_details(tmp_path, "r")
    with pytest.raises(ConfigurationError, match=r"run '\.\./r'"):
        await inline_details(tmp_path, "../r")
    with (
        open_inline_database(tmp_path / "r" / "results.sqlite"),
        pytest.raises(ConfigurationError, match="another process is running this run"),
    ):
        await inline_details(tmp_path, "r")
    with pytest.raises(ConfigurationError, match="the run was not planned"):
        await inline_details(tmp_path, "r")
