"""What fanfold asks of a queue, an object store and a ledger, named by role.

Two sets of adapters keep these contracts: ``fanfold.inmemory`` in this process, ``fanfold.aws`` on AWS. The same tests
run against both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanfold._base.lazy import lazy

if TYPE_CHECKING:
    from fanfold._ports.backend import Backend
    from fanfold._ports.idempotency import EntryStore
    from fanfold._ports.ledger import Ledger
    from fanfold._ports.queue import Message, Notifier, Queue, Received, Refusal, Settler
    from fanfold._ports.run import Counter, Hop, Marker, Run, RunState
    from fanfold._ports.stores import (
        ItemStore,
        Listed,
        ObjectInfo,
        Page,
        SelectStore,
        Store,
        TableInfo,
        Tables,
        Write,
    )

__all__ = [
    "Backend",
    "Counter",
    "EntryStore",
    "Hop",
    "ItemStore",
    "Ledger",
    "Listed",
    "Marker",
    "Message",
    "Notifier",
    "ObjectInfo",
    "Page",
    "Queue",
    "Received",
    "Refusal",
    "Run",
    "RunState",
    "SelectStore",
    "Settler",
    "Store",
    "TableInfo",
    "Tables",
    "Write",
]

_HOMES = {
    "Backend": "_ports.backend",
    "Counter": "_ports.run",
    "EntryStore": "_ports.idempotency",
    "Hop": "_ports.run",
    "ItemStore": "_ports.stores",
    "Ledger": "_ports.ledger",
    "Listed": "_ports.stores",
    "Marker": "_ports.run",
    "Message": "_ports.queue",
    "Notifier": "_ports.queue",
    "ObjectInfo": "_ports.stores",
    "Page": "_ports.stores",
    "Queue": "_ports.queue",
    "Received": "_ports.queue",
    "Refusal": "_ports.queue",
    "Run": "_ports.run",
    "RunState": "_ports.run",
    "SelectStore": "_ports.stores",
    "Settler": "_ports.queue",
    "Store": "_ports.stores",
    "TableInfo": "_ports.stores",
    "Tables": "_ports.stores",
    "Write": "_ports.stores",
}

__getattr__ = lazy(__name__, _HOMES)


def __dir__() -> list[str]:
    return list(__all__)
