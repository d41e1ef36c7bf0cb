"""Contract of a ledger, for the in-memory one and for DynamoDB: runs, markers, counters, and hops."""

from dataclasses import replace

import anyio
import pytest

from fanfold._ports.ledger import Ledger
from fanfold._ports.run import BadRows, Counter, Hop, Marker, Run
from fanfold._stack.emulator import LocalStack
from fanfold.aws.dynamodb import DynamoDBLedger
from fanfold.errors import ConfigurationError, LedgerError, ServiceError
from ledgers import RUN
from on_aws import without_server

MARKERS = {
    "done": Marker("m", 0, ids=[0, 1, 2, 5, 1_000_000], results={}),
    "results": Marker(
        "m",
        0,
        ids=[3, 4],
        results={3: '{"share":0.1,"tiny":5e-324,"large":1.7976931348623157e+308}', 4: "[-0.0,1.0,1e-07,1e+16]"},
    ),
    "unicode": Marker("m", 0, ids=[3], results={3: r'"na\u00efve \u65e5\u672c \ud83d\udf01 \"quoted\" \\ \n"'}),
    "nested": Marker("m", 0, ids=[3], results={3: '{"b":[[],{},{"a":[1,null,true,"x",{"z":0}]}],"a":""}'}),
    "numbers": Marker("m", 0, ids=[3, 4], results={3: "123456789012345678901234567890", 4: "null"}),
    "key": Marker("m", 0, ids=[7], results_key="runs/run-1/0/results/m.json"),
    "failed": Marker("m", 0, ids=[], failed={8: "broken: naïve 日本語 \n", 9: ""}, receive_counts={8: 5, 9: 2}),
    "hops": Marker("m", 0, ids=[3, 4], results={3: "1", 4: "2"}, hops={4: 11}, items=[0, 123_456]),
    "bad rows": Marker("m", 0, ids=[3, 4], bad_rows={4: BadRows(12, "runs/run-1/0/bad-rows/4-0-m.jsonl")}),
    "all": Marker("m", 3, ids=[1], results={1: '"x"'}, results_key="k", failed={2: "no"}, receive_counts={1: 2}),
}


async def markers_of(ledger: Ledger, run: str, gen: int) -> list[Marker]:
    markers = [marker async for marker in ledger.markers(run, gen)]
    return sorted(markers, key=lambda marker: marker.id)


async def test_a_new_run_is_stored_unchanged(ledger):
    """The ledger stores a new run exactly, including the numbers in its parameters and its plan."""
    assert await ledger.open_run(RUN) == RUN
    assert await ledger.run("run-1") == RUN


async def test_opening_an_existing_run_returns_it(ledger):
    """The existing run stays unchanged."""
    await ledger.open_run(RUN)
    second = replace(RUN, job="another", plan={"type": "items"}, gen=7, position=9)
    assert await ledger.open_run(second) == RUN
    assert await ledger.run("run-1") == RUN


async def test_opening_an_existing_run_returns_its_current_state(ledger):
    """The returned run includes changes since it was first opened."""
    await ledger.open_run(RUN)
    await ledger.checkpoint("run-1", 20)
    assert await ledger.open_run(RUN) == replace(RUN, position=20)


async def test_concurrent_opens_of_a_run_return_the_same_run(ledger):
    """If several callers open a run concurrently with different plans, all get the plan of one of them."""
    opened: list[Run] = []

    async def open_with(number: int) -> None:
        opened.append(await ledger.open_run(replace(RUN, plan={"type": "items", "number": number})))

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(open_with, number)
    assert opened == [await ledger.run("run-1")] * 10


async def test_a_run_that_was_never_opened_is_none(ledger):
    """Reading an unknown run returns None."""
    assert await ledger.run("run-1") is None


async def test_a_plan_is_replaced_only_by_the_next_one(ledger):
    """Of two invocations that plan the same run, one learns that the other was faster; all else is unchanged."""
    await ledger.open_run(RUN)
    plans = [{"type": "s3-objects", "chunks": [number]} for number in range(3)]
    assert await ledger.replan("run-1", plans[0], step=2) is True
    assert await ledger.replan("run-1", plans[1], step=2) is False
    assert await ledger.replan("run-1", plans[1], step=4) is False
    assert await ledger.run("run-1") == replace(RUN, plan=plans[0], plan_step=2)
    assert await ledger.replan("run-1", plans[2], step=3) is True
    assert await ledger.run("run-1") == replace(RUN, plan=plans[2], plan_step=3)


async def test_a_plan_of_an_unknown_run_is_refused(ledger):
    """The error names the run, and no run is created."""
    with pytest.raises(LedgerError, match="run 'run-1' is not in the ledger"):
        await ledger.replan("run-1", {}, step=2)
    assert await ledger.run("run-1") is None


