"""Rows of the row groups of one Parquet object, decoded batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, Final

from fanfold._base.thread_iterator import RemoteFile
from fanfold.errors import SourceError
from fanfold.sources.arrow_types import in_microseconds
from fanfold.sources.parquet_filter import Alternatives, columns_of, mask_of
from fanfold.sources.parquet_footer import Footer, first_line, leaves_of, pyarrow

PREFETCH_BYTES: Final = 16_000_000
"""Needed bytes of a row group up to which it is fetched completely before it is decoded; of a larger one, each column
is fetched in windows, which together have this size."""
_MIN_WINDOW_BYTES: Final = 262_144
_GAP_BYTES: Final = 65_536
"""Largest gap between two ranges that are fetched as one."""
_BATCH_BYTES: Final = 4_000_000
"""Approximate size of a batch of decoded rows."""
_BATCH_ROWS: Final = 16_384
_SLICE_ROWS: Final = 1_024
"""Rows that are Python values at a time."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a row group."""

    name: str
    """The name of the object."""
    group: int
    """Number of the row group."""
    group_start: int
    """Rows of earlier row groups of the piece."""
    table: Any
    """The rows, as an Arrow record batch."""
    marks: Sequence[int]
    """For each row, the rows of the piece up to and including it; rows that the filter excludes also count."""
    last_mark: int
    """The rows of the piece up to the end of the batch."""

    def rows(self) -> Iterator[tuple[Iterable[dict[str, Any]], Sequence[int]]]:
        """Yield the rows, some at a time, as dicts of Python values, and their marks.

        Raises:
            SourceError: If Python has no equal value; names the object, row group, row, and column.
        """
        names = self.table.schema.names
        for first in range(0, self.table.num_rows, _SLICE_ROWS):
            part = self.table.slice(first, _SLICE_ROWS)
            columns = [self._values(name, part.column(number), first) for number, name in enumerate(names)]
            # Without a frame per row, which costs as much as the row.
            rows = map(dict, map(zip, repeat(names), zip(*columns, strict=True)))
            yield rows, self.marks[first : first + _SLICE_ROWS]

    def _values(self, name: str, column: Any, first: int) -> list[Any]:
        pa, _ = pyarrow()
        try:
            values: list[Any] = column.to_pylist()
        except (ValueError, OverflowError, LookupError, TypeError, pa.ArrowException) as error:
            row = self.marks[first + _first_misfit(column)] - 1 - self.group_start
            raise SourceError(
                f"{self.name}: row group {self.group}, row {row}, column {name!r} of type {column.type}: "
                f"{first_line(error)}: use yields='batches', or leave the column out with columns="
            ) from error
        return values


