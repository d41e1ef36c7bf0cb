"""A dry run plans a run without writing or sending anything."""

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from failing import Scripted
from fanfold import Items, Ranges, S3JsonArray, S3Lines, S3Objects, inmemory
from fanfold._jobs import dry_run
from fanfold._jobs.dry_run import dry_backend, plan_dry_run, read_first
from fanfold._jobs.segment import Segment
from fanfold._ports.backend import Backend
from fanfold.errors import EnqueueError, SourceError

PLAIN = b"1\n" * 100


def backend_with(**objects: bytes) -> tuple[Backend, inmemory.InMemoryStore]:
    backend = inmemory.backend()
    backend.store.fill("b", {name.replace("_", "."): data for name, data in objects.items()})

    def gate(operation: str) -> None:
        if operation.split()[1] not in {"head", "list", "read", "read_start", "describe", "scan", "to_json"}:
            raise AssertionError(f"a dry run called {operation}")

    ports: dict[str, Any] = {
        name: Scripted(getattr(backend, name), gate)
        for name in ("work_queue", "fold_queue", "quarantine_queue", "ledger", "store", "tables")
    }
    return dry_backend(replace(backend, **ports)), backend.store


@pytest.mark.parametrize(
    ("source", "segments", "data_bytes"),
    [
        (Ranges(105, size=10), 11, None),
        (S3Lines("b", "a.txt", chunk_bytes=50), 4, 200),
        (S3Lines("b", prefix="", suffix=".txt", chunk_bytes=50), 5, 206),
        (S3Objects("b", keys_per_segment=2), 2, None),
        (S3JsonArray("b", "rows.json", rows_per_segment=3), 4, None),
    ],
)
async def test_the_plan_has_the_segments_and_messages_of_the_real_run(source, segments, data_bytes):
    """Objects that the source writes while it is planned stay in memory; the queues are never called."""
    backend, _ = backend_with(a_txt=PLAIN, b_txt=b"2\n2\n2\n", rows_json=json.dumps(list(range(11))).encode())
    plan = await plan_dry_run("job", source, backend)
    assert (plan.segments, plan.data_bytes) == (segments, data_bytes)
    assert [segment["segment"] for segment in plan.first] == list(range(min(3, segments)))
    bodies = [Segment.from_body(json.dumps(segment)) for segment in plan.first]
    assert all(body.job == "job" for body in bodies)
    assert plan.largest_message_bytes * segments >= plan.message_bytes > 0
    assert plan.warnings == []
    sample = await read_first(plan, backend, within_seconds=300)
    assert sample.ended
    assert sample.items > 0


async def test_requests_and_cost_follow_from_messages_and_batches():
    """10,000 segments of about 100 bytes: 1,000 calls each to send, receive, and delete; 3 write units per batch."""
    backend, _ = backend_with()
    plan = await plan_dry_run("job", Ranges(10_000, size=1), backend, batch_size=100)
    assert plan.estimate.sqs_requests == 3_000
    assert plan.estimate.ledger_write_units == 300
    assert plan.estimate.dollars == pytest.approx(3_000 * 0.4e-6 + 300 * 0.625e-6)


async def test_segments_that_share_messages_cost_less():
    """With ten segments per message, a tenth of the requests and of the ledger's write units."""
    backend, _ = backend_with()
    plan = await plan_dry_run("job", Ranges(10_000, size=1), backend, batch_size=100, per_message=10)
    assert (plan.segments, plan.messages) == (10_000, 1_000)
    assert (plan.estimate.sqs_requests, plan.estimate.ledger_write_units) == (300, 30)


async def test_the_plan_warns_of_possible_problems():
    """Compressed objects, at most one segment, messages billed several times, and one very large segment."""
    packed = {"one_txt_gz": gzip.compress(PLAIN)}
    backend, _ = backend_with(**packed, a_txt=PLAIN, b_txt=b"1\n" * 50_000)
    plans = {
        "one": await plan_dry_run("job", S3Lines("b", "one.txt.gz"), backend),
        "none": await plan_dry_run("job", Ranges(0, size=1), backend),
        "large": await plan_dry_run("job", Items(["x" * 90_000, 1]), backend),
    }
    assert plans["one"].warnings == [
        "the run has only one segment: nothing runs concurrently",
        "compressed objects: 1; each becomes a single segment, regardless of its size",
    ]
    assert plans["none"].warnings == [
        "the source has no segments: the run would end immediately, and the fold would receive no results"
    ]
    assert plans["none"].first == []
    assert plans["large"].warnings == ["the largest message has 90,103 bytes: SQS bills each 65,536 bytes as a request"]
    many, _ = backend_with(**{f"{n:02}_jsonl": b"1\n" for n in range(20)}, z_jsonl=b"1\n" * 1_000)
    plan = await plan_dry_run("job", S3Lines("b", prefix="", chunk_bytes=10**6), many)
    assert plan.warnings == [
        "the largest segment has 2,000 bytes, 21 times the mean: it determines how long the run takes"
    ]


@pytest.mark.parametrize(("segments", "many"), [(20_000, False), (20_001, True)])
async def test_the_plan_warns_of_very_many_segments(segments, many, monkeypatch):
    """All segments are cut nevertheless."""
    assert dry_run.MANY_SEGMENTS == 1_000_000
    monkeypatch.setattr(dry_run, "MANY_SEGMENTS", 20_000)
    backend, _ = backend_with()
    plan = await plan_dry_run("job", Ranges(segments, size=1), backend)
    assert plan.segments == segments
    assert [warning for warning in plan.warnings if "larger segments cost less" in warning] == plan.warnings[
        : int(many)
    ]
    assert bool(plan.warnings) == many


async def test_a_segment_that_is_too_large_for_a_message_is_reported():
    """Before a real run fails."""

    class Huge(Ranges):
        async def pin(self, backend: Backend, prefix: str = "") -> Any:
            return {"type": "items", "values": [1, "x" * 1_100_000], "size": 1}

    backend, _ = backend_with()
    with pytest.raises(EnqueueError, match="segment 1 is too large for a message"):
        await plan_dry_run("job", Huge(1, size=1), backend)


async def test_a_source_that_cannot_be_read_is_one_clear_error():
    """It is the same error as in a real run."""
    backend, _ = backend_with()
    with pytest.raises(SourceError, match=r"s3://b/none\.txt does not exist"):
        await plan_dry_run("job", S3Lines("b", "none.txt"), backend)


async def test_reading_the_first_segment_stops_after_the_time_limit():
    """The sample states that the segment was not read completely."""
    backend, _ = backend_with()
    plan = await plan_dry_run("job", Ranges(10**9, parts=1), backend)
    sample = await read_first(plan, backend, within_seconds=0.05)
    assert not sample.ended


async def test_bad_rows_of_the_first_segment_are_not_counted_as_items():
    """So a wrong declaration shows before the run."""
    backend, _ = backend_with(a_csv=b"a,b\n1,2\n3\n4,5,6\n7,8\n")
    plan = await plan_dry_run("job", S3Lines("b", "a.csv", on_bad_row="collect"), backend)
    sample = await read_first(plan, backend, within_seconds=300)
    assert (sample.items, sample.bad_rows) == (2, 2)
