"""Empty input is an empty run, folded to an empty output, unless the job does not allow it."""

import gzip
import json
from typing import Any

import pytest

from exports import SUMMARY, export
from fanfold import (
    DynamoDBExport,
    Items,
    Job,
    Ranges,
    S3Inventory,
    S3JsonArray,
    S3Lines,
    S3Objects,
    S3Parquet,
    run_inline,
)
from fanfold.errors import ConfigurationError, SourceError
from harness import Bench, ended
from inventories import inventory, row_of
from numbers_job import all_of

LIST = "inv/manifest.json"
ONE_KEY = inventory([[row_of("a")]])
WITHOUT_SEGMENTS: dict[str, tuple[Any, dict[str, bytes], str]] = {
    "no bytes": (S3Lines("source", "a.csv"), {"a_csv": b""}, "s3://source/a.csv"),
    "no bytes of json lines": (S3Lines("source", "a.jsonl"), {"a_jsonl": b""}, "s3://source/a.jsonl"),
    "no compressed bytes": (S3Lines("source", "a.txt.gz"), {"a_txt_gz": b""}, "s3://source/a.txt.gz"),
    "header only": (S3Lines("source", "a.csv"), {"a_csv": b"n,m\n"}, "s3://source/a.csv"),
    "header without newline": (S3Lines("source", "a.csv"), {"a_csv": b"n,m"}, "s3://source/a.csv"),
    "compressed csv": (S3Lines("source", "a.csv.gz"), {"a_csv_gz": gzip.compress(b"")}, "s3://source/a.csv.gz"),
    "compressed header": (S3Lines("source", "a.csv.gz"), {"a_csv_gz": gzip.compress(b"a,b\n")}, "s3://source/a.csv.gz"),
    "compressed blank csv": (S3Lines("source", "a.csv.gz"), {"a_csv_gz": gzip.compress(b"\n")}, "s3://source/a.csv.gz"),
    "byte order mark only": (S3Lines("source", "a.txt"), {"a_txt": b"\xef\xbb\xbf"}, "s3://source/a.txt"),
    "blank csv": (S3Lines("source", "a.csv"), {"a_csv": b"\n"}, "s3://source/a.csv"),
    "no object": (S3Lines("source", prefix="in/", suffix=".csv"), {"a_csv": b"n\n1\n"}, r"s3://source/in/\*.csv"),
    "empty objects": (S3Lines("source", prefix=""), {"a_csv": b"", "b_csv": b"\n", "c_csv": b"n"}, r"s3://source/\*"),
    "empty array": (S3JsonArray("source", "a.json"), {"a_json": b" [] "}, "s3://source/a.json"),
    "no bytes of json": (S3JsonArray("source", "a.json"), {"a_json": b""}, "s3://source/a.json"),
    "no compressed bytes of json": (S3JsonArray("source", "a.json.gz"), {"a_json_gz": b""}, "s3://source/a.json.gz"),
    "parquet without bytes": (S3Parquet("source", "a.parquet"), {"a_parquet": b""}, "s3://source/a.parquet"),
    "parquet without an object": (S3Parquet("source", prefix="in/"), {"a_parquet": b"1"}, r"s3://source/in/\*"),
    "parquet without a listed object": (S3Parquet("source", manifest="list"), {"list": b"\n"}, "s3://source/list"),
    "export without files": (DynamoDBExport("source", SUMMARY), export([]), f"s3://source/{SUMMARY}"),
    "export of an empty table": (DynamoDBExport("source", SUMMARY), export([[]]), f"s3://source/{SUMMARY}"),
    "inventory without files": (S3Inventory("source", LIST), inventory([]), f"s3://source/{LIST}"),
    "inventory without keys": (S3Inventory("source", LIST), inventory([[]]), f"s3://source/{LIST}"),
    "inventory without a matching key": (S3Inventory("source", LIST, prefix="x"), ONE_KEY, f"s3://source/{LIST}"),
    "no address": (S3Inventory("source", "list"), {"list": b""}, "s3://source/list"),
    "no keys": (S3Objects("source", prefix="in/"), {"a_csv": b"1"}, r"s3://source/in/\*"),
    "no numbers": (Ranges(0, size=10), {}, "Ranges"),
    "no values": (Items([]), {}, "Items"),
}
WITHOUT_ITEMS: dict[str, tuple[Any, dict[str, bytes]]] = {
    "blank lines": (S3Lines("source", "a.jsonl"), {"a_jsonl": b"\n\n"}),
    "compressed nothing": (S3Lines("source", "a.jsonl.gz"), {"a_jsonl_gz": gzip.compress(b"")}),
    "inventory file without a matching key": (S3Inventory("source", LIST, prefix="x", keys_per_segment=None), ONE_KEY),
    "compressed newline": (S3Lines("source", "a.jsonl.gz"), {"a_jsonl_gz": gzip.compress(b"\n")}),
}


