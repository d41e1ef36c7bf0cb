"""Tables in this process, under the same contracts as DynamoDB's: scans, writes of items, entries of idempotency."""

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
    """Tables in dicts, to be scanned in segments.

    There is no filter expression here: it takes a database to understand one.
    """

    def __init__(self, **tables: tuple[Sequence[str], Sequence[Mapping[str, Any]]]) -> None:
        self._tables = {name: (tuple(keys), list(items)) for name, (keys, items) in tables.items()}

    async def describe(self, table: str, index: str | None = None) -> TableInfo:
        """Return what is known of a table; it has no indexes."""
        if table not in self._tables or index is not None:
            raise ConfigurationError(f"there is no table {table!r}" + (f" with an index {index!r}" if index else ""))
        keys, items = self._tables[table]
        return TableInfo(keys, sum(len(repr(item)) for item in items), len(items))

    async def scan(self, wanted: Mapping[str, Any], start: Mapping[str, Any] | None) -> Page:
        """Return a page of a segment: items by the hash of their first key, in the order of hashes."""
        if "filter" in wanted:
            raise ConfigurationError("tables in this process know no filter expressions")
        keys, items = self._tables[wanted["table"]]
        places = sorted((_place(item, keys), number) for number, item in enumerate(items))
        share = wanted["segments"]
        mine = [(place, number) for place, number in places if int(place[0], 16) % share == wanted["segment"]]
        after = None if start is None else _place({key: _plain(start[key]) for key in keys}, keys)
        left = [(place, number) for place, number in mine if after is None or place > after]
        most = wanted.get("page_items") or 100
        chosen = wanted.get("attributes")
        found = [items[number] for _, number in left[:most]]
        return Page(
            items=[{name: item[name] for name in item if chosen is None or name in chosen} for item in found],
            next={key: _typed(found[-1][key]) for key in keys} if len(left) > most else None,
            read_units=max(0.5, len(found) / 2),
        )

    def to_json(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return texts, numbers and binaries in DynamoDB's JSON."""
        return {name: _typed(value) for name, value in values.items()}


class InMemoryItems:
    """Items of tables in dicts: ``tables`` holds the items of each table by the values of their key attributes."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[Any, ...], Mapping[str, Any]]] = {}
        """By table, then by key."""

    async def write_batch(self, table: str, writes: Sequence[Write]) -> Collection[int]:
        """Write items, or delete them; a table exists once it is written to."""
        keys = [tuple(write.key.values()) for write in writes]
        if not 1 <= len(writes) <= aws_limits.DYNAMODB_BATCH_ITEMS or len(set(keys)) < len(keys):
            raise ServiceError("too many items, or one key twice", code="ValidationException", transient=False)
        items = self.tables.setdefault(table, {})
        for key, write in zip(keys, writes, strict=True):
            if write.item is None:
                items.pop(key, None)
            else:
                items[key] = write.item
        return ()


class InMemoryEntries:
    """Entries in a dict."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        """What is known, by key."""

    async def read(self, keys: Sequence[str]) -> Sequence[Entry]:
        """Return what is known of some keys."""
        return [self.entries[key] for key in keys if key in self.entries]

    async def claim(self, entry: Entry, now: float) -> Entry | None:
        """Write an entry unless there is one that is done or held."""
        known = self.entries.get(entry.key)
        if known is not None and known.owner != entry.owner and (known.is_done(now) or known.is_held(now)):
            return known
        self.entries[entry.key] = entry
        return None

    async def complete(self, entries: Sequence[Entry]) -> Collection[int]:
        """Write entries, whatever stands there."""
        self.entries.update({entry.key: entry for entry in entries})
        return ()

    async def release(self, key: str, owner: str) -> None:
        """Delete an entry, if it is in progress and still this owner's."""
        known = self.entries.get(key)
        if known is not None and known.owner == owner and known.status == IN_PROGRESS:
            del self.entries[key]


def _place(item: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
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
