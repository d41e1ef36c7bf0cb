"""What fanfold asks of a queue, an object store and a ledger, named by role.

Two sets of adapters keep these contracts: ``fanfold.inmemory`` in this process, ``fanfold.aws`` on AWS. The same tests
run against both.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from fanfold.errors import FanfoldError
from fanfold.record import Record
from fanfold.run import Counter, Marker, Run

__all__ = [
    "Backend",
    "ItemStore",
    "Ledger",
    "Listed",
    "Message",
    "ObjectInfo",
    "Queue",
    "Received",
    "SelectStore",
    "SendFailure",
    "Settler",
    "Store",
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


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object without reading it."""

    size_bytes: int
    """Its size."""
    etag: str
    """Changes when the object is replaced."""
    copy_of: str | None = None
    """ETag of the object that ``Store.copy`` made it from; None for one that was not made so."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, as a listing tells of it."""

    key: str
    """Its key."""
    size_bytes: int
    """Its size."""
    etag: str
    """Its ETag, in quotes, as ``ObjectInfo`` has it."""
    last_modified: float
    """When it was written; seconds since 1970."""


class Store(Protocol):
    """Objects under keys, in buckets. Every method raises ServiceError if the service failed."""

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """Return what is known of an object.

        Raises:
            ObjectMissingError: If there is no such object or bucket.
        """
        ...

    def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from ``start`` up to but not including ``stop`` (None: the end), in pieces of any size.

        A range past the end yields what there is.

        Raises:
            ObjectMissingError: If there is no such object or bucket.
            ObjectChangedError: If its ETag is not ``etag``.
        """
        ...

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object.

        Raises:
            ObjectExistsError: If ``if_absent`` and there already is one; it is left as it was.
            ObjectMissingError: If there is no such bucket.
        """
        ...

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncGenerator[Listed, None]:
        """Yield the objects whose keys begin with ``prefix`` and come after ``start_after``.

        They come in the order of their keys' UTF-8 bytes. What is written or deleted meanwhile may be listed or not.

        Raises:
            ObjectMissingError: If there is no such bucket.
        """
        ...

    async def copy(
        self, bucket: str, key: str, to_bucket: str, to_key: str, *, etag: str, if_absent: bool = False
    ) -> None:
        """Copy an object of any size, with its metadata.

        The copy tells from then on what it is a copy of (``ObjectInfo.copy_of``): its own ETag need not be that of the
        original.

        Raises:
            ObjectExistsError: If ``if_absent`` and there already is one under the other key; it is left as it was.
            ObjectMissingError: If there is no such object or bucket.
            ObjectChangedError: If the original's ETag is not ``etag``; nothing is copied.
        """
        ...

    async def delete_many(self, bucket: str, objects: Sequence[tuple[str, str | None]]) -> Mapping[int, FanfoldError]:
        """Delete 1 to 1,000 objects, each given as its key, and the ETag it must have or None for any.

        Returns:
            Why, by position, for those not deleted: ObjectChangedError where the ETag is another one. An object that is
            already gone is no fault.

        Raises:
            ObjectMissingError: If there is no such bucket.
        """
        ...


@runtime_checkable
class SelectStore(Store, Protocol):
    """A store that runs SQL over an object: S3, for accounts that still have S3 Select."""

    def select(
        self, bucket: str, key: str, expression: str, *, kind: str, compression: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield what S3 Select's SQL gives for an object, as JSON Lines, in pieces of any size.

        Args:
            bucket: The object's bucket.
            key: Its key.
            expression: The SQL.
            kind: What the object is: ``csv`` with a header, ``jsonl`` or ``parquet``.
            compression: ``gzip`` or ``bzip2``; None for none.

        Raises:
            ObjectMissingError: If there is no such object or bucket.
            ServiceError: If S3 refuses the SQL or stops amid it, or the answer ends without saying that it is whole.
            ConfigurationError: If the account has no S3 Select.
        """
        ...


@dataclass(frozen=True, slots=True)
class Write:
    """One item to be written to a table, or deleted from it."""

    key: Mapping[str, Any]
    """Its key: the values of the table's key attributes by name."""
    item: Mapping[str, Any] | None
    """The whole item, key included: values of ``str``, ``int``, ``Decimal``, ``bool``, ``None``, ``bytes``, and dicts,
    lists and sets of them; None to delete what lies under the key."""


class ItemStore(Protocol):
    """Items under keys, in tables. Every method raises ServiceError if the service failed."""

    async def write_batch(self, table: str, writes: Sequence[Write]) -> Collection[int]:
        """Write 1 to 25 items of different keys, over what the keys held; return the positions of those not written.

        Writing the same again changes nothing.

        Raises:
            ServiceError: If the call failed; some items may have been written all the same.
            ConfigurationError: If the table does not exist or may not be written to.
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

    async def checkpoint(self, run_id: str, position: int) -> None:
        """Remember that every segment below ``position`` has been enqueued; never goes back."""
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

    def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker]:
        """Yield every marker of a generation whose ``put_marker`` has returned, in no order."""
        ...

    async def claim(self, run_id: str, *, now: float, lease_seconds: float) -> int | None:
        """Take the fold over: from RUNNING, or from FOLDING when its lease is over.

        Returns:
            The fence; None if there is nothing to take over, or no such run.
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
    results_bucket: str
    """The bucket for results and outputs."""
    now: Callable[[], float] = time.time
    """What tells the time of leases and expiry: seconds since 1970."""

    async def read_all(self, bucket: str, key: str) -> bytes:
        """Return a whole object; for objects that fit in memory."""
        return b"".join([piece async for piece in self.store.read(bucket, key)])

    async def put_result(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object to the results bucket."""
        await self.store.put(self.results_bucket, key, data, if_absent=if_absent)

    async def get_result(self, key: str) -> bytes:
        """Return a whole object of the results bucket."""
        return await self.read_all(self.results_bucket, key)