class Reader:
    """Decodes row groups of one object; for use in the thread of ``iterate_in_thread``.

    Args:
        footer: The footer of the object.
        groups: Numbers of the row groups.
        columns: Names of the columns; None for all.
        alternatives: The conditions of the filter; empty for none.
        exact: Whether rows become Python values, so that nanoseconds are converted to microseconds.
    """

    def __init__(
        self,
        footer: Footer,
        groups: Sequence[int],
        columns: Sequence[str] | None,
        alternatives: Alternatives,
        *,
        as_rows: bool,
    ) -> None:
        self._footer = footer
        self._groups = groups
        self._columns = list(footer.schema.names if columns is None else columns)
        self._needed = list(dict.fromkeys([*self._columns, *columns_of(alternatives)]))
        self._alternatives = alternatives
        self._as_rows = as_rows
        leaves = leaves_of(footer.metadata, self._needed)
        self._leaves = leaves
        self._window_bytes = max(_MIN_WINDOW_BYTES, PREFETCH_BYTES // max(1, len(leaves)))
        paths = [footer.metadata.schema.column(leaf) for leaf in leaves]
        int96 = [path.path for path in paths if path.physical_type == "INT96"]
        self._int96 = [name for name in self._needed if any(p == name or p.startswith(f"{name}.") for p in int96)]

    def batches(self, file: RemoteFile, skip: int = 0) -> Iterator[Batch]:
        """Yield the rows after the first ``skip`` rows.

        Raises:
            SourceError: If a row group is damaged, or a value has no equal one; names row group and column.
        """
        start = 0
        for number in self._groups:
            group = self._footer.metadata.row_group(number)
            if start + group.num_rows > skip:
                ranges = self._ranges(group)
                file.load(ranges)
                # Without a buffer, the decoder uses the fetched bytes in place.
                opened = partial(self._open, file, 0 if ranges else self._window_bytes)
                yield from self._group(opened, number, start, skip)
            start += group.num_rows

    def _group(self, opened: Callable[..., Any], number: int, start: int, skip: int) -> Iterator[Batch]:
        pa, _ = pyarrow()
        position = start
        try:
            for table in self._tables(opened, number):
                first, position = position, position + table.num_rows
                if position > skip:
                    yield from self._batch(table.slice(max(0, skip - first)), number, start, max(first, skip))
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(opened, number, first_line(error)) from error
        if position - start != self._footer.metadata.row_group(number).num_rows:
            raise self._damaged(opened, number, "the number of rows differs from that in the footer")

    def _batch(self, table: Any, number: int, start: int, first: int) -> Iterator[Batch]:
        last = first + table.num_rows
        marks: Sequence[int] = range(first + 1, last + 1)
        if self._alternatives:
            import pyarrow.compute as pc

            mask = mask_of(table, self._alternatives)
            marks = [marks[row] for row in pc.indices_nonzero(mask).to_pylist()]
            if not marks:
                return
            table = table.filter(mask)
        table = table.select(self._columns)
        if self._as_rows:
            table = self._exact(table, number)
        yield Batch(self._footer.name, number, start, table, marks, last)

    def _tables(self, opened: Callable[..., Any], number: int) -> Iterator[Any]:
        """Yield the record batches of a row group; timestamps of type INT96 are checked, and in microseconds."""
        options = {"batch_size": self._batch_rows(number), "row_groups": [number], "use_threads": False}
        tables: Iterable[Any] = opened().iter_batches(columns=self._needed, **options)
        if not self._int96:
            yield from tables
            return
        exact = opened(int96_unit="ns").iter_batches(columns=self._int96, **options)
        for table, checks in zip(tables, exact, strict=True):
            for name in self._int96:
                check = checks.column(name)
                # Nanoseconds overflow outside of 1677 to 2262, and the conversion in the same way. Some releases of
                # pyarrow read fractions of seconds before 1970 wrongly in microseconds.
                if not table.column(name).cast(check.type, safe=False).equals(check):
                    raise self._misfit(number, name, "a timestamp of type INT96 is not exact in microseconds")
            yield table

    def _exact(self, table: Any, number: int) -> Any:
        """Return a record batch with microseconds in place of nanoseconds."""
        pa, _ = pyarrow()
        columns = []
        for field, column in zip(table.schema, table.columns, strict=True):
            kind = in_microseconds(field.type)
            try:
                columns.append(column if kind.equals(field.type) else column.cast(kind))
            except pa.ArrowException as error:
                raise self._misfit(number, field.name, first_line(error)) from error
        return pa.RecordBatch.from_arrays(columns, names=table.schema.names)

    def _misfit(self, number: int, name: str, reason: str) -> SourceError:
        return SourceError(
            f"{self._footer.name}: row group {number}, column {name!r}: {reason}, which Python cannot represent: "
            + ("use yields='batches', or " if self._as_rows and name not in self._int96 else "")
            + "leave the column out with columns="
        )

    def _damaged(self, opened: Callable[..., Any], number: int, reason: str) -> SourceError:
        """Return the error for a row group that cannot be decoded, with the first column that cannot."""
        pa, _ = pyarrow()
        expected = self._footer.metadata.row_group(number).num_rows

        def is_readable(name: str) -> bool:
            try:
                batches = opened().iter_batches(batch_size=_BATCH_ROWS, row_groups=[number], columns=[name])
                return bool(sum(table.num_rows for table in batches) == expected)
            except (pa.ArrowException, OSError):
                return False

        place = next((f", column {name!r}" for name in self._needed if not is_readable(name)), "")
        return SourceError(f"{self._footer.name}: row group {number}{place}: {reason}")

    def _open(self, file: RemoteFile, buffer_bytes: int, int96_unit: str = "us") -> Any:
        pa, parquet = pyarrow()
        return parquet.ParquetFile(
            pa.PythonFile(file, mode="r"),
            metadata=self._footer.metadata,
            buffer_size=buffer_bytes,
            pre_buffer=False,
            coerce_int96_timestamp_unit=int96_unit,
            page_checksum_verification=True,
        )

    def _batch_rows(self, number: int) -> int:
        group = self._footer.metadata.row_group(number)
        size = sum(group.column(leaf).total_uncompressed_size for leaf in self._leaves)
        rows: int = _BATCH_BYTES * group.num_rows // max(1, size)
        return max(1, min(_BATCH_ROWS, rows))

    def _ranges(self, group: Any) -> list[tuple[int, int]]:
        """Return the byte ranges of the needed columns to fetch in advance, none if they are too large."""
        ranges: list[tuple[int, int]] = []
        for start, stop in sorted(_range_of(group.column(leaf)) for leaf in self._leaves):
            if ranges and start - ranges[-1][1] <= _GAP_BYTES:
                ranges[-1] = (ranges[-1][0], max(stop, ranges[-1][1]))
            else:
                ranges.append((start, stop))
        return ranges if sum(stop - start for start, stop in ranges) <= PREFETCH_BYTES else []


def _range_of(chunk: Any) -> tuple[int, int]:
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset:  # some writers state 0 for none
        start = min(start, chunk.dictionary_page_offset)
    return start, start + chunk.total_compressed_size


def _first_misfit(column: Any) -> int:
    """Return the number of the first value that has no equal Python value; 0 if there is none."""
    return next((number for number, value in enumerate(column) if not _has_value(value)), 0)


def _has_value(scalar: Any) -> bool:
    try:
        scalar.as_py()
    except Exception:  # noqa: BLE001 - the same errors as of the whole column
        return False
    return True
