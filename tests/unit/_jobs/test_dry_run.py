"""What a run would be is told before anything is written or sent."""

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
        if operation.split()[1] not in {"head", "list", "read", "describe", "scan", "to_json"}:
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
async def test_segments_messages_and_the_first_few_are_those_of_the_run(source, segments, data_bytes):
    """Whatever the source writes down when it is planned stays in memory; the queues are never asked for anything."""
    backend, _ = backend_with(a_txt=PLAIN, b_txt=b"2\n2\n2\n", rows_json=json.dumps(list(range(11))).encode())
    told = await plan_dry_run("job", source, backend)
    assert (told.segments, told.data_bytes) == (segments, data_bytes)
    assert [segment["segment"] for segment in told.first] == list(range(min(3, segments)))
    bodies = [Segment.from_body(json.dumps(segment)) for segment in told.first]
    assert all(body.job == "job" for body in bodies)
    assert told.largest_message_bytes * segments >= told.message_bytes > 0
    assert told.warnings == []
    sample = await read_first(told, backend, within_seconds=60)
    assert sample.ended
    assert sample.items > 0


async def test_requests_and_cost_follow_from_messages_and_batches():
    """10,000 segments of some 100 bytes: 1,000 calls to send and as many to receive and delete; 3 units a batch."""
    backend, _ = backend_with()
    told = await plan_dry_run("job", Ranges(10_000, size=1), backend, batch_size=100)
    assert told.estimate.sqs_requests == 3_000
    assert told.estimate.ledger_write_units == 300
    assert told.estimate.dollars == pytest.approx(3_000 * 0.4e-6 + 300 * 0.625e-6)


async def test_segments_that_share_messages_cost_less():
    """A tenth of the requests and of the ledger's writes, with ten in a message."""
    backend, _ = backend_with()
    told = await plan_dry_run("job", Ranges(10_000, size=1), backend, batch_size=100, per_message=10)
    assert (told.segments, told.messages) == (10_000, 1_000)
    assert (told.estimate.sqs_requests, told.estimate.ledger_write_units) == (300, 30)


async def test_what_should_be_looked_at_first_is_said():
    """Compressed objects, one segment or none, messages that are billed several times, a segment as long as the run."""
    packed = {"one_txt_gz": gzip.compress(PLAIN)}
    backend, _ = backend_with(**packed, a_txt=PLAIN, b_txt=b"1\n" * 50_000)
    of = {
        "one": await plan_dry_run("job", S3Lines("b", "one.txt.gz"), backend),
        "none": await plan_dry_run("job", Ranges(0, size=1), backend),
        "large": await plan_dry_run("job", Items(["x" * 90_000, 1]), backend),
    }
    assert of["one"].warnings == [
        "there is one segment: nothing runs at once",
        "compressed objects: 1; each is one segment, whatever its size",
    ]
    assert of["none"].warnings == ["there are no segments: the run would end at once, with the fold of nothing"]
    assert of["none"].first == []
    assert of["large"].warnings == ["a message has 90,103 bytes: SQS bills each 65,536 as one request"]
    many, _ = backend_with(**{f"{n:02}_jsonl": b"1\n" for n in range(20)}, z_jsonl=b"1\n" * 1_000)
    told = await plan_dry_run("job", S3Lines("b", prefix="", chunk_bytes=10**6), many)
    assert told.warnings == ["the largest segment has 2,000 bytes, 21 times the mean: the run takes as long as it does"]


@pytest.mark.parametrize(("segments", "many"), [(20_000, False), (20_001, True)])
async def test_a_run_of_very_many_segments_is_warned_of(segments, many, monkeypatch):
    """And cut to its last segment."""
    assert dry_run.MANY_SEGMENTS == 1_000_000
    monkeypatch.setattr(dry_run, "MANY_SEGMENTS", 20_000)
    backend, _ = backend_with()
    told = await plan_dry_run("job", Ranges(segments, size=1), backend)
    assert told.segments == segments
    assert [warning for warning in told.warnings if "segments are many" in warning] == told.warnings[: int(many)]
    assert bool(told.warnings) == many


async def test_a_segment_no_message_can_hold_is_named():
    """Before the run fails of it."""

    class Huge(Ranges):
        async def pin(self, backend: Backend, prefix: str = "") -> Any:
            return {"type": "items", "values": [1, "x" * 1_100_000], "size": 1}

    backend, _ = backend_with()
    with pytest.raises(EnqueueError, match="segment 1 is too large for a message"):
        await plan_dry_run("job", Huge(1, size=1), backend)


async def test_a_source_that_cannot_be_read_is_one_clear_error():
    """The same as in the run."""
    backend, _ = backend_with()
    with pytest.raises(SourceError, match=r"s3://b/none\.txt does not exist"):
        await plan_dry_run("job", S3Lines("b", "none.txt"), backend)


async def test_a_first_segment_that_takes_too_long_is_left_there():
    """It is said that it was not read to its end."""
    backend, _ = backend_with()
    told = await plan_dry_run("job", Ranges(10**9, parts=1), backend)
    sample = await read_first(told, backend, within_seconds=0.05)
    assert not sample.ended
