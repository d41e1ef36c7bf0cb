"""The footer of a Parquet object: its columns, its row groups, and which of them a filter can skip."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from fanfold._ports.stores import Store
from fanfold.errors import MissingExtraError, SourceError
from fanfold.sources.object_reads import name_of, read_range
from fanfold.sources.parquet_filter import Alternatives, columns_of, expression_of, mask_of

_TAIL_BYTES: Final = 65_536
"""Bytes of the first read, which contain most footers completely."""
_END_BYTES: Final = 8
"""Bytes after the metadata: their length, and the magic number."""
_MAGIC: Final = b"PAR1"
_ENCRYPTED: Final = b"PARE"


def pyarrow() -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        MissingExtraError: If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("parquet", "reading Parquet") from error
    return pa, parquet


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group, as far as planning needs it."""

    number: int
    """Its number in the object."""
    rows: int
    """Number of rows."""
    size_bytes: int
    """Bytes of the needed column chunks, as they are stored."""


class Footer:
    """The footer of an object.

    Args:
        name: The name of the object in errors.
        tail: The end of the object, from the start of the metadata or earlier.
        size_bytes: The size of the object.

    Raises:
        SourceError: If the object is not Parquet.
    """

    def __init__(self, name: str, tail: bytes, size_bytes: int) -> None:
        pa, parquet = pyarrow()
        self.name = name
        self.start: int = size_bytes - metadata_bytes(name, tail, size_bytes) - _END_BYTES
        """Position of the metadata in the object."""
        try:
            self.metadata: Any = parquet.read_metadata(pa.BufferReader(tail))
            self.schema: Any = self.metadata.schema.to_arrow_schema()
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{name} is not valid Parquet: {first_line(error)}") from error
        self._tail = tail
        names = self.schema.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SourceError(f"{self.name} has the column {twice!r} twice: rename one of them")

    def check_columns(self, columns: Sequence[str]) -> None:
        """Check that columns exist.

        Raises:
            SourceError: If one does not.
        """
        for column in columns:
            if column not in self.schema.names:
                raise SourceError(
                    f"{self.name} has no column {column!r}; it has {', '.join(map(repr, self.schema.names))}"
                )

    def check_filter(self, alternatives: Alternatives) -> None:
        """Check that each condition fits the type of its column.

        Raises:
            SourceError: If one does not; names the column.
        """
        pa, _ = pyarrow()
        self.check_columns(columns_of(alternatives))
        empty = self.schema.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], schema=self.schema)]
        for alternative in alternatives:
            for column, operator, value in alternative:
                try:
                    mask_of(empty[0], [[(column, operator, value)]])
                    for item in value if isinstance(value, list) else ():
                        mask_of(empty[0], [[(column, "==", item)]])
                except (pa.ArrowException, TypeError, OverflowError) as error:
                    kind = self.schema.field(column).type
                    raise SourceError(
                        f"{self.name}: column {column!r} of type {kind} cannot be compared by {operator} with "
                        f"{value!r}: change the filter"
                    ) from error

    def groups(self, columns: Sequence[str] | None, alternatives: Alternatives = ()) -> list[RowGroup]:
        """Return the row groups that have rows, without those whose statistics exclude every match.

        Args:
            columns: The needed columns; None for all.
            alternatives: The conditions of the filter; empty for none.
        """
        possible = self._possible(alternatives)
        leaves = leaves_of(self.metadata, columns)
        kept = []
        for number in range(self.metadata.num_row_groups):
            group = self.metadata.row_group(number)
            if not group.num_rows or (possible is not None and number not in possible):
                continue
            chunks = [group.column(leaf) for leaf in leaves]
            if elsewhere := next((chunk.file_path for chunk in chunks if chunk.file_path), None):
                raise SourceError(
                    f"{self.name}: its columns are in another object, {elsewhere!r}: read that one instead"
                )
            kept.append(RowGroup(number, group.num_rows, sum(chunk.total_compressed_size for chunk in chunks)))
        return kept

    def _possible(self, alternatives: Alternatives) -> set[int] | None:
        expression = expression_of(alternatives) if alternatives else None
        if expression is None:
            return None
        pa, _ = pyarrow()
        from pyarrow import dataset

        fragment = dataset.ParquetFileFormat().make_fragment(pa.BufferReader(self._tail))
        try:
            subset = fragment.subset(filter=expression, schema=self.schema)
        except pa.ArrowException:
            return None  # the types of the statistics cannot be compared: every row is checked
        return {group.id for group in subset.row_groups}


def leaves_of(metadata: Any, columns: Sequence[str] | None) -> list[int]:
    """Return the numbers of the column chunks of top-level columns; of all for None.

    If the name of a column contains a dot, the result may contain chunks of others.
    """
    paths = [metadata.schema.column(leaf).path for leaf in range(metadata.num_columns)]
    if columns is None:
        return list(range(len(paths)))
    beginnings = tuple(f"{column}." for column in columns)
    return [leaf for leaf, path in enumerate(paths) if path in columns or path.startswith(beginnings)]


def metadata_bytes(name: str, tail: bytes, size_bytes: int) -> int:
    """Return the length of the metadata, which precedes the last eight bytes.

    Raises:
        SourceError: If the bytes are not the end of a Parquet object.
    """
    if tail.endswith(_ENCRYPTED):
        raise SourceError(f"{name} has an encrypted footer, which fanfold cannot read: store it without encryption")
    length = int.from_bytes(tail[-_END_BYTES : -len(_MAGIC)], "little")
    if not tail.endswith(_MAGIC) or length + _END_BYTES > size_bytes:
        raise SourceError(f"{name} is not Parquet: it does not end with a Parquet footer")
    return length


async def read_footer(
    store: Store, bucket: str, key: str, etag: str, size_bytes: int, start: int | None = None
) -> Footer:
    """Read the footer of an object.

    Args:
        store: The store.
        bucket: The bucket.
        key: The key.
        etag: The pinned ETag.
        size_bytes: The size of the object.
        start: Position of the metadata, if it is known.

    Raises:
        SourceError: If the object is not Parquet, or was replaced or deleted since it was pinned.
    """
    name = name_of(bucket, key)

    async def read(first: int, stop: int) -> bytes:
        pieces = read_range(store, bucket, key, start=first, stop=stop, etag=etag)
        async with aclosing(pieces):
            return b"".join([piece async for piece in pieces])

    first = max(0, size_bytes - _TAIL_BYTES) if start is None else start
    tail = await read(first, size_bytes)
    needed = metadata_bytes(name, tail, size_bytes) + _END_BYTES
    if needed > len(tail):
        tail = await read(size_bytes - needed, first) + tail
    return Footer(name, tail, size_bytes)


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0]
