"""A segment that stops anywhere and continues in another message is read completely, once, and in order."""

import json
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failing import RefusingQueue, Scripted, throttled
from fanfold import (
    Context,
    Deadline,
    DynamoDBScan,
    Items,
    Job,
    Ranges,
    S3JsonArray,
    S3Lines,
    S3Objects,
    Segment,
    inmemory,
    sources,
)
from fanfold._base.context import BatchContext
from fanfold._base.record import Record
from fanfold._jobs.collect import collect
from fanfold._jobs.commit import commit_ended
from fanfold._jobs.continuation import MOST_HOPS, continue_later
from fanfold._jobs.job_state import JobState
from fanfold._jobs.redrive import failures_of, redrive
from fanfold._jobs.run_details import read_details
from fanfold._jobs.scatter import scatter
from fanfold._jobs.segment_handler import SegmentItems, process_message
from fanfold._jobs.segment_result import SegmentStopped
from fanfold._ports.backend import Backend
from fanfold._ports.run import Hop, Marker, Run, RunState
from fanfold.errors import ConfigurationError
from fanfold.inmemory import InMemoryTables
from fanfold.testing import ManualClock, make_record
from harness import Bench, ended
from piece_store import header_of
from strategies import csv_objects

pytestmark = pytest.mark.counted

MEMBERS = [{"pk": f"m-{n % 5}", "n": n} for n in range(23)]


def backend_with(**objects: bytes) -> Backend:
    backend = inmemory.backend()
    backend.store.fill("b", {name.replace("_", "."): data for name, data in objects.items()})
    return replace(backend, tables=InMemoryTables(members=(["pk", "n"], MEMBERS)))


async def read_in_hops(part: Any, backend: Backend, stops: list[int]) -> list[Any]:
    """Read a part, stopping after some items each time, with the rest passed on as JSON."""
    items: list[Any] = []
    for max_items in [*stops, 0]:
        left = iter(range(max_items - 1))
        rows = SegmentItems(part, backend, (lambda left=left: next(left, None) is None) if max_items else None)
        items += [item async for item in rows.read()]
        if rows.rest is None:
            break
        part = json.loads(json.dumps(rows.rest))
    return items


async def assert_read_completely(source: Any, backend: Backend, stops: list[int]) -> None:
    plan = json.loads(json.dumps(await source.pin(backend, "p")))
    for part in sources.cut(plan):
        whole = [item async for item in sources.read_items(part, backend)]
        assert await read_in_hops(part, backend, stops) == whole


STOPS = st.lists(st.integers(1, 5), max_size=8)


@given(count=st.integers(0, 40), size=st.integers(1, 40), stops=STOPS)
async def test_numbers_and_values_are_read_completely_with_any_stops(count, size, stops):
    """This holds for ranges and items, in segments of any size."""
    for source in (Ranges(count, size=size), Items(range(count), size=size), Ranges(count, size=size, yields="bounds")):
        await assert_read_completely(source, backend_with(), stops)


@given(data=csv_objects(), chunk_bytes=st.integers(1, 60), stops=STOPS)
async def test_lines_are_read_completely_with_any_stops(data, chunk_bytes, stops):
    """This includes blank lines, rows that end after their range, and a last row without a line end."""
    backend = backend_with(o_csv=data, o_txt=data)
    source = S3Lines("b", "o.csv", chunk_bytes=chunk_bytes, **header_of(data))
    await assert_read_completely(source, backend, stops)
    await assert_read_completely(S3Lines("b", "o.txt", chunk_bytes=chunk_bytes), backend, stops)


@given(count=st.integers(0, 12), size=st.integers(1, 5), stops=STOPS)
async def test_manifests_are_read_completely_with_any_stops(count, size, stops):
    """This holds for the objects of a listing and the rows of an array."""
    backend = backend_with(rows_json=json.dumps(list(range(count))).encode())
    backend.store.fill("listed", {f"key-{n}": b"" for n in range(count)})
    await assert_read_completely(S3Objects("listed", keys_per_segment=size), backend, stops)
    await assert_read_completely(S3JsonArray("b", "rows.json", rows_per_segment=size), backend, stops)


