"""A queue, a ledger, a store and tables in this process, under the same contracts as the ones on AWS.

For tests, and for whole jobs without AWS. One event loop; nothing is written to disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fanfold._ports.backend import Backend
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


def backend(
    *, visibility_timeout: float = 30.0, max_receive_count: int = 5, clock: Callable[[], float] = time.time
) -> Backend:
    """Return a backend that lives in this process: empty queues, ledger and store, results bucket ``results``.

    Its work queue moves what was received too often to a dead-letter queue, ``work_queue.dead_letter_queue``.
    """
    dead = InMemoryQueue(visibility_timeout=visibility_timeout, clock=clock)
    return Backend(
        work_queue=InMemoryQueue(
            visibility_timeout=visibility_timeout,
            max_receive_count=max_receive_count,
            dead_letter_queue=dead,
            clock=clock,
        ),
        fold_queue=InMemoryQueue(visibility_timeout=visibility_timeout, clock=clock),
        quarantine_queue=InMemoryQueue(visibility_timeout=visibility_timeout, clock=clock),
        ledger=InMemoryLedger(),
        store=InMemoryStore("results", clock=clock),
        tables=InMemoryTables(),
        results_bucket="results",
        now=clock,
    )
