"""In-memory tables with the same contracts as those in DynamoDB: scans, batch writes, idempotency entries."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

from fanfold._base import aws_limits
from fanfold._ports.idempotency import IN_PROGRESS, Entry
from fanfold._ports.stores import Page, TableInfo, Write
from fanfold.errors import ConfigurationError, ServiceError


class InMemoryTables:
    """Tables in dicts, for scans in segments; without filter expressions."""

    def __init__(self, **tables: tuple[Sequence[str], Sequence[Mapping[str, Any]]]) -> None:
        self._tables = {name: (tuple(keys), list(items)) for name, (keys, items) in tables.items()}

    async def describe(self, table: str, index: str | None = None) -> TableInfo:
        """Return the keys, the size and the item count of a table. Indexes are not supported."""
        if table not in self._tables or index is not None:
            raise ConfigurationError(f"table {table}: does not exist" + (f" with the index {index!r}" if index else ""))
        keys, items = self._tables[table]
        return TableInfo(keys, sum(len(repr(item)) for item in items), len(items))

    async def scan(self, query: Mapping[str, Any], start: Mapping[str, Any] | None) -> Page:
        """Return one page of a segment: the items whose first key has a hash in it, ordered by hash."""
        if "filter" in query:
            raise ConfigurationError(
                "in-memory tables do not support filter expressions; filter the items in the handler"
            )
        keys, items = self._tables[query["table"]]
        positions = sorted((_sort_key(item, keys), number) for number, item in enumerate(items))
        after = None if start is None else _sort_key({key: _plain(start[key]) for key in keys}, keys)
        remaining = [
            number
            for sort_key, number in positions
            if int(sort_key[0], 16) % query["segments"] == query["segment"] and (after is None or sort_key > after)
        ]
        limit = query.get("page_items") or 100
        attributes = query.get("attributes")
        page = [items[number] for number in remaining[:limit]]
        return Page(
            items=[{name: item[name] for name in item if attributes is None or name in attributes} for item in page],
            next={key: _typed(page[-1][key]) for key in keys} if len(remaining) > limit else None,
            read_units=max(0.5, len(page) / 2),
        )

    def to_json(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Convert strings, numbers and binaries to DynamoDB's JSON."""
        return {name: _typed(value) for name, value in values.items()}


class InMemoryItems:
    """Tables in dicts, for batch writes."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[Any, ...], Mapping[str, Any]]] = {}
        """Items by table name, then by the values of their key attributes."""

    async def write_batch(self, table: str, writes: Sequence[Write]) -> Collection[int]:
        """Put or delete items; the first write to a table creates it."""
        keys = [tuple(write.key.values()) for write in writes]
        if not 1 <= len(writes) <= aws_limits.DYNAMODB_BATCH_ITEMS or len(set(keys)) < len(keys):
            raise ServiceError(
                "a batch must have 1 to 25 items with different keys", code="ValidationException", transient=False
            )
        items = self.tables.setdefault(table, {})
        for key, write in zip(keys, writes, strict=True):
            if write.item is None:
                items.pop(key, None)
            else:
                items[key] = write.item
        return ()


class InMemoryEntries:
    """Idempotency entries in a dict."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        """Entries by key."""

    async def read(self, keys: Sequence[str]) -> Sequence[Entry]:
        """Return the entries of keys, where they exist."""
        return [self.entries[key] for key in keys if key in self.entries]

    async def claim(self, entry: Entry, now: float) -> Entry | None:
        """Write an entry; if a completed or locked one exists, return that instead."""
        existing = self.entries.get(entry.key)
        if existing is not None and existing.owner != entry.owner and (existing.is_done(now) or existing.is_held(now)):
            return existing
        self.entries[entry.key] = entry
        return None

    async def complete(self, entries: Sequence[Entry]) -> Collection[int]:
        """Write entries unconditionally."""
        self.entries.update({entry.key: entry for entry in entries})
        return ()

    async def release(self, key: str, owner: str) -> None:
        """Delete an entry if it is in progress and still belongs to this owner."""
        existing = self.entries.get(key)
        if existing is not None and existing.owner == owner and existing.status == IN_PROGRESS:
            del self.entries[key]


def _sort_key(item: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    names = [repr(_typed(item[key])) for key in keys]
    return (hashlib.md5(names[0].encode(), usedforsecurity=False).hexdigest(), *names)


def _typed(value: Any) -> Mapping[str, str]:
    kind = "S" if isinstance(value, str) else "B" if isinstance(value, bytes) else "N"
    return {kind: base64.b64encode(value).decode() if kind == "B" else str(value)}


def _plain(typed: Mapping[str, str]) -> Any:
    ((kind, value),) = typed.items()
    if kind == "B":
        return base64.b64decode(value)
    return Decimal(value) if kind == "N" else value