@given(
    segments=st.integers(1, 6),
    page_items=st.integers(1, 9),
    names=st.sampled_from([None, ["n"], ["pk", "n"]]),
    stops=STOPS,
)
async def test_a_table_is_read_completely_with_any_stops(segments, page_items, names, stops):
    """It may stop in the middle of a page, and its key attributes need not be among the requested ones."""
    backend = backend_with()
    source = DynamoDBScan("members", segments=segments, page_items=page_items, attributes=names)
    await assert_read_completely(source, backend, stops)
    plan = await source.pin(backend, "p")
    items = [item for part in sources.cut(plan) async for item in sources.read_items(part, backend)]
    expected = [{name: member[name] for name in names or ("pk", "n")} for member in MEMBERS]
    assert sorted(items, key=lambda item: item["n"]) == expected


async def collect_numbers(rows: AsyncIterator[int], ctx: Any) -> list[int]:
    """Collect numbers, each of which takes a second."""
    numbers = []
    async for number in rows:
        numbers.append(number)
        ctx.state.advance(1)
    return numbers


async def deliver(body: str, backend: Backend, seconds: float, max_hops: int = MOST_HOPS) -> None:
    """Deliver one message of a work queue to an invocation that stops after some seconds."""
    clock = ManualClock()
    batch = BatchContext(None, Deadline(clock() + seconds + 5, 5, clock), JobState(backend, clock))
    record = Record(make_record(body))
    value = await process_message("job", collect_numbers, record, Context(record, batch), max_hops=max_hops)
    assert await commit_ended([(record, value)], batch) == {0}


async def sent(backend: Backend) -> list[str]:
    """Receive and delete every message of the work queue."""
    received = await backend.work_queue.receive(max_messages=10_000)
    if received:
        await backend.work_queue.delete([message.receipt_handle for message in received])
    return [message.body for message in received]


async def results_of(backend: Backend, total: int) -> list[Any]:
    run = await backend.ledger.run("run")
    with closing(sqlite3.connect("")) as rows:
        return list(await (await collect(run, total, backend, rows)).results())


@given(count=st.integers(0, 40), size=st.integers(1, 30), seed=st.integers(0, 2**32))
async def test_a_continued_run_is_exact_however_often_each_message_is_delivered(count, size, seed):
    """Each delivery may stop anywhere: a later one that stops elsewhere, or not at all, has no effect."""
    backend = backend_with()
    total = (
        await scatter("job", Ranges(count, size=size), run_id="run", params={}, backend=backend, **SCATTER)
    ).segments
    waiting = await sent(backend)
    chance = random.Random(seed)
    delivered: list[str] = []
    while waiting:
        body = waiting.pop(chance.randrange(len(waiting)))
        await deliver(body, backend, chance.randint(1, 12))
        delivered.append(body)
        if chance.random() < 0.3:
            await deliver(chance.choice(delivered), backend, chance.randint(1, 40))
        waiting += [new for new in await sent(backend) if new not in delivered and new not in waiting]
    assert [number for result in await results_of(backend, total) for number in result] == list(range(count))


SCATTER: dict[str, Any] = {"watch_seconds": 900, "deadline": Deadline.never()}


async def test_after_two_deliveries_that_stop_differently_the_segment_continues_where_the_first_stopped():
    """The result of the second delivery is discarded, and its further items are read again."""
    backend = backend_with()
    await scatter("job", Ranges(10, size=10), run_id="run", params={}, backend=backend, **SCATTER)
    (body,) = await sent(backend)
    await deliver(body, backend, 3)
    (follower,) = await sent(backend)
    await deliver(body, backend, 7)
    assert await sent(backend) == [follower]
    assert Segment.from_body(follower).source["start"] == 3
    assert Segment.from_body(follower).hop == 1
    await deliver(follower, backend, 100)
    assert await results_of(backend, 1) == [[0, 1, 2], [3, 4, 5, 6, 7, 8, 9]]


async def test_a_segment_that_has_used_its_continuations_fails_where_it_stops_and_a_redrive_continues_from_there():
    """Immediately, with the place in its reason. The results of all its parts are folded, and none is read twice."""
    backend = backend_with()
    await scatter("job", Ranges(10, size=10), run_id="run", params={}, backend=backend, **SCATTER)
    parts = 0
    for gen, place in enumerate((3, 6, 9)):
        while bodies := await sent(backend):
            parts += len(bodies)
            await deliver(bodies[0], backend, 1, max_hops=2)
        run = await ended_as_failed(backend)
        assert f'stopped at {{"start":{place}}}; a redrive continues' in (await failures_of("run", backend)).segments[0]
        await redrive("run", backend)
        assert parts == 3 * (gen + 1)
    (body,) = await sent(backend)
    await deliver(body, backend, 2, max_hops=2)
    assert await results_of(backend, 1) == [[number] for number in range(10)]
    details = await read_details(await backend.ledger.run("run") or run, backend)
    assert (details.deliveries, details.retries, details.is_exact) == (10, 0, True)
    (end,) = details.ends()
    assert (end.parts, end.items, end.attempts, end.gen) == (10, 10, 10, 3)


