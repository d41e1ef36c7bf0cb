"""Tables in this process, under the same contract as DynamoDB's; part of ``fanfold.inmemory``."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from fanfold._ports.stores import Page, TableInfo
from fanfold.errors import ConfigurationError

__all__ = ["InMemoryTables"]


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
