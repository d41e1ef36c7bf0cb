"""Rows that cannot be read: collected, merged into one object of the run, and counted once."""

import json
from dataclasses import replace

import pytest

from fanfold import BatchContext, Context, Deadline, Job, Record, S3Lines, run_inline
from fanfold._jobs import bad_rows as bad_rows_module
from fanfold._jobs.bad_rows import BadRowBuffer
from fanfold._jobs.commit import commit_ended
from fanfold._jobs.job_state import JobState
from fanfold._jobs.report import read_report
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_handler import process_message
from fanfold._jobs.tally import Tally
from fanfold._ports.queue import Message
from fanfold._ports.run import BadRows, Hop, Marker
from fanfold.errors import FanfoldError, SourceError
from fanfold.sources.bad_rows import BadRow, check_on_bad_row, excess_of
from fanfold.testing import make_record
from harness import Bench
from idempotent import opening

ORDERS = b"id,name\n1,ann\n2,bob,!\n3,\xff\n4,dan\n5\n6,eve\n"
REASONS = ["the row has 3 fields, but the header has 2", "invalid start byte", "the row has 1 fields"]


def make_job(chunk_bytes: int = 12, **settings) -> Job:
    job = Job("orders")
    declared = {"chunk_bytes": chunk_bytes, "on_bad_row": "collect", **settings}
    job.source(lambda params: S3Lines("source", "orders.csv", **declared))

    @job.segment
    async def names(rows, ctx):
        return [row["name"] async for row in rows]

    job.fold(lambda results: [name for names in results for name in names])
    return job


async def ended(job: Job, data: bytes = ORDERS) -> Bench:
    bench = Bench(job, orders_csv=data)
    await bench.job.start(bench.plain, {}, "run")
    await bench.settle()
    return bench


async def rows_of(bench: Bench) -> list[dict]:
    data = await bench.plain.get_result("runs/run/0/bad-rows.jsonl")
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("chunk_bytes", [1, 12, 1_000])
async def test_bad_rows_are_collected_in_one_object_of_the_run(chunk_bytes):
    """With object, byte, and reason, in order; the handler receives only the other rows, and the run report counts."""
    bench = await ended(make_job(chunk_bytes))
    assert await bench.output() == ["ann", "dan", "eve"]
    rows = await rows_of(bench)
    assert [(row["object"], row["byte"], row["text"]) for row in rows] == [
        ("s3://source/orders.csv", 14, "2,bob,!"),
        ("s3://source/orders.csv", 22, "3,\ufffd"),
        ("s3://source/orders.csv", 32, "5"),
    ]
    assert all(reason in row["reason"] for row, reason in zip(rows, REASONS, strict=True))
    assert (await read_report(bench.plain, await bench.run())).bad_rows == 3


async def test_the_line_is_known_where_reading_began_at_the_start():
    """In an object that is cut, a segment does not know how many lines precede it."""
    assert [row["line"] for row in await rows_of(await ended(make_job(1_000)))] == [3, 4, 6]
    assert {row["line"] for row in await rows_of(await ended(make_job(1)))} == {None}


async def test_without_bad_rows_there_is_no_such_object():
    """A run without bad rows costs no request more."""
    bench = await ended(make_job(), b"id,name\n1,ann\n")
    assert [listed.key async for listed in bench.store.list(bench.plain.results_bucket, "runs/run/0/bad")] == []
    assert (await read_report(bench.plain, await bench.run())).bad_rows == 0


async def test_a_bad_row_fails_its_segment_unless_bad_rows_are_collected():
    """That is the default."""
    bench = await ended(make_job(on_bad_row="fail"))
    assert (await bench.run()).state == "FAILED"


@pytest.mark.parametrize(
    ("most", "state"), [(None, "SUCCEEDED"), (3, "SUCCEEDED"), (2, "FAILED"), (0.5, "SUCCEEDED"), (0.49, "FAILED")]
)
async def test_a_run_with_too_many_bad_rows_fails(most, state):
    """As a count, or as a share of all rows; the reason names both numbers and the object."""
    bench = await ended(make_job(max_bad_rows=most))
    assert (await bench.run()).state == state
    if state == "FAILED":
        expected = f"3 of 6 rows are bad, more than max_bad_rows={most} allows; they are in runs/run/0/bad-rows.jsonl"
        assert await bench.output() == {"fold": expected}
        assert len(await rows_of(bench)) == 3


async def test_segments_that_are_delivered_twice_count_their_bad_rows_once():
    """Each delivery stores its rows under another key; only one of them counts."""
    bench = Bench(make_job(12), orders_csv=ORDERS)
    await bench.job.start(bench.plain, {}, "run")
    messages = await bench.plain.work_queue.receive(max_messages=10)
    for message in messages:
        await bench.plain.work_queue.send([Message(message.body)])
    bench.clock.advance(60)
    await bench.settle()
    report = await read_report(bench.plain, await bench.run())
    assert (report.duplicates > 0, report.bad_rows, len(await rows_of(bench))) == (True, 3, 3)


