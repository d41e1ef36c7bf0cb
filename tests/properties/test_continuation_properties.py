"""A segment that stops anywhere and goes on in another message is read whole, once, in order."""

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
from fanfold._jobs.scatter import scatter
from fanfold._jobs.segment_handler import SegmentItems, process_message
from fanfold._jobs.segment_result import SegmentStopped
from fanfold._ports.backend import Backend
from fanfold._ports.run import Hop, Marker
from fanfold.errors import ConfigurationError, LedgerError
from fanfold.inmemory import InMemoryTables
from fanfold.testing import ManualClock, make_record
from harness import Bench, ended
from strategies import csv_objects

MEMBERS = [{"pk": f"m-{n % 5}", "n": n} for n in range(23)]


def backend_with(**objects: bytes) -> Backend:
    backend = inmemory.backend()
    backend.store.fill("b", {name.replace("_", "."): data for name, data in objects.items()})
    return replace(backend, tables=InMemoryTables(members=(["pk", "n"], MEMBERS)))


async def read_in_hops(part: Any, backend: Backend, stops: list[int]) -> list[Any]:
    """Read a part, stopping after so many items each time, with what is left carried over JSON."""
    found: list[Any] = []
    for most in [*stops, 0]:
        left = iter(range(most - 1))
        rows = SegmentItems(part, backend, (lambda left=left: next(left, None) is None) if most else None)
        found += [item async for item in rows.read()]
        if rows.rest is None:
            break
        part = json.loads(json.dumps(rows.rest))
    return found


async def assert_read_whole(source: Any, backend: Backend, stops: list[int]) -> None:
    plan = json.loads(json.dumps(await source.pin(backend, "p")))
    for part in sources.cut(plan):
        whole = [item async for item in sources.read_items(part, backend)]
        assert await read_in_hops(part, backend, stops) == whole


STOPS = st.lists(st.integers(1, 5), max_size=8)


@given(count=st.integers(0, 40), size=st.integers(1, 40), stops=STOPS)
async def test_numbers_and_values_are_read_whole_wherever_they_stop(count, size, stops):
    """Ranges and items, in segments of any size."""
    for source in (Ranges(count, size=size), Items(range(count), size=size), Ranges(count, size=size, yields="bounds")):
        await assert_read_whole(source, backend_with(), stops)


@given(data=csv_objects(), chunk_bytes=st.integers(1, 60), stops=STOPS)
async def test_lines_are_read_whole_wherever_they_stop(data, chunk_bytes, stops):
    """Blank lines, rows that end beyond their range and a last one without an end included."""
    backend = backend_with(o_csv=data, o_txt=data)
    await assert_read_whole(S3Lines("b", "o.csv", chunk_bytes=chunk_bytes), backend, stops)
    await assert_read_whole(S3Lines("b", "o.txt", chunk_bytes=chunk_bytes), backend, stops)


@given(count=st.integers(0, 12), size=st.integers(1, 5), stops=STOPS)
async def test_what_was_written_down_is_read_whole_wherever_it_stops(count, size, stops):
    """The objects of a listing, the rows of an array."""
    backend = backend_with(rows_json=json.dumps(list(range(count))).encode())
    backend.store.fill("listed", {f"key-{n}": b"" for n in range(count)})
    await assert_read_whole(S3Objects("listed", keys_per_segment=size), backend, stops)
    await assert_read_whole(S3JsonArray("b", "rows.json", rows_per_segment=size), backend, stops)


@given(
    segments=st.integers(1, 6),
    page_items=st.integers(1, 9),
    names=st.sampled_from([None, ["n"], ["pk", "n"]]),
    stops=STOPS,
)
async def test_a_table_is_read_whole_wherever_it_stops(segments, page_items, names, stops):
    """In the middle of a page too, and when its keys are not among what was asked for."""
    backend = backend_with()
    source = DynamoDBScan("members", segments=segments, page_items=page_items, attributes=names)
    await assert_read_whole(source, backend, stops)
    plan = await source.pin(backend, "p")
    items = [item for part in sources.cut(plan) async for item in sources.read_items(part, backend)]
    wanted = [{name: member[name] for name in names or ("pk", "n")} for member in MEMBERS]
    assert sorted(items, key=lambda item: item["n"]) == wanted


async def collect_numbers(rows: AsyncIterator[int], ctx: Any) -> list[int]:
    """A handler whose items take a second each."""
    taken = []
    async for number in rows:
        taken.append(number)
        ctx.state.advance(1)
    return taken