async def test_a_checkpoint_never_decreases_the_position(ledger):
    """The position is the maximum of all checkpoints, in any order."""
    await ledger.open_run(RUN)
    positions = []
    for position in [10, 30, 20, 30, 0, 31]:
        await ledger.checkpoint("run-1", position)
        positions.append((await ledger.run("run-1")).position)
    assert positions == [10, 30, 30, 30, 30, 31]


async def test_a_checkpoint_changes_only_the_position(ledger):
    """All other fields of the run stay unchanged."""
    await ledger.open_run(RUN)
    await ledger.checkpoint("run-1", 10)
    assert await ledger.run("run-1") == replace(RUN, position=10)


async def test_a_checkpoint_of_an_unknown_run_is_refused(ledger):
    """The error names the run, and no run is created."""
    with pytest.raises(LedgerError, match="run 'run-1' is not in the ledger"):
        await ledger.checkpoint("run-1", 10)
    assert await ledger.run("run-1") is None


@pytest.mark.parametrize("name", list(MARKERS))
async def test_a_marker_is_stored_unchanged(ledger, name):
    """A read returns the same IDs, results, results key, failures, and receive counts."""
    await ledger.put_marker("run-1", MARKERS[name])
    assert await markers_of(ledger, "run-1", MARKERS[name].gen) == [MARKERS[name]]


async def test_putting_a_marker_twice_stores_one_marker(ledger):
    """A repeated write is idempotent."""
    await ledger.put_marker("run-1", MARKERS["results"])
    await ledger.put_marker("run-1", MARKERS["results"])
    assert len(await markers_of(ledger, "run-1", 0)) == 1


async def test_a_run_without_markers_yields_none(ledger):
    """Reading the markers of an unknown run returns none, without an error."""
    assert await markers_of(ledger, "run-1", 0) == []


async def test_markers_returns_only_one_generation(ledger):
    """It excludes older generations, and those whose number starts with the same digit."""
    for gen in [0, 1, 10, 11]:
        await ledger.put_marker("run-1", Marker(f"of-{gen}", gen, ids=[gen]))
    assert [marker.id for marker in await markers_of(ledger, "run-1", 1)] == ["of-1"]


async def test_markers_returns_only_one_run(ledger):
    """It excludes runs whose name starts with the same characters."""
    for run in ["run-1", "run-11", "run-1.5"]:
        await ledger.put_marker(run, Marker(f"of-{run}", 0, ids=[1]))
    assert [marker.id for marker in await markers_of(ledger, "run-1", 0)] == ["of-run-1"]


async def test_all_of_many_markers_are_read(ledger):
    """Each of 250 markers that were put concurrently is read once."""
    markers = [Marker(f"marker-{number:03}", 0, ids=[number]) for number in range(250)]
    async with anyio.create_task_group() as tasks:
        for marker in markers:
            tasks.start_soon(ledger.put_marker, "run-1", marker)
    assert await markers_of(ledger, "run-1", 0) == markers


async def test_markers_are_read_across_pages(ledger):
    """Six markers of 300 KB in one partition, more than one query response holds, are all read."""
    same_partition = [19, 31, 50, 67, 78, 92]
    for number in same_partition:
        await ledger.put_marker("run-1", Marker(f"marker-{number}", 0, ids=[0], results={0: f'"{"x" * 300_000}"'}))
    assert [marker.id for marker in await markers_of(ledger, "run-1", 0)] == [
        f"marker-{number}" for number in same_partition
    ]


async def test_a_new_counter_is_zero(ledger):
    """In a new run, no segment has ended, and the total is unknown."""
    counter = await ledger.counter("run-1")
    assert counter == Counter(0, None, None)
    assert counter.due is False


async def test_counts_add_up(ledger):
    """Each count returns the new sum."""
    assert await ledger.count("run-1", 3) == Counter(3)
    assert await ledger.count("run-1", 4) == Counter(7)
    assert await ledger.counter("run-1") == Counter(7)


async def test_concurrent_counts_are_all_counted(ledger):
    """Of 50 concurrent counts, none is lost, and each returns a different sum."""
    sums: list[int] = []

    async def count() -> None:
        sums.append((await ledger.count("run-1", 2)).ended)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(count)
    assert sorted(sums) == list(range(2, 102, 2))


async def test_runs_have_separate_counters(ledger):
    """Counting in one run does not change the counter of another."""
    await ledger.count("run-1", 3)
    await ledger.seal("run-2", 5)
    assert await ledger.counter("run-1") == Counter(3)
    assert await ledger.counter("run-2") == Counter(0, 5, 5)