async def ended_as_failed(backend: Backend) -> Run:
    """End the run as the fold function does if a segment has failed."""
    run = await backend.ledger.run("run")
    assert run is not None
    fence = await backend.ledger.claim("run", gen=run.gen, now=0, lease_seconds=1)
    assert fence is not None
    await backend.ledger.finish(
        "run", fence=fence, state=RunState.FAILED, output=run.failures_key(), ended_at=1.0, failed=1
    )
    return run


async def test_the_result_of_a_hop_may_exceed_the_ledger_limit():
    """Like any large result, it is stored in S3."""
    backend = backend_with()
    await scatter("job", Ranges(9_000, size=9_000), run_id="run", params={}, backend=backend, **SCATTER)
    (body,) = await sent(backend)
    await deliver(body, backend, 5_000)
    (follower,) = await sent(backend)
    await deliver(follower, backend, 5_000)
    assert await results_of(backend, 1) == [list(range(5_000)), list(range(5_000, 9_000))]


@pytest.mark.parametrize("queue", [RefusingQueue(), None])
async def test_a_segment_whose_continuation_cannot_be_sent_is_not_acknowledged(queue):
    """If the queue refuses the message or the ledger fails, only this segment is redelivered."""
    backend = backend_with()
    segment = Segment("job", "run", 0, {"type": "items", "values": [1]})
    ended = SegmentStopped(segment, "null", 1, rest={"type": "items"})

    def fails(_: str) -> None:
        raise throttled()

    bad = replace(
        backend, **({"work_queue": queue} if queue is not None else {"ledger": Scripted(backend.ledger, fails)})
    )
    assert await continue_later([(3, ended)], bad) == {3}
    other = replace(ended, segment=replace(ended.segment, number=1))
    assert await continue_later([(3, ended), (5, other)], backend) == set()


async def test_a_chain_with_missing_hops_counts_as_failed():
    """Its other results are not used, and a redrive processes the segment again."""
    backend = backend_with()
    await scatter("job", Ranges(1, size=1), run_id="run", params={}, backend=backend, **SCATTER)
    await backend.ledger.put_marker("run", Marker("m", 0, ids=[0], results={0: "1"}, hops={0: 2}))
    await backend.ledger.put_hop("run", Hop(0, 1, 0, rest={}, result="1"))
    with closing(sqlite3.connect("")) as rows:
        collected = await collect(await backend.ledger.run("run"), 1, backend, rows)
        assert list(await collected.results()) == []
    assert collected.tally.failed == {0: "it was continued, but not all of its hops are in the ledger"}


async def test_a_marker_that_is_not_pinned_is_ignored():
    """It was written after the fold had started, and a repeated fold must see the same results."""
    backend = backend_with()
    await scatter("job", Ranges(1, size=1), run_id="run", params={}, backend=backend, **SCATTER)
    await backend.ledger.put_marker("run", Marker("m", 0, ids=[0], results={0: "1"}))
    await backend.ledger.put_marker("run", Marker("a", 0, ids=[0], results={0: "2"}))
    run = await backend.ledger.run("run")
    with closing(sqlite3.connect("")) as rows:
        collected = await collect(run, 1, backend, rows)
        assert list(await collected.results()) == [2]
        await collected.read({"m"})
        assert list(await collected.results()) == [1]


async def test_a_job_continues_its_segments_through_its_handlers():
    """The margin is as long as the invocation, so every segment stops after one item."""
    job = Job("numbers", continuation=True, max_hops=3, deadline_margin=450)
    job.source(lambda params: Ranges(params["count"], size=6))
    job.segment(sum_of)
    job.fold(lambda results: [len(results), sum(results)])
    assert job.segment_handler.settings.deadline_margin == 450
    bench = await ended(Bench(job), count=12)
    assert await bench.output() == [2, 66]


async def sum_of(rows: AsyncIterator[int], ctx: Any) -> int:
    return sum([number async for number in rows])


@pytest.mark.parametrize(("setting", "value"), [("continuation", 1), ("max_hops", 0), ("deadline_margin", -1)])
def test_invalid_settings_of_a_job_with_continuation_are_refused(setting, value):
    """They are refused when the job is defined."""
    with pytest.raises(ConfigurationError, match=setting):
        Job("job", **({"continuation": True} | {setting: value}))
