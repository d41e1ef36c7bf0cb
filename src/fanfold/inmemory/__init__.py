"""In-memory implementations of a queue, a ledger, a store and tables, with the same contracts as those on AWS.

Use them in tests, and to run whole jobs without AWS. They support one event loop, and write nothing to disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fanfold._ports.backend import Backend
from fanfold.inmemory.ledger import InMemoryLedger
from fanfold.inmemory.queue import InMemoryQueue, QueuedMessage
from fanfold.inmemory.settler import InMemorySettler
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
    """Return an in-memory backend: empty queues, ledger and store, with the results bucket ``results``.

    The dead-letter queue of its work queue is ``work_queue.dead_letter_queue``.
    """
    dead_letter_queue = InMemoryQueue(visibility_timeout=visibility_timeout, clock=clock)
    return Backend(
        work_queue=InMemoryQueue(
            visibility_timeout=visibility_timeout,
            max_receive_count=max_receive_count,
            dead_letter_queue=dead_letter_queue,
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
