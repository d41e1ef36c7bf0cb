"""What fanfold asks of a queue, an object store and a ledger, named by role.

Two sets of adapters keep these contracts: ``fanfold.inmemory`` in this process, ``fanfold.aws`` on AWS. The same tests
run against both.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from fanfold._base.record import Record
from fanfold._ports.run import Counter, Hop, Marker, Run
from fanfold._ports.stores import (
    EntryStore,
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
    "EntryStore",
    "ItemStore",
    "Ledger",
    "Listed",
    "Message",
    "Notifier",
    "ObjectInfo",
    "Page",
    "Queue",
    "Received",
    "SelectStore",
    "SendFailure",
    "Settler",
    "Store",
    "TableInfo",
    "Tables",
    "Write",
]


@dataclass(frozen=True, slots=True)
class Message:
    """A message to be sent."""

    body: str
    """Its text."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Text attributes sent with it, at most ten."""
    delay_seconds: int = 0
    """Seconds it is hidden at first, from 0 to 900."""
    group_id: str | None = None
    """Message group, for FIFO queues."""
    deduplication_id: str | None = None
    """What makes two messages one, for FIFO queues."""

    @property
    def size_bytes(self) -> int:
        """What SQS counts against its limits: the body, and each attribute's name, type and value."""
        return len(self.body.encode()) + sum(
            len(name.encode()) + len("String") + len(value.encode()) for name, value in self.attributes.items()
        )


@dataclass(frozen=True, slots=True)
class SendFailure:
    """A message of a batch that the queue did not accept."""

    position: int
    """Where it stood in what was sent, from 0."""
    reason: str
    """The queue's own words."""
    sender_fault: bool
    """Whether sending the same message again is of no use."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it was received; hidden from others until its visibility timeout ends or it is deleted."""

    message_id: str
    """Names the message."""
    receipt_handle: str
    """Names this receive."""
    body: str
    """Its text."""
    receive_count: int
    """Deliveries so far, this one included; from 1."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Text attributes sent with it."""


class Queue(Protocol):
    """A queue of messages, delivered at least once."""

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        """Send 1 to 10 messages of at most 1 MiB in total; return those that were not accepted.

        Raises:
            ServiceError: If the call failed; some messages may have been accepted all the same.
            ConfigurationError: If the queue does not exist or may not be sent to.
        """
        ...

    async def receive(self, *, most: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive up to ``most`` messages (1 to 10), waiting up to ``wait_seconds`` (0 to 20) for the first."""
        ...

    async def delete(self, receipt_handles: Sequence[str]) -> None:
        """Delete 1 to 10 messages by their receipt handles; those already gone are no error."""
        ...


class Settler(Protocol):
    """Hands back what a batch could not do: to its own queue with a delay, or to the dead-letter queue."""

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Collection[int]:
        """Hide 1 to 10 messages for some whole seconds from now; return the positions of those refused.

        Raises:
            FanfoldError: If the call failed.
        """
        ...

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Mapping[int, str]:
        """Send 1 to 10 messages with the reasons to the dead-letter queue; return why, by position, for those refused.

        Raises:
            FanfoldError: If the call failed.
        """
        ...


class Ledger(Protocol):
    """What is known of runs: an append-only log of markers, and a counter, for each run.

    The counter may be too high (a write was repeated), never too low for the markers whose ``count`` has returned.
    """

    async def open_run(self, run: Run) -> Run:
        """Create a run unless it exists; return the run as it stands in the ledger."""
        ...

    async def run(self, run_id: str) -> Run | None:
        """Return a run as it stands now, None for one that does not exist."""
        ...

    async def checkpoint(self, run_id: str, position: int, *, gen: int = 0) -> None:
        """Remember how many segments of a generation have been enqueued; never goes back."""
        ...

    async def put_marker(self, run_id: str, marker: Marker) -> None:
        """Append a marker. The same marker twice is one."""
        ...

    async def count(self, run_id: str, ended: int) -> Counter:
        """Add to the number of segments that ended; return the counter after it."""
        ...

    async def seal(self, run_id: str, total: int) -> Counter:
        """Fix the number of segments: ``total``, and ``next`` where none was set; return the counter after it."""
        ...

    async def raise_next(self, run_id: str, threshold: int) -> Counter:
        """Set ``next`` unless it is as high already; return the counter after it."""
        ...

    async def counter(self, run_id: str) -> Counter:
        """Return the counter as it stands now."""
        ...

    async def redrive(self, run_id: str, *, gen: int, redos: Sequence[str], redo: int) -> bool:
        """Begin a generation: of a run that has ended, in the generation before; all in one write.

        Args:
            run_id: The run.
            gen: The generation, from 1.
            redos: Keys of the objects that list what is redriven, of all generations so far.
            redo: How many segments this one does again.

        Returns:
            Whether it is begun; False if the run is in another generation, or has not ended.
        """
        ...

    async def notified(self, run_id: str, *, gen: int) -> None:
        """Remember that the end of a generation has been told of."""
        ...

    def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker]:
        """Yield every marker of a generation whose ``put_marker`` has returned, in no order."""
        ...

    async def put_hop(self, run_id: str, hop: Hop) -> Hop:
        """Enter where a segment stopped, unless that is known already; return what stands in the ledger."""
        ...

    def hops(self, run_id: str, gen: int) -> AsyncIterator[Hop]:
        """Yield every hop of a generation, in no order."""
        ...

    async def claim(self, run_id: str, *, gen: int = 0, now: float, lease_seconds: float) -> int | None:
        """Take the fold of a generation over: from RUNNING, or from FOLDING when its lease is over.

        Returns:
            The fence; None if there is nothing to take over, no such run, or it is in another generation.
        """
        ...

    async def release(self, run_id: str, *, fence: int) -> None:
        """End the lease of a claim at once; nothing happens if another has claimed the fold since."""
        ...

    async def finish(self, run_id: str, *, fence: int, state: str, output: str, ended_at: float, failed: int) -> None:
        """Write the end state of a run.

        Raises:
            FenceLostError: If another has claimed the fold since.
        """
        ...


class Notifier(Protocol):
    """Tells people of things."""

    async def publish(self, subject: str, body: str) -> None:
        """Tell of something.

        Args:
            subject: At most 100 characters of ASCII, on one line.
            body: At most 256 KiB.

        Raises:
            FanfoldError: If that failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """The queues, the ledger and the store that the functions of a job work with."""

    work_queue: Queue
    """Segments."""
    fold_queue: Queue
    """Checks."""
    parking_queue: Queue
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
