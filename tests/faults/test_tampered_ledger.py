"""Damaged items of the ledger's table end a run with the right output, or as FAILED until a redrive repairs it."""

import json
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiobotocore.session import get_session

from fanfold._jobs.redrive import redrive
from fanfold._jobs.run_details import read_details
from fanfold._ports.packed import pack
from fanfold.aws.backend import config_of
from fanfold.aws.tables import with_raw_items
from fanfold.errors import LedgerError
from harness import Bench, started
from ledgers import dynamodb_ledger
from numbers_job import ranges_job

pytestmark = pytest.mark.stack

COUNT = 8
Change = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Returns the attributes of a damaged item; None to delete it."""


class Table:
    """The table of a ledger."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name = client, name

    async def change(self, prefix: str, change: Change) -> None:
        """Change the first item whose sort key has a prefix."""
        items = (await self.client.scan(TableName=self.name, ConsistentRead=True))["Items"]
        item = next(item for item in items if item["sk"]["S"].startswith(prefix))
        key = {name: item[name] for name in ("pk", "sk")}
        changed = change(dict(item))
        await self.client.delete_item(TableName=self.name, Key=key)
        if changed is not None:
            await self.client.put_item(TableName=self.name, Item=changed)


@pytest.fixture
async def bench(aws) -> AsyncIterator[tuple[Bench, Table]]:
    session = with_raw_items(get_session())
    async with session.create_client("dynamodb", verify=False, config=config_of("dynamodb")) as client:
        ledger = await dynamodb_ledger(client)
        trial = Bench(ranges_job(COUNT))
        trial.plain = trial.backend = replace(trial.plain, ledger=ledger)
        yield await started(trial), Table(client, ledger._table)


def ends_as(*columns: Any) -> Change:
    """Replace the segments of a marker."""
    return with_changes(ends={"B": pack(list(columns))})


def with_changes(**attributes: Any) -> Change:
    return lambda item: {name: value for name, value in (item | attributes).items() if value is not None}


def another(**attributes: Any) -> Change:
    """Replace the attributes of an item, except its key."""
    return lambda item: {name: item[name] for name in ("pk", "sk")} | attributes


MARKERS: dict[str, Change] = {
    "without segments": with_changes(ends=None),
    "without attributes": another(),
    "whose segments are not compressed": with_changes(ends={"B": b"3,4"}),
    "whose segments are incomplete": with_changes(ends={"B": pack([[1] * 100])[:-9]}),
    "whose segments are a string": with_changes(ends={"S": "1,2"}),
    "whose segments fill the memory": with_changes(ends={"B": zlib.compress(b"[" + b"1," * 9_000_000 + b"1]")}),
    "of no segment": ends_as([], [], [], [], None, None),
    "of a negative segment": ends_as([-1], [], [], [], None, None),
    "of a huge segment": ends_as([10**18], [], [], [], None, None),
    "of a segment twice": ends_as([3, 0], [], [], [], None, None),
    "with fewer items than segments": ends_as([0, 1, 1, 1], [1], [], [], None, None),
    "with times of no calendar": ends_as([0, 1, 1, 1], [], [2**52, 0, 0, 0, 0], [1, 1, 1, 1], None, None),
    "with fewer results than segments": with_changes(results={"S": "[\n[0]\n]"}),
    "with results of no segment": with_changes(results={"S": '{\n"x":[0]\n}'}),
    "with results that are not JSON": with_changes(results={"S": "[\n[0,\n[1],\n[2],\n[3]\n]"}),
    "with results that are almost JSON": with_changes(results={"S": "[\nx,\n[1],\n[2],\n[3]\n]"}),
    "without results": with_changes(results=None),
    "with failures that are no object": with_changes(failed={"S": "[1]"}),
    "with hops that the ledger lacks": with_changes(hops={"S": '{"0":2,"1":2,"2":2,"3":2}'}),
}
OTHERS: dict[str, tuple[str, Change]] = {
    "no counter": ("COUNT", lambda item: None),
    "a counter that is too low": ("COUNT", with_changes(n={"N": "1"})),
    "a counter that is too high": ("COUNT", with_changes(n={"N": "1000000"})),
    "fewer segments": ("COUNT", with_changes(total={"N": "3"})),
    "more segments": ("COUNT", with_changes(total={"N": str(10**18)})),
    "a negative number of segments": ("COUNT", with_changes(total={"N": "-1"})),
    "a check that is never due": ("COUNT", with_changes(next={"N": str(10**18)})),
    "a lease without end": ("STATE", with_changes(state={"S": "FOLDING"}, lease_until={"N": "1E+30"})),
    "attempts that cannot be read": ("FAIL#", with_changes(attempts={"B": b"x"})),
    "a hop that cannot be read": ("HOP#", another()),
}


async def is_repaired(bench: Bench) -> None:
    """Assert that the run has ended, with the right output or a reason, and that redrives repair it."""
    for _ in range(3):
        await bench.settle(rounds=3_000)
        run = await bench.plain.ledger.run("run")
        assert run is not None
        assert run.ended
        if run.state == "SUCCEEDED":
            assert await output_of(bench) == list(range(COUNT))
            return
        assert await output_of(bench)
        await redrive("run", bench.plain)
    raise AssertionError("redrives have not repaired the run")


async def output_of(bench: Bench) -> Any:
    run = await bench.plain.ledger.run("run")
    assert run is not None
    return json.loads(await bench.plain.get_result(str(run.output)))


@pytest.mark.parametrize("name", MARKERS)
async def test_a_damaged_marker_costs_its_segments_and_a_redrive_repairs_the_run(bench: tuple[Bench, Table], name: str):
    """The others keep their results; the details of the run name an item that cannot be read."""
    trial, table = bench
    await trial.pump(trial.plain.work_queue, trial.job.segment_handler, 4)
    await trial.work()
    await table.change("MARK#0#", MARKERS[name])
    run = await trial.plain.ledger.run("run")
    assert run is not None
    details = await read_details(run, trial.plain)
    assert details.total == COUNT
    assert details.done <= COUNT
    await is_repaired(trial)


@pytest.mark.parametrize("name", OTHERS)
async def test_another_damaged_item_does_not_change_the_output(bench: tuple[Bench, Table], name: str):
    """The plan determines the number of segments, and watching the run replaces a check that is never due."""
    trial, table = bench
    prefix, change = OTHERS[name]
    await trial.work()
    if prefix in {"FAIL#", "HOP#"}:
        key = {"pk": {"S": "RUN#run#0"}, "sk": {"S": f"{prefix}0#{'0#0' if prefix == 'HOP#' else 'x'}"}}
        await table.client.put_item(TableName=table.name, Item=key)
    await table.change(prefix, change)
    await is_repaired(trial)
    run = await trial.plain.ledger.run("run")
    assert run is not None
    details = await read_details(run, trial.plain)
    assert (details.done, details.total) == (COUNT, COUNT)
    assert bool(details.unreadable) == (prefix in {"FAIL#", "HOP#"})


async def test_a_run_whose_item_is_damaged_has_an_error_that_names_it(bench: tuple[Bench, Table]):
    """Nothing can be known about it; the error is one line."""
    trial, table = bench
    await table.change("STATE", with_changes(gen={"N": "7"}))
    with pytest.raises(LedgerError, match="RUN#run STATE: the generation or the position of the run cannot be true"):
        await trial.plain.ledger.run("run")
    await table.change("STATE", with_changes(plan={"S": "["}))
    with pytest.raises(LedgerError, match=r"the run RUN#run STATE in the ledger cannot be read: JSONDecodeError"):
        await trial.plain.ledger.run("run")
