"""A queue, a ledger, a store and tables in this process, under the same contracts as the ones on AWS.

For tests, and for whole jobs without AWS. One event loop; nothing is written to disk.
"""

from __future__ import annotations

import itertools
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import anyio

from fanfold._base import aws_limits
from fanfold._base.dead_letter import ATTRIBUTE, reason_attribute
from fanfold._base.record import Record
from fanfold._ports.backend import Backend, Message, Received, SendFailure
from fanfold._ports.run import FOLDING, RUNNING, Counter, Hop, Marker, Run
from fanfold.errors import (
    FenceLostError,
    LedgerError,
    ServiceError,
)
from fanfold.inmemory.entries import InMemoryEntries
from fanfold.inmemory.store import InMemoryItems, InMemoryStore
from fanfold.inmemory.tables import InMemoryTables

__all__ = [
    "InMemoryEntries",
    "InMemoryItems",
    "InMemoryLedger",
    "InMemoryQueue",
    "InMemorySettler",
    "InMemoryStore",
    "InMemoryTables",
    "backend",
]

_POLL_SECONDS = 0.005


@dataclass(slots=True)
class _Queued:
    message: Message
    message_id: str
    visible_at: float
    receive_count: int = 0
    receipt_handle: str = ""


class InMemoryQueue:
    """A standard queue: at least once, hidden after a receive, to the dead-letter queue after too many."""

    def __init__(
        self,
        *,
        visibility_timeout: float = 30.0,
        max_receive_count: int | None = None,
        dead_letter_queue: InMemoryQueue | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.visibility_timeout = visibility_timeout
        """Seconds a received message stays hidden."""
        self.max_receive_count = max_receive_count
        """Receives after which a message moves to the dead-letter queue; None for never."""
        self.dead_letter_queue = dead_letter_queue
        """Where to."""
        self._clock = clock
        self._messages: dict[str, _Queued] = {}
        self._handles = itertools.count(1)

    def __len__(self) -> int:
        return len(self._messages)

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        """Send 1 to 10 messages of at most 1 MiB in total; none is ever refused one by one."""
        if not 1 <= len(messages) <= aws_limits.SQS_BATCH_ENTRIES:
            raise ServiceError(f"a batch of {len(messages)} messages", code="InvalidBatch", transient=False)
        if sum(message.size_bytes for message in messages) > aws_limits.SQS_BATCH_BYTES:
            raise ServiceError("a batch over 1 MiB", code="BatchRequestTooLong", transient=False)
        for message in messages:
            queued = _Queued(message, str(uuid.uuid4()), self._clock() + message.delay_seconds)
            self._messages[queued.message_id] = queued
        return []

    async def receive(self, *, most: int = 10, wait_seconds: float = 0) -> Sequence[Received]:
        """Receive up to ``most`` messages, oldest first."""
        until = self._clock() + wait_seconds
        while not (received := self._collect(most)) and self._clock() < until:  # noqa: ASYNC110 - time, not an event, makes messages visible
            await anyio.sleep(_POLL_SECONDS)
        return received

    async def delete(self, receipt_handles: Sequence[str]) -> None:
        """Delete messages by their receipt handles; those already gone are no error."""
        for handle in receipt_handles:
            message_id = handle.partition("#")[0]
            queued = self._messages.get(message_id)
            if queued is not None and queued.receipt_handle == handle:
                del self._messages[message_id]

    def hide(self, receipt_handle: str, seconds: float) -> bool:
        """Hide a received message for some seconds from now; tell whether the receipt handle still holds."""
        queued = self._messages.get(receipt_handle.partition("#")[0])
        if queued is None or queued.receipt_handle != receipt_handle:
            return False
        queued.visible_at = self._clock() + seconds
        return True

    def seconds_until_visible(self) -> float:
        """Return the seconds until a message can be received: 0 if one can, infinity for an empty queue."""
        times = [queued.visible_at for queued in self._messages.values()]
        return max(0.0, min(times) - self._clock()) if times else math.inf

    def _collect(self, most: int) -> list[Received]:
        now = self._clock()
        received: list[Received] = []
        for queued in list(self._messages.values()):
            if queued.visible_at > now or len(received) == most:
                continue
            if self.max_receive_count is not None and queued.receive_count >= self.max_receive_count:
                self._bury(queued, now)
                continue
            queued.receive_count += 1
            queued.visible_at = now + self.visibility_timeout
            queued.receipt_handle = f"{queued.message_id}#{next(self._handles)}"
            message = queued.message
            received.append(
                Received(
                    queued.message_id, queued.receipt_handle, message.body, queued.receive_count, message.attributes
                )
            )
        return received

    def _bury(self, queued: _Queued, now: float) -> None:
        del self._messages[queued.message_id]
        if self.dead_letter_queue is not None:
            self.dead_letter_queue._messages[queued.message_id] = _Queued(  # noqa: SLF001 - of this class
                queued.message, queued.message_id, now
            )


class InMemorySettler:
    """Hands messages back to an in-memory queue, and buries them in another."""

    def __init__(self, queue: InMemoryQueue, dead_letter_queue: InMemoryQueue | None = None) -> None:
        self._queue = queue
        self._dead_letter_queue = dead_letter_queue

    async def __call__(self) -> InMemorySettler:
        """Return this settler: it is its own opener."""
        return self

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Collection[int]:
        """Hide messages for some seconds from now; refuse those that are gone or received again since."""
        return [
            position
            for position, (record, seconds) in enumerate(changes)
            if not self._queue.hide(record.receipt_handle, seconds)
        ]

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Mapping[int, str]:
        """Send messages with their reasons to the dead-letter queue."""
        if self._dead_letter_queue is None:
            return dict.fromkeys(range(len(rejects)), "there is no dead-letter queue")
        messages = [Message(record.body, {ATTRIBUTE: reason_attribute(record, reason)}) for record, reason in rejects]
        await self._dead_letter_queue.send(messages)
        return {}


class InMemoryLedger:
    """Runs, counters and markers in dicts."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._counters: dict[str, Counter] = {}
        self._markers: dict[str, dict[str, Marker]] = {}
        self._hops: dict[str, dict[tuple[int, int, int], Hop]] = {}

    async def open_run(self, run: Run) -> Run:
        """Create a run unless it exists; return the run as it stands."""
        return self._runs.setdefault(run.run, run)

    async def run(self, run_id: str) -> Run | None:
        """Return a run as it stands now."""
        return self._runs.get(run_id)

    async def checkpoint(self, run_id: str, position: int, *, gen: int = 0) -> None:
        """Remember how many segments have been enqueued."""
        run = self._known(run_id)
        if run.gen == gen:
            self._runs[run_id] = replace(run, position=max(run.position, position))

    async def redrive(self, run_id: str, *, gen: int, redos: Sequence[str], redo: int) -> bool:
        """Begin a generation."""
        run = self._known(run_id)
        if run.gen != gen - 1 or not run.ended:
            return False
        begun = replace(run, gen=gen, redos=tuple(redos), redo=redo, position=0, failed=0, notified=False)
        self._runs[run_id] = replace(begun, state=RUNNING, ended_at=None, output=None)
        return True

    async def notified(self, run_id: str, *, gen: int) -> None:
        """Remember that the end of a generation has been told of."""
        run = self._known(run_id)
        if run.gen == gen:
            self._runs[run_id] = replace(run, notified=True)

    async def put_marker(self, run_id: str, marker: Marker) -> None:
        """Append a marker."""
        self._markers.setdefault(run_id, {})[marker.marker] = marker

    async def count(self, run_id: str, ended: int) -> Counter:
        """Add to the number of segments that ended."""
        counter = await self.counter(run_id)
        return self._set(run_id, replace(counter, ended=counter.ended + ended))

    async def seal(self, run_id: str, total: int) -> Counter:
        """Fix the number of segments."""
        counter = await self.counter(run_id)
        return self._set(run_id, replace(counter, total=total, next=total if counter.next is None else counter.next))

    async def raise_next(self, run_id: str, threshold: int) -> Counter:
        """Set ``next`` unless it is as high already."""
        counter = await self.counter(run_id)
        if counter.next is not None and counter.next >= threshold:
            return counter
        return self._set(run_id, replace(counter, next=threshold))

    async def counter(self, run_id: str) -> Counter:
        """Return the counter as it stands now."""
        return self._counters.get(run_id, Counter(0))

    async def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker]:
        """Yield every marker of a generation."""
        for marker in list(self._markers.get(run_id, {}).values()):
            if marker.gen == gen:
                yield marker

    async def put_hop(self, run_id: str, hop: Hop) -> Hop:
        """Enter where a segment stopped, unless that is known already."""
        return self._hops.setdefault(run_id, {}).setdefault((hop.gen, hop.segment, hop.hop), hop)

    async def hops(self, run_id: str, gen: int) -> AsyncIterator[Hop]:
        """Yield every hop of a generation."""
        for hop in list(self._hops.get(run_id, {}).values()):
            if hop.gen == gen:
                yield hop

    async def claim(self, run_id: str, *, gen: int = 0, now: float, lease_seconds: float) -> int | None:
        """Take the fold of a generation over."""
        run = self._runs.get(run_id)
        if (
            run is None
            or run.gen != gen
            or (run.state != RUNNING and not (run.state == FOLDING and run.lease_until <= now))
        ):
            return None
        self._runs[run_id] = replace(run, state=FOLDING, fence=run.fence + 1, lease_until=now + lease_seconds)
        return run.fence + 1

    async def release(self, run_id: str, *, fence: int) -> None:
        """End the lease of a claim at once."""
        run = self._runs.get(run_id)
        if run is not None and run.fence == fence and run.state == FOLDING:
            self._runs[run_id] = replace(run, lease_until=0.0)

    async def finish(self, run_id: str, *, fence: int, state: str, output: str, ended_at: float, failed: int) -> None:
        """Write the end state of a run."""
        run = self._known(run_id)
        if run.fence != fence or run.state != FOLDING:
            raise FenceLostError(f"run {run_id}: another invocation has taken over the fold")
        self._runs[run_id] = replace(run, state=state, output=output, ended_at=ended_at, failed=failed)

    def _known(self, run_id: str) -> Run:
        if run_id not in self._runs:
            raise LedgerError(f"run {run_id!r} is not in the ledger")
        return self._runs[run_id]

    def _set(self, run_id: str, counter: Counter) -> Counter:
        self._counters[run_id] = counter
        return counter


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
        parking_queue=InMemoryQueue(visibility_timeout=visibility_timeout, clock=clock),
        ledger=InMemoryLedger(),
        store=InMemoryStore("results", clock=clock),
        tables=InMemoryTables(),
        results_bucket="results",
        now=clock,
    )
