"""``fanfold run --inline``, as a user runs it."""

import gzip
import json
import os
import signal
from pathlib import Path

import pytest

from command import FLIGHTS, fanfold, only_line, running
from fanfold._stack.demo import expected_output

APP = """
import asyncio, os
from fanfold import Job, Ranges

job = Job("sum", concurrency=2)

@job.source
def numbers(params):
    return Ranges(params.get("count", 40), size=10)

@job.segment
async def add(rows, ctx):
    if str(ctx.segment.number) in os.environ.get("BAD", ""):
        raise ValueError("not [this] one")
    if os.environ.get("HANG") and ctx.segment.number == 3:
        print("hanging", flush=True)
        await asyncio.sleep(3600)
    return sum([number async for number in rows])

job.fold(sum)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def inline(folder: Path, *arguments: str, **environment: str):
    variables = {"AWS_DEFAULT_REGION": "eu-west-1", "COLUMNS": "120", **environment}
    return fanfold("run", "app:job", "--inline", "--run", "r", *arguments, folder=folder, **variables)


@pytest.mark.slow
def test_a_failed_segment_is_named_and_can_be_processed_alone(folder: Path):
    """The command fails until all segments are done; then it prints and stores the output."""
    failed = inline(folder, BAD="13")
    assert failed.returncode == 1
    assert failed.stderr.rstrip().endswith(
        "fanfold: run r: 2 of 4 segments failed: segment 1 (ValueError: not [this] one); segment 3 (ValueError: not "
        "[this] one). Finished segments are saved; retry the others with --inline --run r --output fanfold-runs, "
        "or only the failed ones by adding --only 1,3"
    )
    assert "not [this] one" in failed.stdout
    shown = fanfold("status", "r", "--inline", folder=folder, COLUMNS="120")
    assert (shown.returncode, "2 × ValueError not [this] one (attempt 1, app.py:" in shown.stdout) == (1, True)  # noqa: RUF001
    drawn = fanfold("report", "r", "--inline", folder=folder)
    assert (drawn.returncode, drawn.stdout, drawn.stderr) == (0, "page: r.html\n", "")
    assert "fanfold run MODULE:JOB --inline --run r --only 1,3" in (folder / "r.html").read_text()
    wrong = fanfold("report", "r", folder=folder)
    assert only_line(wrong.stderr).endswith("For the inline run with this name in fanfold-runs, add --inline")
    one = inline(folder, "--only", "1", "--json", BAD="3")
    assert one.returncode == 1
    assert {name: json.loads(one.stdout)[name] for name in ("done", "worked_on", "output", "succeeded")} == {
        "done": 3,
        "worked_on": 1,
        "output": None,
        "succeeded": False,
    }
    rest = inline(folder)
    assert rest.returncode == 0, rest.stderr
    assert rest.stdout.splitlines()[0] == "780"
    assert json.loads((folder / "fanfold-runs" / "r" / "output.json").read_text()) == 780


def test_wrong_options_are_one_clear_line(folder: Path):
    """Each line names the fix."""
    messages = {
        ("--inline", "--dry-run"): "--inline and --dry-run do not go together: choose one of them",
        ("--only", "3"): "--only needs --inline: add it, or leave it out",
        ("--inline", "--only", "3-1"): "--only '3-1' is not a list of segments such as 3,17,20-25",
        ("--inline", "--only", "0-99999999999"): "names more than 1,000,000 segments",
        ("--inline", "--only", "4"): "segment 4 does not exist: the run has 4 segments, numbered 0 to 3",
        ("--inline", "--params", "[]"): "--params must be a JSON object",
    }
    for arguments, line in messages.items():
        done = fanfold("run", "app:job", *arguments, folder=folder, AWS_DEFAULT_REGION="eu-west-1")
        assert done.returncode == 2
        assert line in done.stderr


@pytest.mark.slow
def test_an_interrupted_run_is_resumed(folder: Path):
    """Ctrl-C ends it with one line; done segments are not processed again."""
    environment = {**os.environ, "HANG": "1", "AWS_DEFAULT_REGION": "eu-west-1"}
    with running("run", "app:job", "--inline", "--run", "r", folder=folder, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.rstrip().endswith("fanfold: interrupted; nothing is left running on this machine")
    done = inline(folder, "--json")
    assert (done.returncode, json.loads(done.stdout)["output"]) == (0, 780)
    assert json.loads(done.stdout)["worked_on"] < 4


@pytest.mark.stack
def test_the_flights_are_counted_in_this_process(bucket: str, tmp_path: Path):
    """It needs only the bucket, no ``FANFOLD_…`` variable, queue, or table; the output is the expected one."""
    params = json.dumps({"bucket": bucket, "key": "flights.csv"})
    arguments = ("run", "app:job", "--inline", "--params", params, "--json", "--output", str(tmp_path))
    done = fanfold(*arguments, folder=FLIGHTS)
    assert done.returncode == 0, done.stderr
    data = gzip.decompress((FLIGHTS / "flights-2013-01.csv.gz").read_bytes())
    assert json.loads(done.stdout)["output"] == expected_output(data)


def test_a_source_function_that_fails_is_one_clear_line(folder: Path):
    """Like in a deployed run."""
    done = inline(folder, "--params", '{"count": "many"}')
    assert done.returncode == 2
    assert only_line(done.stderr.strip().splitlines()[-1]).startswith("fanfold: ")


def test_a_job_that_reads_nothing_on_aws_needs_neither_region_nor_credentials(tmp_path: Path):
    """For a job that reads from AWS, one line names what is missing."""
    (tmp_path / "app.py").write_text(
        "from fanfold import Job, Ranges, S3Lines, folds\n"
        "job = Job('squares')\n"
        "@job.source\n"
        "def numbers(params):\n"
        "    return S3Lines('b', 'k.csv') if params.get('s3') else Ranges(25, size=10)\n"
        "@job.segment\n"
        "async def square(rows, ctx):\n"
        "    return sum([r * r async for r in rows])\n"
        "job.fold(folds.total())\n",
        encoding="utf-8",
    )
    done = fanfold("run", "app:job", "--inline", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["output"] == sum(n * n for n in range(25))
    assert list(document)[:2] == ["run", "segments"]
    assert "id" not in document
    done = fanfold("run", "app:job", "--inline", "--params", '{"s3": true}', folder=tmp_path)
    assert done.returncode == 2
    assert "no AWS region is set" in only_line(done.stderr)
