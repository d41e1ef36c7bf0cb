"""The list of inline runs in a folder."""

import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fanfold import Job, Ranges, inmemory, run_inline
from fanfold._jobs.inline import DATABASE_FILE
from fanfold._jobs.inline_database import open_inline_database
from fanfold._jobs.inline_runs import inline_runs
from fanfold.cli.app import app
from fanfold.errors import ConfigurationError
from numbers_job import all_of


def job_of(*, fails: bool = False) -> Job:
    async def segment(rows, ctx):
        if fails and ctx.segment.number == 1:
            raise ValueError("broken")
        return await all_of(rows, ctx)

    @asynccontextmanager
    async def backend():
        yield inmemory.backend()

    job = Job("numbers", backend=backend)
    job.source(lambda params: Ranges(6, size=2))
    job.segment(segment)
    job.fold(lambda results: len(list(results)))
    return job


async def test_each_inline_run_is_listed_with_its_state(tmp_path: Path):
    """Also one that is running, or whose database cannot be read: a bad one costs only itself."""
    await run_inline(job_of(), run="done", folder=tmp_path)
    await run_inline(job_of(fails=True), run="broken", folder=tmp_path)
    await run_inline(job_of(), run="partly", only=[0], folder=tmp_path)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / DATABASE_FILE).write_bytes(b"no database" * 1_000)
    (tmp_path / "other").mkdir()
    with open_inline_database(tmp_path / "new" / DATABASE_FILE):
        states = {run.id: (run.job, run.state, run.failed) for run in inline_runs(tmp_path)}
    assert states == {
        "done": ("numbers", "SUCCEEDED", 0),
        "broken": ("numbers", "FAILED", 1),
        "partly": ("numbers", "INCOMPLETE", 0),
        "torn": ("", "UNREADABLE", 0),
        "new": ("", "RUNNING", 0),
    }
    assert {run.state for run in inline_runs(tmp_path) if run.id == "new"} == {"INCOMPLETE"}
    with closing(sqlite3.connect(tmp_path / "done" / DATABASE_FILE)) as database:
        assert database.execute("SELECT count(*) FROM run").fetchone() == (1,)


def test_a_folder_that_does_not_exist_is_one_clear_error(tmp_path: Path):
    """It names the folder and the option."""
    with pytest.raises(ConfigurationError, match="nowhere does not exist, and so holds no inline runs: specify the --"):
        list(inline_runs(tmp_path / "nowhere"))


async def test_the_command_lists_inline_runs_in_pages_within_80_columns(tmp_path: Path):
    """By state, too; an empty list is not an error."""
    for number in range(3):
        await run_inline(job_of(), run=f"a-run-with-a-name-of-36-characters-{number}", folder=tmp_path)
    runner, options = CliRunner(), ["runs", "--inline", "--folder", str(tmp_path)]
    done = runner.invoke(app, [*options, "--limit", "2"], env={"COLUMNS": "80", "TERM": "dumb"})
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[:3] for line in lines[1:3]] == [
        [f"a-run-with-a-name-of-36-characters-{number}", "numbers", "SUCCEEDED"] for number in (2, 1)
    ]
    assert lines[-1] == "More runs: add --after a-run-with-a-name-of-36-characters-1"
    done = runner.invoke(app, [*options, "--after", "a-run-with-a-name-of-36-characters-1"])
    assert "characters-0" in done.stdout
    assert runner.invoke(app, [*options, "--state", "incomplete"]).stdout == "no runs\n"
    done = runner.invoke(app, [*options, "--after", "none"])
    assert (done.exit_code, done.stderr) == (1, f"fanfold: --after: {tmp_path} has no run 'none'\n")
    done = runner.invoke(app, [*options, "--state", "done"])
    assert "--state must be RUNNING, FOLDING, SUCCEEDED, FAILED, CANCELLED or INCOMPLETE, not 'done'" in done.stderr
