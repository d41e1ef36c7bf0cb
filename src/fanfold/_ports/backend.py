"""The queues, the ledger, and the stores of a job, as one value."""

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
    """The queues, the ledger, and the stores that the functions of a job use."""

    work_queue: Queue
    """The queue of segments."""
    fold_queue: Queue
    """The queue of the fold function."""
    quarantine_queue: Queue
    """The queue of messages that are not segments of a live run, with the reasons; no function consumes it."""
    ledger: Ledger
    """The state of all runs."""
    store: Store
    """The objects of sources, results, and outputs."""
    tables: Tables
    """The tables of sources."""
    results_bucket: str
    """The bucket for results and outputs."""
    now: Callable[[], float] = time.time
    """Returns the time for leases and expiry: seconds since 1970."""
    notifier: Notifier | None = None
    """Notifies people when a run has ended; None for no notification."""
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    """Waits for some seconds, before a retry or to limit a rate."""

    async def read_all(self, bucket: str, key: str) -> bytes:
        """Return the content of an object; for objects that fit in memory."""
        return b"".join([piece async for piece in self.store.read(bucket, key)])

    async def put_result(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object to the results bucket."""
        await self.store.put(self.results_bucket, key, data, if_absent=if_absent)

    async def get_result(self, key: str) -> bytes:
        """Return the content of an object of the results bucket."""
        return await self.read_all(self.results_bucket, key)