async def test_sealing_sets_the_total_and_the_next_check(ledger):
    """A completion check is due when the number of ended segments reaches the total."""
    await ledger.count("run-1", 3)
    assert await ledger.seal("run-1", 5) == Counter(3, 5, 5)
    assert [(await ledger.count("run-1", 1)).due for _ in range(2)] == [False, True]


async def test_sealing_reports_that_all_segments_have_ended(ledger):
    """A check is due immediately if all segments ended before the seal, or if there are none."""
    await ledger.count("run-1", 5)
    assert (await ledger.seal("run-1", 5)).due is True
    assert await ledger.seal("run-2", 0) == Counter(0, 0, 0)
    assert (await ledger.counter("run-2")).due is True


async def test_sealing_twice_has_no_effect(ledger):
    """A repeated seal does not change the counter, even after the next check was postponed."""
    await ledger.seal("run-1", 5)
    assert await ledger.seal("run-1", 5) == Counter(0, 5, 5)
    await ledger.raise_next("run-1", 8)
    assert await ledger.seal("run-1", 5) == Counter(0, 5, 8)


async def test_sealing_keeps_an_existing_threshold_of_the_next_check(ledger):
    """Sealing sets the threshold of the next check only if none is set."""
    assert await ledger.raise_next("run-1", 7) == Counter(0, None, 7)
    assert await ledger.seal("run-1", 5) == Counter(0, 5, 7)


async def test_the_threshold_of_the_next_check_never_decreases(ledger):
    """``raise_next`` accepts a higher threshold only."""
    await ledger.seal("run-1", 5)
    nexts = [(await ledger.raise_next("run-1", threshold)).next for threshold in [4, 5, 8, 6, 8, 9]]
    assert nexts == [5, 5, 8, 8, 8, 9]
    assert await ledger.counter("run-1") == Counter(0, 5, 9)


async def test_a_postponed_check_becomes_due(ledger):
    """The count that reaches the threshold, and every later one, report that a check is due."""
    await ledger.seal("run-1", 2)
    assert (await ledger.count("run-1", 2)).due is True
    await ledger.raise_next("run-1", 3)
    assert (await ledger.counter("run-1")).due is False
    assert [(await ledger.count("run-1", 1)).due for _ in range(2)] == [True, True]


@pytest.mark.stack
@pytest.mark.parametrize("act", ["open_run", "run", "put_marker", "count", "markers", "claim"])
async def test_a_missing_table_is_an_error_that_names_it(aws: LocalStack, raw_session, act):
    """The error of each operation names the table and what to check."""
    async with raw_session.create_client("dynamodb", verify=False) as client:
        missing = DynamoDBLedger(client, "no-such-table")
        calls = {
            "open_run": lambda: missing.open_run(RUN),
            "run": lambda: missing.run("run-1"),
            "put_marker": lambda: missing.put_marker("run-1", MARKERS["done"]),
            "count": lambda: missing.count("run-1", 1),
            "markers": lambda: markers_of(missing, "run-1", 0),
            "claim": lambda: missing.claim("run-1", now=0.0, lease_seconds=1.0),
        }
        with pytest.raises(ConfigurationError, match="table no-such-table: does not exist; check the name and the re"):
            await calls[act]()


@pytest.mark.stack
async def test_no_response_is_a_transient_error(aws: LocalStack, raw_session):
    """A refused connection raises a transient service error."""
    async with without_server(raw_session, "dynamodb") as client:
        with pytest.raises(ServiceError) as raised:
            await DynamoDBLedger(client, "table").count("run-1", 1)
    assert raised.value.transient is True


async def test_a_hop_is_stored_once(ledger):
    """A second hop with the same key gets the stored one; other hops, segments, and generations are separate."""
    first = Hop(17, 0, 0, rest={"type": "items", "values": ["naïve", {"a": None}]}, result='{"n":1}', items=3)
    assert await ledger.put_hop("run-1", first) == first
    assert await ledger.put_hop("run-1", replace(first, rest={"type": "ranges"}, result="2")) == first
    others = [
        replace(first, number=1, result=None, results_key="runs/run-1/0/hops/x.json"),
        replace(first, segment=1_000_000, bad_rows=BadRows(3, "runs/run-1/0/bad-rows/x.jsonl")),
        replace(first, gen=1),
    ]
    for other in others:
        assert await ledger.put_hop("run-1", other) == other
    hops = [hop async for hop in ledger.hops("run-1", 0)]
    assert sorted(hops, key=lambda hop: (hop.segment, hop.number)) == [first, *others[:2]]
    assert [hop async for hop in ledger.hops("run-1", 1)] == [others[2]]
    assert [hop async for hop in ledger.hops("run-2", 0)] == []
