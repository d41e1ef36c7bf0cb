"""The example ``examples/archive_bucket``: no object is lost, and the day is fixed when the run starts."""

import importlib.util
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from failing import FailsAt, Hostile, RecordingNotifier
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._base.record import Record
from fanfold._jobs.job_state import JobState
from fanfold._jobs.segment_handler import SegmentContext
from fanfold.errors import ConfigurationError
from fanfold.testing import make_record
from harness import Bench, ended, started

EXAMPLE = Path(__file__).parents[2] / "examples" / "archive_bucket" / "app.py"
DAY = "2026-11-24"
MIDNIGHT = datetime(2026, 11, 26, tzinfo=UTC).timestamp()
KEYS = [f"incoming/{shop}/{DAY}-{n}.log" for shop, n in (("a", 0), ("a", 1), ("b", 2))]
OTHER = "incoming/readme.txt"
ARCHIVED = {f"S3/2026/11/24/{key.rpartition('/')[2]}": key.encode() for key in KEYS}


def example() -> Any:
    spec = importlib.util.spec_from_file_location("archive_bucket", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


APP = example()


def bench_of(*more: str, gate: Hostile | None = None) -> Bench:
    """Create a bench with the example one minute before midnight, with yesterday's objects, another one, and these."""
    bench = Bench(APP.job, gate=gate, max_receive_count=5, notifier=RecordingNotifier())
    bench.clock.advance(MIDNIGHT - 60)
    bench.store.fill("source", {key: key.encode() for key in (*KEYS, OTHER, *more)})
    return bench


async def contents(bench: Bench) -> dict[str, bytes]:
    """Return the contents of the bucket by key."""
    keys = [listed.key async for listed in bench.store.list("source", "")]
    return {key: b"".join([piece async for piece in bench.store.read("source", key)]) for key in keys}


async def report(bench: Bench) -> list[str]:
    """Return the rows of the run's report."""
    output = await bench.output()
    return (await bench.plain.get_result(output["file"])).decode().splitlines()[1:]


@pytest.fixture(autouse=True)
def dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the URL of a dead-letter queue."""
    monkeypatch.setenv("FANFOLD_DEAD_LETTER_QUEUE_URL", "in this process")


async def calls_of_a_delivery() -> tuple[int, list[str]]:
    """Return the calls of the first delivery in a run without failures, and the number of calls before it."""
    gate = FailsAt()
    bench = await started(bench_of(gate=gate), bucket="source")
    begin = len(gate.seen)
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    return begin, gate.seen[begin:]


async def test_a_crash_at_any_call_loses_no_object_and_the_next_delivery_completes_the_run():
    """Also between the copy and the deletion: every object is in at least one place, and finally in exactly one."""
    begin, calls = await calls_of_a_delivery()
    assert {"before copy", "after copy", "before delete_many", "after delete_many"} <= set(calls)
    for number, call in enumerate(calls, begin):
        bench = await started(bench_of(gate=FailsAt(number, error=RuntimeError("killed"))), bucket="source")
        await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
        assert {data for data in (await contents(bench)).values() if data != OTHER.encode()} == set(ARCHIVED.values())
        await bench.settle()
        assert await contents(bench) == ARCHIVED | {OTHER: OTHER.encode()}, call
        assert len(await report(bench)) == 4


async def test_a_delivery_after_midnight_and_a_duplicate_have_the_same_effect():
    """Yesterday is the day before the run started, at whatever time its messages are processed."""
    bench = await started(bench_of("incoming/2026-11-25-new.log"), bucket="source")
    (message,) = await bench.plain.work_queue.receive()
    bench.clock.advance(3600)
    assert bench.clock() > MIDNIGHT
    await bench.settle()
    untouched = {key: key.encode() for key in (OTHER, "incoming/2026-11-25-new.log")}
    assert await contents(bench) == ARCHIVED | untouched
    event = {"Records": [make_record(message.body)]}
    assert (await bench.job.segment_handler.handle_batch(event, None))["batchItemFailures"] == []
    assert await contents(bench) == ARCHIVED | untouched


async def test_the_notification_of_a_run_contains_the_keys_that_were_not_archived():
    """Two originals have the same target: one is archived, the other remains, and no object is overwritten."""
    more = [f"incoming/c/{DAY}-{n}.log" for n in range(10, 17)]
    bench = await ended(bench_of(*more, f"incoming/d/{DAY}-16.log"), bucket="source", day=DAY)
    ((subject, body),) = bench.backend.notifier.published
    assert subject == "fanfold: archive SUCCEEDED"
    (reason,) = json.loads(body)["failures"].values()
    key, _, cause = reason.partition(": ")
    assert key in {f"incoming/{shop}/{DAY}-16.log" for shop in "cd"}
    assert cause == f"s3://source/S3/2026/11/24/{DAY}-16.log exists"
    assert (await contents(bench))[key] == key.encode()
    rows = await report(bench)
    assert len(rows) == 11
    assert f"{OTHER},no target," in rows
    assert f"{KEYS[0]},archived,S3/2026/11/24/{DAY}-0.log" in rows


async def test_a_run_with_too_many_failures_fails_and_notifies():
    """One failure of five objects exceeds the limit of 10%."""
    bench = await ended(bench_of(f"incoming/c/{DAY}-0.log"), bucket="source")
    ((subject, body),) = bench.backend.notifier.published
    assert subject == "fanfold: archive FAILED"
    assert f"{DAY}-0.log exists" in body


async def test_a_key_that_can_be_moved_later_is_retried_and_named():
    """If that was the last delivery, the error is the reason in the run report."""
    bench = await started(bench_of(), bucket="source")
    past_deadline = Deadline(bench.clock(), 0, bench.clock)
    record = Record(make_record("", receive_count=1))
    segment: Any = None
    ctx = SegmentContext(record, BatchContext(None, past_deadline, JobState(bench.plain)), segment, await bench.run())

    async def objects():
        async for listed in bench.store.list("source", KEYS[0]):
            yield {"key": listed.key, "size": listed.size_bytes, "etag": listed.etag}

    with pytest.raises(APP.KeyLeftError, match=KEYS[0]):
        await APP.archive(objects(), ctx)


def test_an_invalid_day_fails_the_start_and_is_named():
    """The error occurs before any object is listed."""
    with pytest.raises(ConfigurationError, match="yesterday"):
        APP.job.source_of({"bucket": "source", "day": "yesterday"})
