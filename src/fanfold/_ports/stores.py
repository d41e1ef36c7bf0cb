"""The interfaces of object stores and tables, named by role; see ``fanfold.protocols``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from fanfold.errors import FanfoldError


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """The metadata of an object."""

    size_bytes: int
    """The size of the object."""
    etag: str
    """The ETag, which changes when the object is replaced."""
    copy_of: str | None = None
    """ETag of the original, if the object was created by ``Store.copy``; None otherwise."""
    content_encoding: str | None = None
    """The value of its ``Content-Encoding`` header; None if it has none."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a listing."""

    key: str
    """The key of the object."""
    size_bytes: int
    """The size of the object."""
    etag: str
    """The ETag, in quotes, as in ``ObjectInfo``."""
    last_modified: float
    """When the object was last modified; seconds since 1970."""


class Store(Protocol):
    """Objects by key, in buckets. Every method raises ServiceError if the service failed."""

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """Return the metadata of an object.

        Raises:
            ObjectMissingError: If the object or the bucket does not exist.
        """
        ...

    async def read_start(self, bucket: str, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        """Return the metadata of an object and its first ``max_bytes`` bytes, at least 1, of the same version.

        Raises:
            ObjectMissingError: If the object or the bucket does not exist.
        """
        ...

    def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from ``start`` up to but not including ``stop`` (None: the end), in chunks of any size.

        A range past the end yields the bytes up to the end.

        Raises:
            ObjectMissingError: If the object or the bucket does not exist.
            ObjectChangedError: If its ETag is not ``etag``.
        """
        ...

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object.

        Raises:
            ObjectExistsError: If ``if_absent`` and the object exists; it is not changed.
            ObjectMissingError: If the bucket does not exist.
        """
        ...

    async def put_file(
        self, bucket: str, key: str, file: Path, *, content_type: str = "", if_absent: bool = False
    ) -> None:
        """Write a file as an object of any size, in constant memory.

        Raises:
            ObjectExistsError: If ``if_absent`` and the object exists; it is not changed.
            ObjectMissingError: If the bucket does not exist.
            OSError: If the file cannot be read.
        """
        ...

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncGenerator[Listed, None]:
        """Yield the objects whose keys begin with ``prefix`` and sort after ``start_after``.

        They are in the order of the UTF-8 bytes of their keys. Objects written or deleted meanwhile may or may not be
        listed.

        Raises:
            ObjectMissingError: If the bucket does not exist.
        """
        ...

    async def copy(
        self, bucket: str, key: str, to_bucket: str, to_key: str, *, etag: str, if_absent: bool = False
    ) -> None:
        """Copy an object of any size, with its metadata.

        The copy stores the ETag of its original (``ObjectInfo.copy_of``), because its own ETag may differ.

        Raises:
            ObjectExistsError: If ``if_absent`` and an object exists under the target key; it is not changed.
            ObjectMissingError: If the object or the bucket does not exist.
            ObjectChangedError: If the ETag of the original is not ``etag``; no copy is made.
        """
        ...

    async def delete_many(self, bucket: str, objects: Sequence[tuple[str, str | None]]) -> Mapping[int, FanfoldError]:
        """Delete 1 to 1,000 objects, each specified by its key and its required ETag, or None for any ETag.

        Returns:
            The errors of the objects that were not deleted, by position: ObjectChangedError if the ETag differs. A
            missing object is not an error.

        Raises:
            ObjectMissingError: If the bucket does not exist.
        """
        ...


@dataclass(frozen=True, slots=True)
class TableInfo:
    """The metadata of a table, or of one of its indexes."""

    keys: Sequence[str]
    """Names of the key attributes: those of the table and, for an index, also those of the index."""
    size_bytes: int
    """Approximate size; DynamoDB updates it about every six hours."""
    items: int
    """Approximate number of items; updated about every six hours."""


@dataclass(frozen=True, slots=True)
class Page:
    """The response to one request of a scan."""

    items: Sequence[Mapping[str, Any]]
    """Items as Python values: numbers are ``Decimal``, binaries ``bytes``, sets ``set``."""
    next: Mapping[str, Any] | None
    """Start of the next page: the key of the item before it, in DynamoDB JSON, binaries in base64; None for the last
    page."""
    read_units: float
    """Read capacity units consumed."""


class Tables(Protocol):
    """DynamoDB tables to read. Every method raises ServiceError if the service failed."""

    async def describe(self, table: str, index: str | None = None) -> TableInfo:
        """Return the metadata of a table or of one of its indexes.

        Raises:
            ConfigurationError: If the table or index does not exist, or access to it is denied.
        """
        ...

    async def scan(self, request: Mapping[str, Any], start: Mapping[str, Any] | None) -> Page:
        """Return a page of a segment of a scan, at most 1 MB before filtering.

        Args:
            request: ``table``, ``segment``, ``segments``, and, unless they are None, ``index``, ``filter``, ``names``,
                ``values`` (from ``to_json``), ``attributes``, ``consistent``, ``page_items``.
            start: Start of the page: the key of the item before it, in the form of ``Page.next``; None for the first
                page.
        """
        ...

    def to_json(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return Python values in DynamoDB JSON, binaries in base64.

        Raises:
            ConfigurationError: If DynamoDB does not support the type of a value.
        """
        ...


@runtime_checkable
class SelectStore(Store, Protocol):
    """A store that runs SQL on an object: S3, for accounts that still have S3 Select."""

    def select(
        self, bucket: str, key: str, expression: str, *, kind: str, compression: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the result of an S3 Select query of an object, as JSON Lines, in chunks of any size.

        Args:
            bucket: The bucket of the object.
            key: The key of the object.
            expression: The SQL expression.
            kind: Format of the object: ``csv`` with a header, ``jsonl``, or ``parquet``.
            compression: ``gzip`` or ``bzip2``; None for none.

        Raises:
            ObjectMissingError: If the object or the bucket does not exist.
            ServiceError: If S3 refuses the SQL or fails while running it, or the response ends without its end event.
            ConfigurationError: If the account has no S3 Select.
        """
        ...


@dataclass(frozen=True, slots=True)
class Write:
    """An item to write to a table or to delete from it."""

    key: Mapping[str, Any]
    """The key of the item: the values of the key attributes by name."""
    item: Mapping[str, Any] | None
    """The item, key included, with values of ``str``, ``int``, ``Decimal``, ``bool``, ``None``, ``bytes``, and dicts,
    lists, and sets of them; None to delete the item of the key."""


class ItemStore(Protocol):
    """Items by key, in tables. Every method raises ServiceError if the service failed."""

    async def write_batch(self, table: str, writes: Sequence[Write]) -> Collection[int]:
        """Put or delete 1 to 25 items with distinct keys; return the positions of those not written.

        The call is idempotent: it replaces existing items.

        Raises:
            ServiceError: If the call failed; some items may have been written nevertheless.
            ConfigurationError: If the table does not exist or access to it is denied.
        """
        ...
