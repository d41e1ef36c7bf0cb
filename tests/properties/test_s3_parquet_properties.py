"""Parquet: whatever the table, the row groups, the cut, and the stops, every row is read once, equal to pyarrow's."""

import json
from datetime import UTC
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import S3Parquet, inmemory, sources
from fanfold._ports.backend import Backend
from fanfold.errors import SourceError
from parquet_tables import WRITING, read, tables, written
from stops import with_stops


def backend_with(objects: dict[str, bytes]) -> Backend:
    backend = inmemory.backend()
    backend.store.fill("b", objects)
    return backend


async def parts_of(source: S3Parquet, backend: Backend) -> list[Any]:
    plan = json.loads(json.dumps(await source.pin(backend, "plans")))
    return [json.loads(json.dumps(part)) for part in sources.cut(plan)]


async def read_with_stops(source: S3Parquet, backend: Backend, stops: list[int]) -> tuple[list[Any], str | None]:
    """Return the items of all segments, and the error that ended them."""
    items: list[Any] = []
    try:
        for part in await parts_of(source, backend):
            items += [item async for item in with_stops(part, backend, stops)]
    except SourceError as error:
        return items, str(error)
    return items, None


def readable(data: bytes, rows: int) -> pa.Table | None:
    """Return the table that pyarrow reads; None if it fails, as it does for some nested columns on tiny pages."""
    try:
        table = read(data)
    except (pa.ArrowException, OSError):
        return None
    return table if table.num_rows == rows else None


def rows_of(table: pa.Table | None) -> list[dict[str, Any]] | None:
    """Return pyarrow's own rows; None if Python cannot represent a value."""
    try:
        return None if table is None else table.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        return None


@given(
    table=tables(),
    options=WRITING,
    bytes_per_segment=st.sampled_from([1, 300, 10**9]),
    stops=st.lists(st.integers(1, 4), max_size=4),
)
@settings(max_examples=300)
async def test_every_row_is_read_once_and_equals_that_of_pyarrow(table, options, bytes_per_segment, stops):
    """Any table, written in any way and cut at any size, with continuations; or the error names object and column."""
    data = written(table, **options)
    backend = backend_with({"t.parquet": data})
    own = readable(data, table.num_rows)
    expected = rows_of(own)
    rows, error = await read_with_stops(
        S3Parquet("b", "t.parquet", bytes_per_segment=bytes_per_segment), backend, stops
    )
    if error is not None:
        assert expected is None, error
        assert "s3://b/t.parquet: row group " in error
        assert own is None or any(f"column {name!r}" in error for name in table.schema.names)
    elif own is None:
        assert len(rows) == table.num_rows
    else:
        assert repr(rows) == repr(expected)


@given(
    table=tables(),
    options=WRITING,
    bytes_per_segment=st.sampled_from([1, 300, 10**9]),
    stops=st.lists(st.integers(1, 2), max_size=3),
)
@settings(max_examples=100)
async def test_batches_are_the_table_that_pyarrow_reads(table, options, bytes_per_segment, stops):
    """Record batches represent every value, also nanoseconds and years after 9999."""
    data = written(table, **options)
    backend = backend_with({"t.parquet": data})
    source = S3Parquet("b", "t.parquet", yields="batches", bytes_per_segment=bytes_per_segment)
    expected = readable(data, table.num_rows)
    batches, error = await read_with_stops(source, backend, stops)
    if error is not None:
        assert expected is None, error
        assert "s3://b/t.parquet: row group " in error
        return
    if expected is None:
        assert sum(batch.num_rows for batch in batches) == table.num_rows
        return
    combined = pa.Table.from_batches(batches) if batches else expected.slice(0, 0)
    assert combined.schema.equals(expected.schema)
    assert texts_of(combined) == texts_of(expected)


def texts_of(table: pa.Table) -> list[str]:
    """Return each value as text, which is equal for NaN, too."""
    chunks = [
        table.column(number).slice(row, 1).combine_chunks()
        for number in range(table.num_columns)
        for row in range(table.num_rows)
    ]
    decoded = [chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk for chunk in chunks]
    return [chunk.to_string() for chunk in decoded]


NUMBERS = st.integers(-5, 5)
COMPARED = {
    pa.int32(): (NUMBERS, NUMBERS),
    pa.float64(): (NUMBERS.map(float) | st.just(float("nan")), NUMBERS.map(float)),
    pa.string(): (st.text("ab", max_size=2), st.text("ab", max_size=2)),
    pa.dictionary(pa.int8(), pa.string()): (st.text("ab", max_size=1), st.text("ab", max_size=1)),
    pa.date32(): (st.dates(), st.dates()),
    pa.decimal128(5, 2): (st.decimals(-9, 9, places=2), st.decimals(-9, 9, places=2)),
    pa.bool_(): (st.booleans(), st.booleans()),
    pa.binary(): (st.binary(max_size=1), st.binary(max_size=1)),
    pa.timestamp("us", "UTC"): (st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC))),
}
"""The values of a column, and those in conditions."""


@st.composite
def filtered(draw: st.DrawFn) -> tuple[pa.Table, list[Any]]:
    """Return a table of two columns and their row numbers, and conditions."""
    kinds = [draw(st.sampled_from(list(COMPARED))) for _ in "xy"]
    size = draw(st.integers(0, 12))
    columns = []
    for kind in kinds:
        items = st.lists(st.none() | COMPARED[kind][0], min_size=size, max_size=size)
        columns.append(pa.array(draw(items), kind, from_pandas=False))

    def condition() -> tuple[str, str, Any]:
        place = draw(st.integers(0, 1))
        operator = draw(st.sampled_from(sorted(OPERATORS)))
        value = COMPARED[kinds[place]][1]
        return "xy"[place], operator, draw(st.lists(value, min_size=1, max_size=3) if "in" in operator else value)

    alternatives = [[condition() for _ in range(draw(st.integers(1, 2)))] for _ in range(draw(st.integers(1, 2)))]
    return pa.Table.from_arrays([pa.array(range(size), pa.int64()), *columns], names=["n", "x", "y"]), alternatives


OPERATORS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
    "not in": lambda a, b: a not in b,
}


@given(case=filtered(), options=WRITING, stops=st.lists(st.integers(1, 3), max_size=3))
@settings(max_examples=300)
async def test_a_filter_selects_the_rows_that_meet_it(case, options, stops):
    """The rows are those that Python selects, whether row groups are skipped by their statistics or not."""
    table, alternatives = case
    backend = backend_with({"t.parquet": written(table, **options)})
    source = S3Parquet("b", "t.parquet", columns=["n"], filter=alternatives, bytes_per_segment=300)
    rows, error = await read_with_stops(source, backend, stops)
    expected = [
        row["n"]
        for row in table.to_pylist()
        if any(
            all(
                row[column] is not None and OPERATORS[operator](row[column], value)
                for column, operator, value in alternative
            )
            for alternative in alternatives
        )
    ]
    assert ([row["n"] for row in rows], error) == (expected, None)
