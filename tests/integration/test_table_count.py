"""System 1: a table counted by 16 segments through scatter, real workers and the fold."""

import json
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from deployment import Deployment
from fanfold._jobs.report import read_report, watch
from fanfold._stack.emulator import local_stack
from fanfold.aws.backend import connect
from systems.articles import EXAMPLE, PARAMETERS, SEGMENTS, fill, item

ITEMS = 100_000

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """The example, on an emulator of its own, and its table."""
    with local_stack() as stack:
        deployed = Deployment(stack, "count", EXAMPLE, {**PARAMETERS, "SourceTable": "articles"})
        anyio.run(fill, stack.client_settings, "articles", ITEMS)
        yield deployed


async def test_100000_items_of_15_fields_are_counted_exactly_by_16_segments(deployment: Deployment):
    """And every segment holds within 10 % of the mean, as the account says; nothing is uneven."""
    async with connect(deployment.variables, **deployment.client_settings) as backend:
        assert deployment.scatter("count", table="articles", total=SEGMENTS)["segments"] == SEGMENTS
        seen = [progress async for progress in watch(backend, "count", within_seconds=240)]
        run = await backend.ledger.run("count")
        assert run is not None
        assert seen[-1].state == "SUCCEEDED"
        assert json.loads(await backend.get_result(run.output)) == {"total_count": ITEMS}
        spread = (await read_report(backend, run)).evenness
        assert spread is not None
        assert spread.items == ITEMS
        mean = ITEMS / SEGMENTS
        assert 0.9 * mean <= spread.least <= spread.most <= 1.1 * mean
        assert spread.uneven == {}


async def test_a_table_is_written_back_item_by_item(deployment: Deployment):
    """Each gets a field more, over the same key; nothing else of it changes."""
    await fill(deployment.client_settings, "members", 2_000)
    parameters = {"HandlerModule": "write_back", "SourceTable": "members", "SourceTableAccess": "write"}
    deployed = Deployment(deployment.stack, "back", EXAMPLE, parameters)
    async with connect(deployed.variables, **deployed.client_settings) as backend:
        deployed.scatter("back", table="members", key=["item_no"], total=4)
        _ = [progress async for progress in watch(backend, "back", within_seconds=240)]
        run = await backend.ledger.run("back")
        assert run is not None
        assert json.loads(await backend.get_result(run.output)) == {"total_written": 2_000}
        wanted = {"table": "members", "segments": 1, "segment": 0}
        found, start = [], None
        while True:
            page = await backend.tables.scan(wanted, start)
            found += page.items
            if (start := page.next) is None:
                break
        assert {int(each["item_no"]) for each in found} == set(range(2_000))
        for each in found:
            given = {name: value["S"] for name, value in item(int(each["item_no"])).items() if "S" in value}
            length = len(str(each["item_no"])) + sum(map(len, given.values()))
            assert each == {**given, "item_no": each["item_no"], "length": length}


async def test_a_segment_that_takes_longer_than_its_function_is_continued_and_counts_exactly(deployment: Deployment):
    """The life-extension form: 6 seconds of work in a function that has 5."""
    parameters = {"FunctionTimeout": "5", "HandlerModule": "app"}
    folder = Path(__file__).parent / "long_job"
    long = Deployment(deployment.stack, "long", folder, parameters, visibility_timeout=5)
    async with connect(long.variables, **long.client_settings) as backend:
        long.scatter("long", count=600)
        _ = [progress async for progress in watch(backend, "long", within_seconds=240)]
        run = await backend.ledger.run("long")
        assert run is not None
        output = json.loads(await backend.get_result(run.output))
        assert output["total"] == sum(range(600))
        # A second delivery of a message may end where the first had stopped: then that hop is not of the chain.
        assert 2 <= output["parts"] <= len([hop async for hop in backend.ledger.hops("long", 0)]) + 1
