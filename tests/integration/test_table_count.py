"""System 1: a table counted in 16 segments by the scatter function, real workers, and the fold."""

import json
from pathlib import Path

import anyio
import pytest

from deployment import Deployment
from depth import by_depth
from fanfold._jobs.report import read_report, watch
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import connect
from systems.articles import EXAMPLE, PARAMETERS, SEGMENTS, fill, item

ITEMS = by_depth(12_000, 100_000)

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@pytest.fixture(scope="module")
def deployment(own_stack: LocalStack) -> Deployment:
    """Deploy the example with its table, whose scans keep an emulator busy."""
    deployed = Deployment(own_stack, "count", EXAMPLE, {**PARAMETERS, "SourceTable": "articles"})
    anyio.run(fill, own_stack.client_settings, "articles", ITEMS)
    return deployed


# Slow: for each page, the emulated DynamoDB sorts the whole table.
async def test_items_of_15_fields_are_counted_exactly_by_16_segments(deployment: Deployment):
    """According to the run report, every segment is within 10 % of the mean, and none is uneven."""
    async with connect(deployment.variables, **deployment.client_settings) as backend:
        assert deployment.scatter("count", table="articles", total=SEGMENTS)["segments"] == SEGMENTS
        seen = [progress async for progress in watch(backend, "count", within_seconds=600)]
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
    """Each item gets an additional field under the same key and is otherwise unchanged."""
    await fill(deployment.client_settings, "members", 1_000)
    parameters = {"HandlerModule": "write_back", "SourceTable": "members", "SourceTableAccess": "write"}
    deployed = Deployment(deployment.stack, "back", EXAMPLE, parameters)
    async with connect(deployed.variables, **deployed.client_settings) as backend:
        deployed.scatter("back", table="members", key=["item_no"], total=4)
        _ = [progress async for progress in watch(backend, "back", within_seconds=600)]
        run = await backend.ledger.run("back")
        assert run is not None
        assert json.loads(await backend.get_result(run.output)) == {"total_written": 1_000}
        part = {"table": "members", "segments": 1, "segment": 0}
        items, start = [], None
        while True:
            page = await backend.tables.scan(part, start)
            items += page.items
            if (start := page.next) is None:
                break
        assert {int(stored["item_no"]) for stored in items} == set(range(1_000))
        for stored in items:
            original = {name: value["S"] for name, value in item(int(stored["item_no"])).items() if "S" in value}
            length = len(str(stored["item_no"])) + sum(map(len, original.values()))
            assert stored == {**original, "item_no": stored["item_no"], "length": length}


# Slow: six seconds of work in a function that has five.
async def test_a_segment_that_takes_longer_than_its_function_is_continued_and_counts_exactly(deployment: Deployment):
    """With ``continuation=True``: 6 seconds of work in a function with a timeout of 5."""
    parameters = {"FunctionTimeout": "5", "HandlerModule": "app"}
    folder = Path(__file__).parent / "long_job"
    long = Deployment(deployment.stack, "long", folder, parameters, visibility_timeout=5)
    async with connect(long.variables, **long.client_settings) as backend:
        long.scatter("long", count=600)
        _ = [progress async for progress in watch(backend, "long", within_seconds=600)]
        run = await backend.ledger.run("long")
        assert run is not None
        output = json.loads(await backend.get_result(run.output))
        assert output["total"] == sum(range(600))
        # A second delivery of a message may end where the first stopped; then that hop is not part of the chain.
        assert 2 <= output["parts"] <= len([hop async for hop in backend.ledger.hops("long", 0)]) + 1
