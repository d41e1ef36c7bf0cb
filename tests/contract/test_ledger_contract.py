"""What a ledger promises, asked of the one in this process and of the one on AWS."""

from dataclasses import replace

import anyio
import pytest

from fanfold._ports.ledger import Ledger
from fanfold._ports.run import Counter, Hop, Marker, Run
from fanfold._stack.emulator import LocalStack
from fanfold.aws.dynamodb import DynamoDBLedger
from fanfold.errors import ConfigurationError, LedgerError, ServiceError
from ledgers import RUN
from on_aws import unanswered

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
    "all": Marker("m", 3, ids=[1], results={1: '"x"'}, results_key="k", failed={2: "no"}, receive_counts={1: 2}),
}


async def markers_of(ledger: Ledger, run: str, gen: int) -> list[Marker]:
    found = [marker async for marker in ledger.markers(run, gen)]
    return sorted(found, key=lambda marker: marker.id)


async def test_a_run_is_opened_as_it_is_given(ledger):
    """A new run stands in the ledger as it was given, parameters and plan to the last digit."""
    assert await ledger.open_run(RUN) == RUN
    assert await ledger.run("run-1") == RUN


async def test_a_run_is_opened_once(ledger):
    """Opening a run that exists returns the first one and leaves it as it is."""
    await ledger.open_run(RUN)
    again = replace(RUN, job="another", plan={"type": "items"}, gen=7, position=9)
    assert await ledger.open_run(again) == RUN
    assert await ledger.run("run-1") == RUN


async def test_opening_a_run_returns_it_as_it_stands_now(ledger):
    """What happened to a run since it was opened shows when it is opened again."""
    await ledger.open_run(RUN)
    await ledger.checkpoint("run-1", 20)
    assert await ledger.open_run(RUN) == replace(RUN, position=20)


async def test_of_many_that_open_a_run_all_get_the_same(ledger):
    """When several open a run at the same time with different plans, one plan wins and all are given it."""
    opened: list[Run] = []

    async def open_with(number: int) -> None:
        opened.append(await ledger.open_run(replace(RUN, plan={"type": "items", "number": number})))

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(open_with, number)
    assert opened == [await ledger.run("run-1")] * 10


async def test_a_run_that_was_never_opened_is_none(ledger):
    """An unknown run is no error but None."""
    assert await ledger.run("run-1") is None


async def test_a_checkpoint_never_goes_back(ledger):
    """The position is the highest that was ever told, whatever the order."""
    await ledger.open_run(RUN)
    positions = []
    for position in [10, 30, 20, 30, 0, 31]:
        await ledger.checkpoint("run-1", position)
        positions.append((await ledger.run("run-1")).position)
    assert positions == [10, 30, 30, 30, 30, 31]


async def test_a_checkpoint_changes_nothing_else(ledger):
    """A run that moved on is otherwise the run that was opened."""
    await ledger.open_run(RUN)
    await ledger.checkpoint("run-1", 10)
    assert await ledger.run("run-1") == replace(RUN, position=10)


async def test_a_run_that_was_never_opened_has_no_checkpoint(ledger):
    """A checkpoint of an unknown run is refused, and makes no run."""
    with pytest.raises(LedgerError, match="run 'run-1' is not in the ledger"):
        await ledger.checkpoint("run-1", 10)
    assert await ledger.run("run-1") is None


@pytest.mark.parametrize("name", list(MARKERS))
async def test_a_marker_is_read_as_it_was_put(ledger, name):
    """Ids, results to the character, their key, failures and receive counts come out as they went in."""
    await ledger.put_marker("run-1", MARKERS[name])
    assert await markers_of(ledger, "run-1", MARKERS[name].gen) == [MARKERS[name]]


async def test_the_same_marker_twice_is_one(ledger):
    """A write that was repeated leaves one marker."""
    await ledger.put_marker("run-1", MARKERS["results"])
    await ledger.put_marker("run-1", MARKERS["results"])
    assert len(await markers_of(ledger, "run-1", 0)) == 1


async def test_a_run_without_markers_yields_none(ledger):
    """Reading the markers of a run that has none is no error."""
    assert await markers_of(ledger, "run-1", 0) == []


async def test_markers_are_those_of_one_generation(ledger):
    """A generation's markers are neither an older one's nor those of one whose number begins with the same digit."""
    for gen in [0, 1, 10, 11]:
        await ledger.put_marker("run-1", Marker(f"of-{gen}", gen, ids=[gen]))
    assert [marker.id for marker in await markers_of(ledger, "run-1", 1)] == ["of-1"]


async def test_markers_are_those_of_one_run(ledger):
    """A run's markers are not those of a run whose name begins with its name."""
    for run in ["run-1", "run-11", "run-1.5"]:
        await ledger.put_marker(run, Marker(f"of-{run}", 0, ids=[1]))
    assert [marker.id for marker in await markers_of(ledger, "run-1", 0)] == ["of-run-1"]


async def test_every_one_of_many_markers_is_read(ledger):
    """All of 250 markers put at the same time are read, each once."""
    markers = [Marker(f"marker-{number:03}", 0, ids=[number]) for number in range(250)]
    async with anyio.create_task_group() as tasks:
        for marker in markers:
            tasks.start_soon(ledger.put_marker, "run-1", marker)
    assert await markers_of(ledger, "run-1", 0) == markers


