"""Rows of the files of an S3 Inventory: CSV, Parquet, and ORC."""

from __future__ import annotations

import csv
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from operator import itemgetter
from typing import Any, Final

from fanfold._base.thread_iterator import RemoteFile, iterate_in_thread
from fanfold._ports.stores import Store
from fanfold.errors import SourceError
from fanfold.sources.compression import CompressionError, expanded
from fanfold.sources.object_reads import lines_in, name_of, read_checked, read_ranges
from fanfold.sources.parquet_footer import first_line, pyarrow, read_footer

_SLICE_ROWS: Final = 4_096


async def rows_in(
    store: Store, file: Mapping[str, Any], form: str, fields: Sequence[str], wanted: Sequence[str]
) -> AsyncGenerator[Sequence[Sequence[Any]], None]:
    """Yield the rows of a file, several at a time, each with the values of the wanted fields.

    Args:
        store: The store.
        file: ``bucket``, ``key``, ``etag``, ``size``, and ``md5`` of the file.
        form: ``CSV``, ``Parquet``, or ``ORC``.
        fields: Names of the fields of a CSV file.
        wanted: Names of the wanted fields, at least two.

    Raises:
        SourceError: If the file is missing, was replaced, is damaged, or does not have the fields.
    """
    if form == "CSV":
        chunks = _csv_rows(store, file, len(fields), [fields.index(field) for field in wanted])
    else:
        chunks = _columnar_rows(store, file, form, wanted)
    async with aclosing(chunks):
        async for rows in chunks:
            yield rows


async def _csv_rows(
    store: Store, file: Mapping[str, Any], width: int, places: Sequence[int]
) -> AsyncGenerator[Sequence[Sequence[Any]], None]:
    name, number, chosen = name_of(file["bucket"], file["key"]), 0, itemgetter(*places)
    pieces = read_checked(store, file)
    text = expanded(pieces, "gzip") if file["key"].endswith(".gz") else pieces
    try:
        async with aclosing(pieces), aclosing(text), aclosing(lines_in(text, name)) as chunks:
            async for lines in chunks:
                rows = [row for row in csv.reader([line.decode() for line in lines], strict=True) if row]
                for row in rows:
                    number += 1
                    if len(row) != width:
                        raise SourceError(
                            f"{name}, row {number} has {len(row)} fields, but the schema of the manifest has {width}"
                        )
                yield [chosen(row) for row in rows]
    except CompressionError as error:
        raise SourceError(f"{name}: {error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{name}: malformed CSV after row {number}: {error}") from error


async def _columnar_rows(
    store: Store, file: Mapping[str, Any], form: str, wanted: Sequence[str]
) -> AsyncGenerator[Sequence[Sequence[Any]], None]:
    bucket, key, etag, size = file["bucket"], file["key"], file["etag"], file["size"]
    name = name_of(bucket, key)

    async def fetch(ranges: Sequence[tuple[int, int]]) -> Sequence[bytearray]:
        return await read_ranges(store, bucket, key, etag, ranges)

    tables = _orc_tables(store, file, name, wanted)
    if form == "Parquet":
        tables = await _parquet_tables(store, file, wanted)
    rows = iterate_in_thread(lambda remote: _slices(tables(remote)), size, fetch)
    async with aclosing(rows):
        async for chunk in rows:
            yield chunk


async def _parquet_tables(store: Store, file: Mapping[str, Any], wanted: Sequence[str]) -> Any:
    from fanfold.sources.parquet_rows import Reader

    footer = await read_footer(store, file["bucket"], file["key"], file["etag"], file["size"])
    footer.check_columns(wanted)
    reader = Reader(footer, [group.number for group in footer.groups(wanted)], wanted, (), as_rows=True)
    return lambda remote: (batch.table for batch in reader.batches(remote))


def _orc_tables(_store: Store, _file: Mapping[str, Any], name: str, wanted: Sequence[str]) -> Any:
    def tables(remote: RemoteFile) -> Iterator[Any]:
        pa, _ = pyarrow()
        from pyarrow import orc

        try:
            opened = orc.ORCFile(pa.PythonFile(remote, mode="r"))
            for column in wanted:
                if column not in opened.schema.names:
                    raise SourceError(f"{name} has no column {column!r}; it has {', '.join(opened.schema.names)}")
            for stripe in range(opened.nstripes):
                yield opened.read_stripe(stripe, columns=list(wanted)).select(list(wanted))
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{name} is not valid ORC: {first_line(error)}") from error

    return tables


def _slices(tables: Iterator[Any]) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the rows of Arrow record batches, as tuples."""
    for table in tables:
        for first in range(0, table.num_rows, _SLICE_ROWS):
            part = table.slice(first, _SLICE_ROWS)
            yield list(zip(*(column.to_pylist() for column in part.columns), strict=True))


async def counted_rows(
    chunks: AsyncIterator[Sequence[Sequence[Any]]], skip: int
) -> AsyncGenerator[Sequence[tuple[Sequence[Any], int]], None]:
    """Yield rows with their numbers, from 1, without the first ``skip`` ones."""
    count = 0
    async for rows in chunks:
        first = max(0, skip - count)
        yield list(zip(rows[first:], range(count + first + 1, count + len(rows) + 1), strict=True))
        count += len(rows)
