"""DynamoDB scans: the number of segments, the read rate, and throttling."""

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
    """Tables in this process, with a clock that only waiting advances."""

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
async def test_the_number_of_segments_is_configured_or_derived_from_the_size(settings, segments):
    """There is one segment per ``segment_bytes``, and at least one."""
    backend = Paced().backend
    size = (await backend.tables.describe("members")).size_bytes
    plan = await DynamoDBScan("members", **settings).pin(backend, "p")
    parts = list(sources.cut(plan))
    assert len(parts) == (segments or -(-size // settings["segment_bytes"]))
    assert [part["segment"] for part in parts] == list(range(len(parts)))
    assert list(sources.cut(plan, 1)) == parts[1:]


async def test_an_empty_table_is_one_segment_without_items():
    """A table whose size DynamoDB has not updated yet also looks empty."""
    backend = replace(inmemory.backend(), tables=InMemoryTables(members=(["pk"], [])))
    (part,) = sources.cut(await DynamoDBScan("members").pin(backend, "p"))
    assert [item async for item in sources.read_items(part, backend)] == []


async def test_a_throttled_page_is_retried_with_backoff():
    """A request has up to 8 attempts; no item is lost or read twice."""
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
    """The segment is redelivered instead of blocking the invocation."""

    def gate(operation: str) -> None:
        if operation == "before scan":
            raise throttled()

    paced = Paced(gate)
    with pytest.raises(ServiceError):
        await paced.read(DynamoDBScan("members", segments=1))
    assert len(paced.waits) == ATTEMPTS - 1


async def test_a_permanent_error_is_not_retried():
    """A retry would fail in the same way."""

    def gate(operation: str) -> None:
        if operation == "before scan":
            raise ServiceError("no", code="ValidationException", transient=False)

    paced = Paced(gate)
    with pytest.raises(ServiceError):
        await paced.read(DynamoDBScan("members", segments=1))
    assert paced.waits == []


async def test_a_reader_does_not_exceed_the_configured_read_rate():
    """After each page except the last, it waits for the read units that it consumed."""
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
def test_invalid_settings_are_refused_when_the_source_is_created(settings):
    """The error names the source."""
    with pytest.raises(ConfigurationError, match="DynamoDBScan"):
        DynamoDBScan(**({"table": "members"} | settings))
