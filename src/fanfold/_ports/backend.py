"""The queues, the ledger and the stores that a job works with, as one value."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from fanfold._ports.ledger import Ledger
from fanfold._ports.queue import Notifier, Queue
from fanfold._ports.stores import Store, Tables


@dataclass(frozen=True, slots=True)
class Backend:
    """The queues, the ledger and the store that the functions of a job work with."""

    work_queue: Queue
    """Segments."""
    fold_queue: Queue
    """Checks."""
    quarantine_queue: Queue
    """What is no segment of a live run, with the reason; nothing consumes it."""
    ledger: Ledger
    """What is known of runs."""
    store: Store
    """Sources, results and outputs."""
    tables: Tables
    """Sources that are tables."""
    results_bucket: str
    """The bucket for results and outputs."""
    now: Callable[[], float] = time.time
    """What tells the time of leases and expiry: seconds since 1970."""
    notifier: Notifier | None = None
    """What tells of the end of a run; None for nothing."""
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    """What waits some seconds, before a request is tried again or to keep a pace."""

    async def read_all(self, bucket: str, key: str) -> bytes:
        """Return a whole object; for objects that fit in memory."""
        return b"".join([piece async for piece in self.store.read(bucket, key)])

    async def put_result(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object to the results bucket."""
        await self.store.put(self.results_bucket, key, data, if_absent=if_absent)

    async def get_result(self, key: str) -> bytes:
        """Return a whole object of the results bucket."""
        return await self.read_all(self.results_bucket, key)
