"""Parquet tables that properties find by chance, as fixed examples: coverage counts these, but not random ones."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from fanfold import S3Parquet, inmemory, sources
from parquet_tables import written
from stops import with_stops

DAY = date(2026, 1, 1)
TABLE = pa.table(
    {
        "n": list(range(6)),
        "day": [DAY + timedelta(days=number) for number in range(6)],
        "text": pa.array(["a", "b", None, "a", "c", "b"]).dictionary_encode(),
        "price": [Decimal(number) for number in range(6)],
    }
)


async def rows_of(table: pa.Table, stops: list[int], **settings: Any) -> list[dict[str, Any]]:
    backend = inmemory.backend()
    backend.store.fill("b", {"t.parquet": written(table, row_group_size=3)})
    plan = await S3Parquet("b", "t.parquet", **settings).pin(backend, "p")
    return [row for part in sources.cut(plan) async for row in with_stops(part, backend, stops)]


@pytest.mark.parametrize("stops", [[], [1], [2, 1]])
@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ([[("text", "in", ["a", "c"])], [("n", "==", 5)]], [0, 3, 4, 5]),
        ([("text", "not in", ["a"]), ("n", "<", 5)], [1, 4]),
        ([("day", ">=", DAY + timedelta(days=2)), ("price", "<=", Decimal(4))], [2, 3, 4]),
        ([("text", "!=", "x"), ("n", "!=", 0)], [1, 3, 4, 5]),
        ([("text", "==", "x")], []),
        ([("text", "not in", ["a", "b", "c"])], []),
    ],
)
async def test_a_filter_selects_rows_at_any_stops(conditions, numbers, stops):
    """Of text, numbers, and dates; a null meets no condition."""
    assert [row["n"] for row in await rows_of(TABLE, stops, filter=conditions)] == numbers


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.timestamp("us"), 2), pa.list_(pa.timestamp("us")), pa.large_list(pa.timestamp("us"))]
)
async def test_timestamps_of_type_int96_may_be_elements_of_lists(kind):
    """Of any length, or of a fixed one."""
    moments = [datetime.fromisoformat(text) for text in ("2026-01-01T00:00:00", "9999-12-31T00:00:00")]
    table = pa.table({"moments": pa.array([moments, moments], kind)})
    backend = inmemory.backend()
    backend.store.fill("b", {"t.parquet": written(table, use_deprecated_int96_timestamps=True)})
    plan = await S3Parquet("b", "t.parquet").pin(backend, "p")
    rows = [row async for row in sources.read_items(next(sources.cut(plan)), backend)]
    assert rows == table.to_pylist()