async def test_a_continued_segment_counts_the_bad_rows_of_all_its_parts():
    """Each part stops after one row; the share of bad rows counts the rows of all parts."""
    bench = Bench(make_job(1_000, max_bad_rows=0.5), orders_csv=ORDERS)
    await bench.job.start(bench.plain, {}, "run")
    for _ in range(3):
        (message,) = await bench.plain.work_queue.receive(max_messages=1)
        await deliver(message.body, bench)
        await bench.plain.work_queue.delete([message.receipt_handle])
    await bench.settle()
    assert await bench.output() == ["ann", "dan", "eve"]
    assert [(row["byte"], row["line"]) for row in await rows_of(bench)] == [(14, None), (22, None), (32, None)]
    assert (await read_report(bench.plain, await bench.run())).bad_rows == 3


async def deliver(body: str, bench: Bench) -> None:
    """Deliver a segment to an invocation that stops after one row, and has time for all others after two hops."""

    async def names(rows, ctx):
        read = []
        async for row in rows:
            read.append(row["name"])
            bench.clock.advance(10)
        return read

    deadline = Deadline(bench.clock() + 15, 10, bench.clock)
    batch = BatchContext(None, deadline, JobState(bench.plain))
    record = Record(make_record(body))
    value = await process_message("orders", names, record, Context(record, batch), max_hops=9)
    assert await commit_ended([(record, value)], batch) == {0}


async def test_hops_count_only_if_the_end_that_counts_resumed_from_them():
    """Another delivery of a continued segment may have ended without a hop, or in another generation."""
    hop = Hop(0, 0, 0, rest={}, result="1", items=2, bad_rows=BadRows(1, "hop"))
    end = Marker("m", 0, ids=[0], hops={0: 1}, items=[3], bad_rows={0: BadRows(2, "end")})
    continued, complete = Tally(1), Tally(1)
    continued.add(end)
    for other in (hop, replace(hop, number=1), replace(hop, gen=1)):
        continued.add_hop(other)
    assert [bad.key for bad in continued.bad_rows] == ["hop", "end"]
    complete.add(Marker("m", 0, ids=[0], items=[5], bad_rows={0: BadRows(3, "all")}))
    complete.add(end)
    complete.add_hop(hop)
    assert [bad.key for bad in complete.bad_rows] == ["all"]


async def test_a_segment_with_too_many_bytes_of_bad_rows_fails(monkeypatch):
    """They are kept in memory; an object that is all wrong must not fill it."""
    monkeypatch.setattr(bad_rows_module, "SEGMENT_BYTES", 300)
    buffer = BadRowBuffer()
    row = BadRow("s3://b/k", 7, None, "no", "x" * 1_000)
    with pytest.raises(SourceError, match=r"^s3://b/k: .* exceed 300 bytes; .* byte 7: no; .* use smaller segments"):
        buffer.add(row)
    assert json.loads(row.to_json())["text"] == "x" * 500


async def test_an_empty_buffer_stores_nothing():
    """Most segments have no bad rows."""
    bench = Bench(make_job())
    assert await BadRowBuffer().store(Segment("orders", "run", 0, {}), bench.plain) is None


async def test_a_run_in_this_process_writes_them_into_its_folder(tmp_path):
    """And counts them; a second run of the same name keeps them."""
    bench = Bench(make_job(), orders_csv=ORDERS)
    job = bench.job.with_changes(backend=opening(bench.plain))
    for _ in range(2):
        run = await run_inline(job, {}, run="here", folder=tmp_path)
        assert (run.output, run.bad_rows) == (["ann", "dan", "eve"], 3)
        assert len((tmp_path / "here" / "bad-rows.jsonl").read_text().splitlines()) == 3


async def test_a_run_in_this_process_fails_with_too_many(tmp_path):
    """The error names the file, if there is a folder."""
    bench = Bench(make_job(max_bad_rows=0.25), orders_csv=ORDERS)
    job = bench.job.with_changes(backend=opening(bench.plain))
    with pytest.raises(FanfoldError, match=r"3 of 6 rows are bad, .*; they are in .*bad-rows\.jsonl"):
        await run_inline(job, {}, run="here", folder=tmp_path)
    with pytest.raises(FanfoldError, match=r"3 of 6 rows are bad, more than max_bad_rows=0\.25 allows$"):
        await run_inline(job, {})


@pytest.mark.parametrize(
    ("on_bad_row", "most", "message"),
    [
        ("skip", None, "on_bad_row must be 'fail' or 'collect', not 'skip'"),
        ("fail", 3, "max_bad_rows requires on_bad_row='collect'"),
        ("collect", -1, "max_bad_rows must be an integer of at least 0, or a float from 0.0 to below 1, not -1"),
        ("collect", 1.0, "not 1.0"),
        ("collect", True, "not True"),
        ("collect", "3", "not '3'"),
    ],
)
def test_invalid_settings_are_refused(on_bad_row, most, message):
    """When the source is created."""
    with pytest.raises(FanfoldError, match=message):
        check_on_bad_row("S3Lines", on_bad_row, most)


def test_no_bad_rows_are_never_too_many():
    """Even if none are allowed, and if there are no rows at all."""
    assert excess_of({"max_bad_rows": 0}, 0, 0) is None
    assert excess_of({"max_bad_rows": 0.0}, 1, 99) == "1 of 100 rows are bad, more than max_bad_rows=0.0 allows"
