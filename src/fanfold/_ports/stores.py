"""What fanfold asks of objects and of tables, named by role; see ``fanfold.protocols``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from fanfold.errors import FanfoldError


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object without reading it."""

    size_bytes: int
    """Its size."""
    etag: str
    """Changes when the object is replaced."""
    copy_of: str | None = None
    """ETag of the object that ``Store.copy`` made it from; None for one that was not made so."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, as a listing tells of it."""

    key: str
    """Its key."""
    size_bytes: int
    """Its size."""
    etag: str
    """Its ETag, in quotes, as ``ObjectInfo`` has it."""
    last_modified: float
    """When it was written; seconds since 1970."""


class Store(Protocol):
    """Objects under keys, in buckets. Every method raises ServiceError if the service failed."""

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """Return what is known of an object.

        Raises:
            ObjectMissingError: If there is no such object or bucket.
        """
        ...

    def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from ``start`` up to but not including ``stop`` (None: the end), in pieces of any size.

        A range past the end yields what there is.

        Raises:
            ObjectMissingError: If there is no such object or bucket.
            ObjectChangedError: If its ETag is not ``etag``.
        """
        ...

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object.

        Raises:
            ObjectExistsError: If ``if_absent`` and there already is one; it is left as it was.
            ObjectMissingError: If there is no such bucket.
        """
        ...

    async def put_file(
        self, bucket: str, key: str, file: Path, *, content_type: str = "", if_absent: bool = False
    ) -> None:
        """Write a file as an object of any size, in flat memory.

        Raises:
            ObjectExistsError: If ``if_absent`` and there already is one; it is left as it was.
            ObjectMissingError: If there is no such bucket.
            OSError: If the file cannot be read.
        """
        ...

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncGenerator[Listed, None]:
        """Yield the objects whose keys begin with ``prefix`` and come after ``start_after``.

        They come in the order of their keys' UTF-8 bytes. What is written or deleted meanwhile may be listed or not.

        Raises:
            ObjectMissingError: If there is no such bucket.
        """
        ...

    async def copy(
        self, bucket: str, key: str, to_bucket: str, to_key: str, *, etag: str, if_absent: bool = False
    ) -> None:
        """Copy an object of any size, with its metadata.

        The copy tells from then on what it is a copy of (``ObjectInfo.copy_of``): its own ETag need not be that of the
        original.

        Raises:
            ObjectExistsError: If ``if_absent`` and there already is one under the other key; it is left as it was.
            ObjectMissingError: If there is no such object or bucket.
            ObjectChangedError: If the original's ETag is not ``etag``; nothing is copied.
        """
        ...

    async def delete_many(self, bucket: str, objects: Sequence[tuple[str, str | None]]) -> Mapping[int, FanfoldError]:
        """Delete 1 to 1,000 objects, each given as its key, and the ETag it must have or None for any.

        Returns:
            Why, by position, for those not deleted: ObjectChangedError where the ETag is another one. An object that is
            already gone is no fault.

        Raises:
            ObjectMissingError: If there is no such bucket.
        """
        ...


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What is known of a table, or of one of its indexes, without reading it."""

    keys: Sequence[str]
    """Names of the attributes that say where an item stands: the table's key and, for an index, the index's too."""
    size_bytes: int
    """Its size, about; DynamoDB updates it some six hours apart."""
    items: int
    """Its items, about; likewise."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one request of a scan gave."""

    items: Sequence[Mapping[str, Any]]
    """Items as plain Python values: numbers are ``Decimal``, binaries ``bytes``, sets ``set``."""
    next: Mapping[str, Any] | None
    """Where the next page begins: the key of the item before it, in DynamoDB's JSON, binaries in base64; None for the
    last page."""
    read_units: float
    """Read capacity units that it took."""


class Tables(Protocol):
    """DynamoDB tables to be read. Every method raises ServiceError if the service failed."""

    async def describe(self, table: str, index: str | None = None) -> TableInfo:
        """Return what is known of a table or of one of its indexes.

        Raises:
            ConfigurationError: If there is no such table or index, or it may not be read.
        """
        ...

    async def scan(self, wanted: Mapping[str, Any], start: Mapping[str, Any] | None) -> Page:
        """Return a page of a segment of a scan, at most 1 MB before filtering.

        Args:
            wanted: ``table``, ``segment``, ``segments`` and, where they are not None, ``index``, ``filter``, ``names``,
                ``values`` (as ``to_json`` gave them), ``attributes``, ``consistent``, ``page_items``.
            start: Where the page begins: the key of the item before it, in the form of ``Page.next``; None for the
                beginning.
        """
        ...

    def to_json(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return plain Python values in DynamoDB's JSON, binaries in base64.

        Raises:
            ConfigurationError: If DynamoDB has no type for a value.
        """
        ...


@runtime_checkable
class SelectStore(Store, Protocol):
    """A store that runs SQL over an object: S3, for accounts that still have S3 Select."""

    def select(
        self, bucket: str, key: str, expression: str, *, kind: str, compression: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield what S3 Select's SQL gives for an object, as JSON Lines, in pieces of any size.

        Args:
            bucket: The object's bucket.
            key: Its key.
            expression: The SQL.
            kind: What the object is: ``csv`` with a header, ``jsonl`` or ``parquet``.
            compression: ``gzip`` or ``bzip2``; None for none.

        Raises:
            ObjectMissingError: If there is no such object or bucket.
            ServiceError: If S3 refuses the SQL or stops amid it, or the answer ends without saying that it is whole.
            ConfigurationError: If the account has no S3 Select.
        """
        ...


@dataclass(frozen=True, slots=True)
class Write:
    """One item to be written to a table, or deleted from it."""

    key: Mapping[str, Any]
    """Its key: the values of the table's key attributes by name."""
    item: Mapping[str, Any] | None
    """The whole item, key included: values of ``str``, ``int``, ``Decimal``, ``bool``, ``None``, ``bytes``, and dicts,
    lists and sets of them; None to delete what lies under the key."""


class ItemStore(Protocol):
    """Items under keys, in tables. Every method raises ServiceError if the service failed."""

    async def write_batch(self, table: str, writes: Sequence[Write]) -> Collection[int]:
        """Write 1 to 25 items of different keys, over what the keys held; return the positions of those not written.

        Writing the same again changes nothing.

        Raises:
            ServiceError: If the call failed; some items may have been written all the same.
            ConfigurationError: If the table does not exist or may not be written to.
        """
        ...
