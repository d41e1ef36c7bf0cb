"""Arrow tables of any type that Parquet can store, and how pyarrow writes and reads them."""

import io
from decimal import Decimal
from itertools import accumulate
from typing import Any

import pyarrow as pa
from hypothesis import reject
from hypothesis import strategies as st
from pyarrow import parquet

INT64 = st.integers(-(2**63), 2**63 - 1)
NEAR = st.integers(-(10**15), 10**15)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
UNITS = ("s", "ms", "us", "ns")
ZONES = (None, "UTC", "Europe/Oslo", "+05:30")


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    return st.integers(-most, most).map(lambda number: Decimal(f"{number}E-{scale}"))


def temporal(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Return arrays' values of a temporal type as integers in its unit."""
    if pa.types.is_time(kind):
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        return st.integers(0, 86_399 * per_second)
    if pa.types.is_date64(kind):
        return st.integers(-20_000, 20_000).map(lambda days: days * 86_400_000)
    if pa.types.is_date32(kind):
        return st.integers(-700_000, 2_900_000) | st.integers(-(2**31), 2**31 - 1)
    in_range = NEAR.map(lambda number: number // 10**6) if kind.unit == "s" else NEAR
    return in_range | in_range.map(lambda number: number * 1_000) | INT64


SIMPLE = {
    pa.bool_(): st.booleans(),
    pa.int8(): st.integers(-128, 127),
    pa.uint16(): st.integers(0, 2**16 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): INT64,
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.string_view(): TEXT,
    pa.binary(): st.binary(max_size=8),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.decimal128(10, 2): decimals(10, 2),
    pa.decimal128(38, 20): decimals(38, 20),
    pa.decimal256(60, 5): decimals(60, 5),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["a", "b", ""]),
    pa.uuid(): st.uuids().map(lambda value: value.bytes),
    pa.null(): st.none(),
}
TEMPORAL = [
    pa.date32(),
    pa.date64(),
    *(pa.time32(unit) for unit in UNITS[:2]),
    *(pa.time64(unit) for unit in UNITS[2:]),
    *(pa.timestamp(unit, zone) for unit in UNITS for zone in ZONES),
    *(pa.duration(unit) for unit in UNITS),
]


@st.composite
def types(draw: st.DrawFn, depth: int = 2) -> pa.DataType:
    simple = st.sampled_from([*SIMPLE, *TEMPORAL])
    if not depth or draw(st.booleans()):
        return draw(simple)
    # A dictionary or an extension inside of another type is read as its plain values.
    inner = draw(types(depth - 1).filter(lambda kind: not pa.types.is_dictionary(kind) and kind != pa.uuid()))
    make = draw(
        st.sampled_from(
            [
                pa.list_,
                pa.large_list,
                lambda kind: pa.list_(kind, 2),
                lambda kind: pa.struct([("x", kind), ("y", pa.int8())]),
                lambda kind: pa.map_(pa.string(), kind),
            ]
        )
    )
    return make(inner)


def values(kind: pa.DataType, *, nullable: bool = True) -> st.SearchStrategy[Any]:
    """Return the values of a type, in the form that ``array_of`` takes."""
    if pa.types.is_struct(kind):
        some = st.fixed_dictionaries({field.name: values(field.type) for field in kind})
    elif pa.types.is_map(kind):
        some = st.lists(st.tuples(TEXT, values(kind.item_type)), max_size=2)
    elif pa.types.is_fixed_size_list(kind):
        some = st.lists(values(kind.value_type), min_size=2, max_size=2)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        some = st.lists(values(kind.value_type), max_size=3)
    else:
        some = SIMPLE[kind] if kind in SIMPLE else temporal(kind)
    return st.none() | some if nullable else some


def array_of(kind: pa.DataType, items: list[Any]) -> pa.Array:
    """Return an array; temporal values are integers."""
    if pa.types.is_nested(kind):
        return nested_array_of(kind, items)
    if pa.types.is_temporal(kind):
        width = pa.int32() if kind in {pa.date32(), pa.time32("s"), pa.time32("ms")} else pa.int64()
        return pa.array(items, width).view(kind)
    if kind == pa.uuid():
        return pa.ExtensionArray.from_storage(kind, pa.array(items, pa.binary(16)))
    return pa.array(items, kind)


def nested_array_of(kind: pa.DataType, items: list[Any]) -> pa.Array:
    mask = pa.array([item is None for item in items], pa.bool_())
    if pa.types.is_struct(kind):
        columns = [
            array_of(field.type, [None if item is None else item[field.name] for item in items]) for field in kind
        ]
        return pa.StructArray.from_arrays(columns, fields=list(kind), mask=mask)
    if pa.types.is_fixed_size_list(kind):
        values_ = [value for item in items for value in (item or [None, None])]
        return pa.FixedSizeListArray.from_arrays(array_of(kind.value_type, values_), kind.list_size, mask=mask)
    flat = [value for item in items for value in item or []]
    offsets = list(accumulate((len(item or []) for item in items), initial=0))
    if pa.types.is_map(kind):
        keys = pa.array([key for key, _ in flat], pa.string())
        made = array_of(kind.item_type, [value for _, value in flat])
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, made, mask=mask)
    if pa.types.is_large_list(kind):
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), array_of(kind.value_type, flat), mask=mask)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), array_of(kind.value_type, flat), mask=mask)


@st.composite
def tables(draw: st.DrawFn, max_rows: int = 12) -> pa.Table:
    """Return a table of some columns of any type."""
    names = draw(st.lists(st.sampled_from(["a", "b", "a.b", "日本", "x y", ""]), min_size=1, max_size=3, unique=True))
    rows = draw(st.integers(0, max_rows))
    columns = []
    for _ in names:
        kind = draw(types())
        columns.append(array_of(kind, draw(st.lists(values(kind), min_size=rows, max_size=rows))))
    return pa.Table.from_arrays(columns, names=names)


WRITING = st.fixed_dictionaries(
    {
        "row_group_size": st.integers(1, 5),
        "compression": st.sampled_from(["none", "snappy", "gzip", "zstd"]),
        "use_dictionary": st.booleans(),
        "data_page_size": st.sampled_from([1, 100, 1_000_000]),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "write_statistics": st.booleans(),
        "write_page_checksum": st.booleans(),
        "store_schema": st.booleans(),
    }
)


def written(table: pa.Table, **options: Any) -> bytes:
    """Return a table as Parquet; discard the example if pyarrow cannot write it."""
    out = io.BytesIO()
    try:
        parquet.write_table(table, out, **options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # such as seconds that overflow as milliseconds
        reject()
    return out.getvalue()


def read(data: bytes) -> pa.Table:
    """Return the table that pyarrow reads."""
    return parquet.ParquetFile(io.BytesIO(data)).read()
