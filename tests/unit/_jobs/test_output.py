"""The return value of a fold becomes one output: a JSON value, a file, or the rows that it yields."""

import tempfile
from pathlib import Path

import pytest

from failing import FailsAt
from fanfold import Job, S3Lines, folds
from fanfold._jobs.output import file_in
from fanfold.folds import File
from harness import Bench

NUMBERS = b"".join(b"%d\n" % number for number in range(60))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of temporary files, so that a test can check that it leaves none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def make_job(fold) -> Job:
    job = Job("rows")
    job.source(lambda params: S3Lines("source", "numbers.jsonl", chunk_bytes=30))

    @job.segment
    async def segment(rows, ctx):
        return [{"n": number} async for number in rows]

    job.fold(fold)
    return job


async def folded(fold, gate=None) -> Bench:
    bench = Bench(make_job(fold), gate=gate, numbers_jsonl=NUMBERS)
    await bench.job.start(bench.plain, {}, "run")
    await bench.settle()
    return bench


LINES = b"".join(b'{"n":%d}\n' % number for number in range(60))


def generator(results):
    for result in results:
        yield from result


async def async_generator(results):
    async for result in results:
        for row in result:
            yield row


@pytest.mark.parametrize(
    ("fold", "name", "data"),
    [
        (folds.to_json_lines("rows.jsonl"), "rows.jsonl", LINES),
        (generator, "output.jsonl", LINES),
        (async_generator, "output.jsonl", LINES),
        (folds.to_csv("rows.csv"), "rows.csv", b"n\r\n" + b"".join(b"%d\r\n" % number for number in range(60))),
    ],
)
async def test_rows_are_committed_as_a_file_that_the_output_names(fold, name, data, temporary):
    """The file is stored next to the output; no local copy is left."""
    bench = await folded(fold)
    assert (await bench.run()).state == "SUCCEEDED"
    assert await bench.output() == {"file": f"runs/run/0/{name}", "bytes": len(data), "rows": 60}
    assert await bench.plain.get_result(f"runs/run/0/{name}") == data
    assert list(temporary.iterdir()) == []


async def test_an_async_fold_returns_a_value_like_a_def_fold():
    """It runs on the event loop."""

    async def fold(results):
        return len([result async for result in results])

    assert await (await folded(fold)).output() == 6


@pytest.mark.parametrize(
    ("output", "key"),
    [
        ({"file": "runs/r/0/a.csv", "bytes": 1, "rows": 1}, "runs/r/0/a.csv"),
        ({"file": "runs/r/1/a.csv", "bytes": 1}, "runs/r/1/a.csv"),
        ({"file": "runs/other/0/a.csv", "bytes": 1}, None),
        ({"file": 7, "bytes": 1}, None),
        ({"file": "runs/r/0/a.csv"}, None),
        ({"file": "runs/r/0/a.csv", "bytes": 1, "more": 1}, None),
        ("runs/r/0/a.csv", None),
    ],
)
def test_an_output_that_is_a_file_is_distinguished_from_a_value(output, key):
    """A value that merely resembles a file reference is a value."""
    assert file_in(output, "r") == key


async def test_a_file_of_the_user_is_not_deleted(tmp_path):
    """Unless it is marked as temporary. Without a row count, the output has no ``rows``."""
    user_file = tmp_path / "user.bin"
    user_file.write_bytes(b"12345")
    bench = await folded(lambda results: File(user_file, "data.bin"))
    assert await bench.output() == {"file": "runs/run/0/data.bin", "bytes": 5}
    assert user_file.exists()
    bench = await folded(lambda results: File(str(user_file), "data.bin", temporary=True))
    assert await bench.output() == {"file": "runs/run/0/data.bin", "bytes": 5}
    assert not user_file.exists()


@pytest.mark.parametrize(
    ("fold", "reason"),
    [
        (lambda results: {1, 2}, "the fold must return a JSON value"),
        (lambda results: ({1} for _ in results), "row 0: not a JSON value: {1} is not a JSON value (set): use a list"),
        (lambda results: File("/no/such/file", "a"), "the fold returned a file that cannot be read: /no/such/file"),
        (lambda results: folds.total()(results) + 0, "result 0 is not a finite number"),
    ],
)
async def test_a_value_that_cannot_be_an_output_fails_the_run_immediately(fold, reason, temporary):
    """Every attempt would fail in the same way."""
    bench = await folded(fold)
    assert (await bench.run()).state == "FAILED"
    assert reason in (await bench.output())["fold"]
    assert list(temporary.iterdir()) == []


async def test_a_file_is_committed_once_whatever_fails():
    """After a crash at any call of the fold, before or after its effect: one file, and one output that matches it."""
    attempts = 0

    def fold(results):
        nonlocal attempts
        attempts += 1
        return File(b"x" * attempts, "data.bin", rows=attempts)  # every attempt writes different data

    seen: list[str] = []
    await folded(fold, seen.append)
    for number in range(len(seen)):
        attempts = 0
        bench = await folded(fold, FailsAt(number))
        assert (await bench.run()).state == "SUCCEEDED"
        output = await bench.output()
        assert len(await bench.plain.get_result(output["file"])) == output["bytes"]