async def deliver(body: str, backend: Backend, seconds: float, max_hops: int = MOST_HOPS) -> None:
    """Deliver one message of a work queue to an invocation that has so many seconds before it stops."""
    clock = ManualClock()
    batch = BatchContext(None, Deadline(clock() + seconds + 5, 5, clock), JobState(backend, clock))
    record = Record(make_record(body))
    value = await process_message("job", collect_numbers, record, Context(record, batch), max_hops=max_hops)
    assert await commit_ended([(record, value)], batch) == {0}


async def sent(backend: Backend) -> list[str]:
    """Take every message from the work queue."""
    received = await backend.work_queue.receive(max_messages=10_000)
    if received:
        await backend.work_queue.delete([each.receipt_handle for each in received])
    return [each.body for each in received]


async def results_of(backend: Backend, total: int) -> list[Any]:
    run = await backend.ledger.run("run")
    with closing(sqlite3.connect("")) as rows:
        return list(await (await collect(run, total, backend, rows)).results())


@given(count=st.integers(0, 40), size=st.integers(1, 30), seed=st.integers(0, 2**32))
async def test_a_continued_run_is_exact_however_often_each_message_is_delivered(count, size, seed):
    """And wherever each delivery stops: one that stops elsewhere than the first, or not at all, changes nothing."""
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
        waiting += [each for each in await sent(backend) if each not in delivered and each not in waiting]
    assert [number for result in await results_of(backend, total) for number in result] == list(range(count))


SCATTER: dict[str, Any] = {"watch_seconds": 900, "deadline": Deadline.never()}


async def test_two_deliveries_that_stop_at_different_items_go_on_from_where_the_first_stopped():
    """What the second had read beyond that is dropped, and read again."""
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


async def test_a_segment_that_went_on_too_often_has_to_end():
    """Its items do not end early any more: it is done, or cancelled and delivered again."""
    backend = backend_with()
    await scatter("job", Ranges(10, size=10), run_id="run", params={}, backend=backend, **SCATTER)
    for _ in range(2):
        (body,) = await sent(backend)
        await deliver(body, backend, 2, max_hops=2)
    (body,) = await sent(backend)
    await deliver(body, backend, 2, max_hops=2)
    assert await sent(backend) == []
    assert await results_of(backend, 1) == [[0, 1], [2, 3], [4, 5, 6, 7, 8, 9]]


async def test_the_result_of_a_hop_may_be_larger_than_the_ledger_holds():
    """It goes through the store, as any result does."""
    backend = backend_with()
    await scatter("job", Ranges(9_000, size=9_000), run_id="run", params={}, backend=backend, **SCATTER)
    (body,) = await sent(backend)
    await deliver(body, backend, 5_000)
    (follower,) = await sent(backend)
    await deliver(follower, backend, 5_000)
    assert await results_of(backend, 1) == [list(range(5_000)), list(range(5_000, 9_000))]


@pytest.mark.parametrize("queue", [RefusingQueue(), None])
async def test_a_segment_that_cannot_be_sent_on_is_not_acknowledged(queue):
    """Whether the queue refuses the message or the ledger fails: it comes back, and the others are not held up."""
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


async def test_a_chain_whose_hops_are_not_all_there_is_refused():
    """Rather a fold that fails than one that leaves something out."""
    backend = backend_with()
    await scatter("job", Ranges(1, size=1), run_id="run", params={}, backend=backend, **SCATTER)
    await backend.ledger.put_marker("run", Marker("m", 0, ids=[0], results={0: "1"}, hops={0: 2}))
    await backend.ledger.put_hop("run", Hop(0, 1, 0, rest={}, result="1"))
    with pytest.raises(LedgerError, match="segment 0 was continued"):
        await results_of(backend, 1)


async def test_a_marker_that_is_not_pinned_counts_for_nothing():
    """It came after the fold had begun: a fold that is done again sees the same results."""
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


async def test_a_job_goes_on_through_its_own_handlers():
    """With the invocation's own deadline: by a margin as long as the invocation, every segment stops after an item."""
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
def test_impossible_settings_of_a_continued_job_are_refused(setting, value):
    """When the job is made."""
    with pytest.raises(ConfigurationError, match=setting):
        Job("job", **({"continuation": True} | {setting: value}))