async def test_markers_that_fill_several_pages_are_all_read(ledger):
    """Markers of 300 KB each, which a table keeps together, are all read though no answer can hold them."""
    together = [19, 31, 50, 67, 78, 92]
    for number in together:
        await ledger.put_marker("run-1", Marker(f"marker-{number}", 0, ids=[0], results={0: f'"{"x" * 300_000}"'}))
    assert [marker.id for marker in await markers_of(ledger, "run-1", 0)] == [f"marker-{n}" for n in together]


async def test_a_counter_begins_at_nothing(ledger):
    """A run of which nothing was counted has ended in no segment, and its total is unknown."""
    counter = await ledger.counter("run-1")
    assert counter == Counter(0, None, None)
    assert counter.due is False


async def test_what_is_counted_adds_up(ledger):
    """Each count adds to those before and returns the sum."""
    assert await ledger.count("run-1", 3) == Counter(3)
    assert await ledger.count("run-1", 4) == Counter(7)
    assert await ledger.counter("run-1") == Counter(7)


async def test_counts_at_the_same_time_are_all_counted(ledger):
    """Of 50 counts at once none is lost, and each returns another sum."""
    sums: list[int] = []

    async def count() -> None:
        sums.append((await ledger.count("run-1", 2)).ended)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(count)
    assert sorted(sums) == list(range(2, 102, 2))


async def test_runs_are_counted_apart(ledger):
    """Counting one run leaves the counter of another."""
    await ledger.count("run-1", 3)
    await ledger.seal("run-2", 5)
    assert await ledger.counter("run-1") == Counter(3)
    assert await ledger.counter("run-2") == Counter(0, 5, 5)


async def test_sealing_fixes_the_total_and_when_to_look(ledger):
    """A sealed run is worth a look once as many segments have ended as it has."""
    await ledger.count("run-1", 3)
    assert await ledger.seal("run-1", 5) == Counter(3, 5, 5)
    assert [(await ledger.count("run-1", 1)).due for _ in range(2)] == [False, True]


async def test_sealing_tells_that_all_have_ended_already(ledger):
    """A run whose segments ended before it was sealed is worth a look at once, and so is one of no segments."""
    await ledger.count("run-1", 5)
    assert (await ledger.seal("run-1", 5)).due is True
    assert await ledger.seal("run-2", 0) == Counter(0, 0, 0)
    assert (await ledger.counter("run-2")).due is True


async def test_sealing_again_changes_nothing(ledger):
    """A seal that was repeated leaves the counter, also after the next look was put off."""
    await ledger.seal("run-1", 5)
    assert await ledger.seal("run-1", 5) == Counter(0, 5, 5)
    await ledger.raise_next("run-1", 8)
    assert await ledger.seal("run-1", 5) == Counter(0, 5, 8)


async def test_a_next_look_that_was_set_before_the_seal_stays(ledger):
    """Sealing sets the total, and the next look only where none was set."""
    assert await ledger.raise_next("run-1", 7) == Counter(0, None, 7)
    assert await ledger.seal("run-1", 5) == Counter(0, 5, 7)


async def test_the_next_look_is_only_ever_put_off(ledger):
    """A threshold as high or lower than the one that stands changes nothing; a higher one does."""
    await ledger.seal("run-1", 5)
    nexts = [(await ledger.raise_next("run-1", threshold)).next for threshold in [4, 5, 8, 6, 8, 9]]
    assert nexts == [5, 5, 8, 8, 8, 9]
    assert await ledger.counter("run-1") == Counter(0, 5, 9)


async def test_counting_reaches_a_look_that_was_put_off(ledger):
    """After the next look was put off, the count that reaches it says so, and so does every later one."""
    await ledger.seal("run-1", 2)
    assert (await ledger.count("run-1", 2)).due is True
    await ledger.raise_next("run-1", 3)
    assert (await ledger.counter("run-1")).due is False
    assert [(await ledger.count("run-1", 1)).due for _ in range(2)] == [True, True]


@pytest.mark.stack
@pytest.mark.parametrize("act", ["open_run", "run", "put_marker", "count", "markers", "claim"])
async def test_a_table_that_does_not_exist_is_named(aws: LocalStack, raw_session, act):
    """Whatever is asked of a table that is not there, the error says which one and what to check."""
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
async def test_a_table_that_does_not_answer_may_answer_later(aws: LocalStack, raw_session):
    """A call that reaches nobody is a fault of the service that may pass."""
    async with unanswered(raw_session, "dynamodb") as client:
        with pytest.raises(ServiceError) as raised:
            await DynamoDBLedger(client, "table").count("run-1", 1)
    assert raised.value.transient is True


async def test_where_a_segment_stopped_is_entered_once(ledger):
    """A second delivery that stopped elsewhere is told what stands there; other hops and generations are others."""
    first = Hop(17, 0, 0, rest={"type": "items", "values": ["naïve", {"a": None}]}, result='{"n":1}', items=3)
    assert await ledger.put_hop("run-1", first) == first
    assert await ledger.put_hop("run-1", replace(first, rest={"type": "ranges"}, result="2")) == first
    others = [
        replace(first, number=1, result=None, results_key="runs/run-1/0/hops/x.json"),
        replace(first, segment=1_000_000),
        replace(first, gen=1),
    ]
    for other in others:
        assert await ledger.put_hop("run-1", other) == other
    found = [hop async for hop in ledger.hops("run-1", 0)]
    assert sorted(found, key=lambda hop: (hop.segment, hop.number)) == [first, *others[:2]]
    assert [hop async for hop in ledger.hops("run-1", 1)] == [others[2]]
    assert [hop async for hop in ledger.hops("run-2", 0)] == []
