"""A table is cut by its size or as told, and read at the pace that is asked for, whatever DynamoDB throttles."""

import json
from dataclasses import replace
from typing import Any

import pytest

from failing import Scripted, throttled
from fanfold import DynamoDBScan, inmemory, sources
from fanfold._base.retry import ATTEMPTS
from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.inmemory import InMemoryTables
from fanfold.testing import ManualClock

MEMBERS = [{"pk": f"m-{n}", "n": n} for n in range(60)]


class Paced:
    """Tables in this process, on a clock that only waiting moves."""

    def __init__(self, gate: Any = None) -> None:
        self.clock = ManualClock()
        self.waits: list[float] = []
        tables: Any = InMemoryTables(members=(["pk"], MEMBERS))
        self.backend: Backend = replace(
            inmemory.backend(), tables=Scripted(tables, gate) if gate else tables, now=self.clock, sleep=self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)

    async def read(self, source: DynamoDBScan) -> list[Any]:
        plan = await source.pin(self.backend, "p")
        return [item async for part in _parts(plan) async for item in sources.read_items(part, self.backend)]


async def _parts(plan: Any) -> Any:
    for part in sources.cut(json.loads(json.dumps(plan))):
        yield part


@pytest.mark.parametrize(
    ("settings", "segments"),
    [
        ({"segments": 16}, 16),
        ({"segment_bytes": 10**9}, 1),
        ({"segment_bytes": 100}, None),
        ({"segment_bytes": 1}, None),
    ],
)
async def test_the_number_of_segments_is_given_or_follows_from_the_size(settings, segments):
    """One for each so many bytes, at least one."""
    backend = Paced().backend
    size = (await backend.tables.describe("members")).size_bytes
    plan = await DynamoDBScan("members", **settings).pin(backend, "p")
    parts = list(sources.cut(plan))
    assert len(parts) == (segments or -(-size // settings["segment_bytes"]))
    assert [part["segment"] for part in parts] == list(range(len(parts)))
    assert list(sources.cut(plan, 1)) == parts[1:]


async def test_an_empty_table_is_one_segment_without_items():
    """Not none: a table whose size DynamoDB has not counted yet looks the same."""
    backend = replace(inmemory.backend(), tables=InMemoryTables(members=(["pk"], [])))
    (part,) = sources.cut(await DynamoDBScan("members").pin(backend, "p"))
    assert [item async for item in sources.read_items(part, backend)] == []


async def test_a_page_that_is_throttled_is_asked_for_again_ever_more_slowly():
    """Up to 8 times: no item is lost or read twice."""
    failures = iter([True] * (ATTEMPTS - 1) + [False, True])

    def gate(operation: str) -> None:
        if operation == "before scan" and next(failures, False):
            raise throttled()

    paced = Paced(gate)
    items = await paced.read(DynamoDBScan("members", segments=1, page_items=20))
    assert sorted(item["n"] for item in items) == list(range(60))
    assert len(paced.waits) == ATTEMPTS
    assert all(0 <= wait <= 5 for wait in paced.waits)


async def test_a_page_that_is_always_throttled_fails_its_segment():
    """It comes back, instead of taking up the invocation."""

    def gate(operation: str) -> None:
        if operation == "before scan":
            raise throttled()

    paced = Paced(gate)
    with pytest.raises(ServiceError):
        await paced.read(DynamoDBScan("members", segments=1))
    assert len(paced.waits) == ATTEMPTS - 1


async def test_a_fault_that_is_not_passing_is_not_tried_again():
    """It would fail the same way."""

    def gate(operation: str) -> None:
        if operation == "before scan":
            raise ServiceError("no", code="ValidationException", transient=False)

    paced = Paced(gate)
    with pytest.raises(ServiceError):
        await paced.read(DynamoDBScan("members", segments=1))
    assert paced.waits == []


async def test_a_reader_takes_no_more_capacity_than_asked_for():
    """After each page it waits until the units it took are paid for; after the last one it need not."""
    paced = Paced()
    await paced.read(DynamoDBScan("members", segments=1, page_items=20, read_units_per_second=5))
    assert paced.waits == [2.0, 2.0]


@pytest.mark.parametrize(
    "settings",
    [
        {"table": ""},
        {"table": None},
        {"segments": 0},
        {"segments": 1_000_001},
        {"segments": True},
        {"segment_bytes": 0},
        {"page_items": 0},
        {"index": ""},
        {"filter": 3},
        {"names": {"#a": "a"}},
        {"filter": "#a = :a", "names": ["#a"]},
        {"filter": "#a = :a", "values": ":a"},
        {"consistent": "yes"},
        {"values": {":a": 1}},
        {"attributes": "name"},
        {"attributes": [""]},
        {"read_units_per_second": 0},
        {"read_units_per_second": "5"},
    ],
)
def test_impossible_settings_are_refused_when_the_source_is_made(settings):
    """With the setting's name."""
    with pytest.raises(ConfigurationError, match="DynamoDBScan"):
        DynamoDBScan(**({"table": "members"} | settings))
