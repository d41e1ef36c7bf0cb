"""A queue, a ledger, a store and tables in this process, under the same contracts as the ones on AWS.

For tests, and for whole jobs without AWS. One event loop; nothing is written to disk.
"""

from __future__ import annotations

from fanfold.inmemory._backend import backend
from fanfold.inmemory.ledger import InMemoryLedger
from fanfold.inmemory.queue import InMemoryQueue, InMemorySettler, QueuedMessage
from fanfold.inmemory.store import InMemoryStore
from fanfold.inmemory.tables import InMemoryEntries, InMemoryItems, InMemoryTables

__all__ = [
    "InMemoryEntries",
    "InMemoryItems",
    "InMemoryLedger",
    "InMemoryQueue",
    "InMemorySettler",
    "InMemoryStore",
    "InMemoryTables",
    "QueuedMessage",
    "backend",
]
