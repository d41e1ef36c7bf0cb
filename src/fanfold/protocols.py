"""The interfaces of queues, object stores, and ledgers, named by role.

Two sets of adapters implement them: ``fanfold.inmemory`` in this process, and ``fanfold.aws`` on AWS. Both pass the
same contract tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanfold._base.lazy import lazy

if TYPE_CHECKING:
    from fanfold._ports.backend import Backend
    from fanfold._ports.idempotency import EntryStore
    from fanfold._ports.ledger import Ledger
    from fanfold._ports.queue import Message, Notifier, Queue, Received, Refusal, Settler
    from fanfold._ports.run import Attempt, Counter, FailedBatch, Hop, Marker, Run, RunState, Unreadable
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
    "Attempt",
    "Backend",
    "Counter",
    "EntryStore",
    "FailedBatch",
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
    "Unreadable",
    "Write",
]

__getattr__ = lazy(
    __name__,
    {
        "_ports.backend": "Backend",
        "_ports.idempotency": "EntryStore",
        "_ports.ledger": "Ledger",
        "_ports.queue": "Message Notifier Queue Received Refusal Settler",
        "_ports.run": "Attempt Counter FailedBatch Hop Marker Run RunState Unreadable",
        "_ports.stores": "ItemStore Listed ObjectInfo Page SelectStore Store TableInfo Tables Write",
    },
)


def __dir__() -> list[str]:
    return list(__all__)
