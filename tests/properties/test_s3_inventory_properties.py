"""Inventories: whatever the format, the keys, the cut, and the stops, every key is listed once, with its values."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import S3Inventory, inmemory, sources
from fanfold._ports.backend import Backend
from inventories import PLAIN, inventory, row_of
from stops import with_stops

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
DATES = st.datetimes(datetime(2006, 3, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - see timezones
    lambda moment: moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)
)
ROWS = st.builds(
    row_of,
    KEYS,
    size=st.integers(0, 2**45),
    last_modified_date=DATES,
    is_latest=st.booleans(),
    is_delete_marker=st.booleans(),
    version_id=st.none() | st.text("abc.", min_size=1, max_size=4),
    storage_class=st.sampled_from(["STANDARD", "GLACIER"]),
)
VERSIONED = (*PLAIN, "version_id", "is_latest", "is_delete_marker")


def backend_with(objects: dict[str, bytes]) -> Backend:
    backend = inmemory.backend()
    backend.store.fill("b", objects)
    return backend


def item_of(row: dict[str, Any], *, versions: bool, is_all: bool) -> dict[str, Any]:
    item = {
        "bucket": row["bucket"],
        "key": row["key"],
        "size": row["size"],
        "etag": f'"{row["e_tag"]}"',
        "last_modified": row["last_modified_date"].isoformat(),
        "storage_class": row["storage_class"],
    }
    if versions:
        item["version_id"] = row["version_id"]
    if versions and is_all:
        item |= {"is_latest": row["is_latest"], "is_delete_marker": row["is_delete_marker"]}
    return item


@pytest.mark.parametrize("form", ["CSV", "Parquet", "ORC"])
@given(
    files=st.lists(st.lists(ROWS, max_size=9), max_size=3),
    fields=st.sampled_from([PLAIN, VERSIONED]),
    versions=st.sampled_from(["current", "all"]),
    keys_per_segment=st.sampled_from([None, 1, 4, 1_000]),
    stops=st.lists(st.integers(1, 4), max_size=3),
    space=st.sampled_from(["+", "%20"]),
)
@settings(max_examples=60)
async def test_every_key_is_listed_once_with_its_values(form, files, fields, versions, keys_per_segment, stops, space):
    """Keys may contain any characters; versions that are not current are left out, unless all are wanted."""
    backend = backend_with(inventory(files, form, fields, space=space))
    source = S3Inventory(
        "b", "inv/manifest.json", versions=versions, keys_per_segment=keys_per_segment, fields=["storage_class"]
    )
    plan = json.loads(json.dumps(await source.pin(backend, "plans")))
    items = [item for part in sources.cut(plan) async for item in with_stops(part, backend, stops)]
    is_all, has_versions = versions == "all", fields == VERSIONED
    expected = [
        item_of(row, versions=has_versions, is_all=is_all)
        for rows in files
        for row in rows
        if is_all or not has_versions or (row["is_latest"] and not row["is_delete_marker"])
    ]
    assert items == expected
    if keys_per_segment:
        sizes = [len([item async for item in sources.read_items(part, backend)]) for part in sources.cut(plan)]
        assert all(size == keys_per_segment for size in sizes[:-1])