def job_of(source: Any, **settings: Any) -> Job:
    job = Job("sum", **settings)
    job.source(lambda _: source)
    job.segment(all_of)
    job.fold(lambda results: [item for result in results for item in result])
    return job


@pytest.mark.parametrize("name", [*WITHOUT_SEGMENTS, *WITHOUT_ITEMS])
async def test_empty_input_is_folded_to_an_empty_output(name: str):
    """For any source and any kind of emptiness, deployed and in one process."""
    source, objects, *_ = (WITHOUT_SEGMENTS | WITHOUT_ITEMS)[name]
    bench = await ended(Bench(job_of(source), **objects))
    assert (await bench.run()).state == "SUCCEEDED"
    assert await bench.output() == []
    inline = await run_inline(bench.job, {})
    assert (inline.succeeded, inline.output) == (True, [])


@pytest.mark.parametrize("name", WITHOUT_SEGMENTS)
async def test_a_job_that_does_not_allow_it_refuses_a_source_without_segments_by_name(name: str):
    """Before anything is written or sent."""
    source, objects, what = WITHOUT_SEGMENTS[name]
    bench = Bench(job_of(source, allow_empty=False), **objects)
    for start in (bench.job.start(bench.backend, {}, "run"), run_inline(bench.job, {})):
        with pytest.raises(SourceError, match=f"^{what} has no items, and the job has allow_empty=False"):
            await start
    assert await bench.ledger.run("run") is None
    assert len(bench.plain.work_queue) + len(bench.plain.fold_queue) == 0


@pytest.mark.parametrize("name", WITHOUT_ITEMS)
async def test_a_job_that_does_not_allow_it_fails_a_run_whose_segments_have_no_items(name: str):
    """It is known only when they have been read. The fold is not called."""
    source, objects = WITHOUT_ITEMS[name]
    bench = await ended(Bench(job_of(source, allow_empty=False), **objects))
    run = await bench.run()
    assert run.state == "FAILED"
    reason = "the input has no items, and the job has allow_empty=False"
    assert json.loads(await bench.plain.get_result(run.output)) == {"fold": reason}
    with pytest.raises(SourceError, match=reason):
        await run_inline(bench.job, {})


async def test_one_item_is_not_empty():
    """Among segments without any."""
    objects = {"a_jsonl": b"\n", "b_jsonl": b"7\n", "c_jsonl_gz": gzip.compress(b"")}
    bench = await ended(Bench(job_of(S3Lines("source", prefix=""), allow_empty=False), **objects))
    assert (await bench.run()).state == "SUCCEEDED"
    assert await bench.output() == [7]
    assert (await run_inline(bench.job, {})).output == [7]


async def test_a_newline_does_not_stop_a_prefix():
    """An object of one newline among CSV objects has no rows; the others are read."""
    objects = {"a_csv": b"n\n1\n", "b_csv": b"\n", "c_csv_gz": gzip.compress(b"\n"), "d_csv": b"n\n2\n"}
    bench = await ended(Bench(job_of(S3Lines("source", prefix="")), **objects))
    assert await bench.output() == [{"n": "1"}, {"n": "2"}]


def test_the_setting_is_true_or_false():
    """Anything else is refused when the job is created."""
    with pytest.raises(ConfigurationError, match="allow_empty must be True or False, not 'no'"):
        Job("sum", allow_empty="no")
