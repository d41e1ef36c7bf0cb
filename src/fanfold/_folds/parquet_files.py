"""Write rows to a Parquet file; a column has one type, which depends on all its values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from fanfold._base.json_problems import place_of
from fanfold._folds.column_kinds import Kind
from fanfold._folds.column_types import excerpt, typed
from fanfold._folds.row_files import misfit, plain_row
from fanfold.errors import MissingExtraError, SegmentError

PARQUET_GROUP_ROWS: Final = 20_000
"""Rows in memory, and in one row group of a Parquet file."""


def write_parquet(
    path: Path, rows: Callable[[], Iterable[Any]], columns: Sequence[str] | None, types: Mapping[str, str]
) -> int:
    """Write rows as Parquet, in row groups of 20,000; return the number of rows.

    The rows are read twice, because the type of a column depends on all its values.

    Args:
        path: The file.
        rows: Returns a new iterator over the rows, which are dicts, at each call.
        columns: Names of the columns; other values are left out. None for all columns of all rows.
        types: Declared types of columns.

    Raises:
        MissingExtraError: If pyarrow is not installed.
        SegmentError: If a row is not a dict, or the values of a column have no common type; names the row and the
            column.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("parquet", "writing Parquet") from error
    kinds: dict[str, Kind] = {} if columns is None else {name: Kind() for name in columns}
    count = 0
    for row in rows():
        _add(row, count, kinds, columns, types)
        count += 1
    try:
        schema = pa.schema([(name, _column(pa, kind, name, types.get(name))) for name, kind in kinds.items()])
        with parquet.ParquetWriter(str(path), schema) as writer:
            for group in _groups(rows(), types):
                writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=PARQUET_GROUP_ROWS)
    except (pa.ArrowException, OverflowError) as error:
        raise SegmentError(f"the rows cannot be written as Parquet: {error}") from error
    return count


def check_parquet(rows: Iterable[Any], columns: Sequence[str] | None, types: Mapping[str, str]) -> list[Any]:
    """Return rows as JSON values; a decimal, a date, or a time of a column with a declared type becomes its text.

    Raises:
        SegmentError: If ``write_parquet`` would refuse these rows.
    """
    kinds: dict[str, Kind] = {}
    checked: list[Any] = []
    for number, row in enumerate(rows):
        _add(row, number, kinds, columns, types)
        checked.append(plain_row(row, row if columns is None else columns, number, types))
    return checked


def _add(
    row: Any, number: int, kinds: dict[str, Kind], columns: Sequence[str] | None, types: Mapping[str, str]
) -> None:
    """Include the values of a row in the kinds of their columns."""
    if not isinstance(row, dict):
        raise SegmentError(f"row {number} is not an object: {excerpt(row)}")
    for name in row if columns is None else columns:
        if name not in kinds:
            kinds[name] = Kind()
        value = row.get(name)
        if name in types:
            try:
                value = typed(value, types[name])
            except ValueError as error:
                raise misfit(number, name, str(error)) from error
        kinds[name].add(value, number, (name,))


def _groups(rows: Iterable[Any], types: Mapping[str, str]) -> Iterator[list[Mapping[str, Any]]]:
    remaining = iter(rows)
    while group := list(islice(remaining, PARQUET_GROUP_ROWS)):
        if not types:
            yield group
            continue
        yield [
            {name: typed(value, types[name]) if name in types else value for name, value in row.items()}
            for row in group
        ]


def _column(pa: Any, kind: Kind, name: str, declared: str | None) -> Any:
    """Return the Arrow type of a column: that of its values, or the declared one."""
    if declared is None or (declared == "decimal" and kind.name is not None):
        return _type(pa, kind, (name,))
    return _simple(pa, declared, kind)


def _type(pa: Any, kind: Kind, path: tuple[str | int, ...]) -> Any:
    if kind.name is None:
        return pa.null()
    if kind.name == "list":
        return pa.list_(_type(pa, kind.element or Kind(), (*path, 0)))
    if kind.name != "object":
        return _simple(pa, kind.name, kind)
    if not kind.members:
        raise SegmentError(
            f"{place_of((kind.row, *path))}: an empty object, as in every other row, has no Parquet type: leave the "
            "column out by columns=, or return None"
        )
    return pa.struct([(name, _type(pa, member, (*path, name))) for name, member in kind.members.items()])


def _simple(pa: Any, name: str, kind: Kind) -> Any:
    if kind.name == "decimal":
        precision = max(1, kind.digits + kind.scale)
        return (
            pa.decimal128(precision, kind.scale) if precision <= _DECIMAL128 else pa.decimal256(precision, kind.scale)
        )
    return {
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "string": pa.string(),
        "decimal": pa.decimal128(_DECIMAL128, 0),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "datetime": pa.timestamp("us"),
        "timestamp": pa.timestamp("us", tz="UTC"),
    }[name]


_DECIMAL128: Final = 38
"""Maximum digits of a ``decimal128``."""
