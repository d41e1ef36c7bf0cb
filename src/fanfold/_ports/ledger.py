"""The interface of a ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from fanfold._ports.run import Counter, FailedBatch, Hop, Marker, Run, RunState, Unreadable
from fanfold._ports.run_list import Place, RunListPage


class Ledger(Protocol):
    """The state of runs: for each run, an append-only log of markers and a counter.

    The counter may be too high if a write was repeated, but it includes every marker whose ``count`` has returned.
    An item that cannot be read is yielded as ``Unreadable``; every call raises ``LedgerError`` for the run or the
    counter itself.
    """

    async def open_run(self, run: Run) -> Run:
        """Create a run unless it exists; return the run in the ledger."""
        ...

    async def run(self, run_id: str) -> Run | None:
        """Return the current state of a run; None if it does not exist."""
        ...

    async def runs(self, *, state: RunState | None = None, limit: int, after: Place | None = None) -> RunListPage:
        """Return the newest runs, in order. A run whose state has just changed may be missing or in its former state.

        Args:
            state: Only runs in this state; None for all.
            limit: Maximum number of runs, at least 1.
            after: Only runs that follow this place in the list; None for the newest.

        Raises:
            ConfigurationError: If the ledger cannot list its runs.
        """
        ...

    async def replan(self, run_id: str, plan: Mapping[str, Any], *, step: int) -> bool:
        """Replace the plan of a run that is RUNNING, if ``step - 1`` plans have been written.

        Returns:
            True if the plan is stored; False if another one with this number or a higher one is, or the run has ended.
        """
        ...

    async def checkpoint(self, run_id: str, position: int, *, gen: int = 0) -> bool:
        """Store how many segments of a generation have been enqueued; the number never decreases.

        Returns:
            False if the scatter has to stop: the run is cancelled, or in another generation.
        """
        ...

    async def cancel(self, run_id: str, *, gen: int, ended_at: float) -> bool:
        """Cancel a generation of a run that has not ended, in one write.

        Returns:
            True if the run is cancelled; False if it has ended, or is in another generation.
        """
        ...

    async def put_marker(self, run_id: str, marker: Marker) -> None:
        """Append a marker; idempotent."""
        ...

    async def count(self, run_id: str, ended: int) -> Counter:
        """Add to the number of segments that have ended; return the new counter."""
        ...

    async def seal(self, run_id: str, total: int) -> Counter:
        """Set the number of segments, ``total``, and ``next`` unless it is set; return the new counter."""
        ...

    async def raise_next(self, run_id: str, threshold: int) -> Counter:
        """Raise ``next`` to a threshold unless it is already as high; return the new counter."""
        ...

    async def counter(self, run_id: str) -> Counter:
        """Return the current counter."""
        ...

    async def redrive(self, run_id: str, *, gen: int, redos: Sequence[str], redo: int) -> bool:
        """Start a generation of a run that has ended in the previous generation, in one write.

        Args:
            run_id: The run.
            gen: The generation, from 1.
            redos: Keys of the objects that list the redriven segments, of all generations so far.
            redo: Number of segments that this generation redrives.

        Returns:
            True if the generation has started; False if the run is in another generation or has not ended.
        """
        ...

    async def notified(self, run_id: str, *, gen: int) -> None:
        """Store that the notification of the end of a generation has been sent."""
        ...

    def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker | Unreadable]:
        """Yield every marker of a generation whose ``put_marker`` has returned, in any order."""
        ...

    async def put_hop(self, run_id: str, hop: Hop) -> Hop:
        """Store where a segment stopped, unless it is already stored; return the hop in the ledger."""
        ...

    async def hop(self, run_id: str, gen: int, segment: int, number: int) -> Hop | None:
        """Return a hop; None if it does not exist.

        Raises:
            LedgerError: If it cannot be read.
        """
        ...

    def hops(self, run_id: str, gen: int) -> AsyncIterator[Hop | Unreadable]:
        """Yield every hop of a generation, in any order."""
        ...

    async def put_attempts(self, run_id: str, batch: FailedBatch) -> None:
        """Append the failed attempts of a batch, in one write; idempotent."""
        ...

    def attempts(self, run_id: str, gen: int) -> AsyncIterator[FailedBatch | Unreadable]:
        """Yield the failed attempts of a generation whose ``put_attempts`` has returned, in any order."""
        ...

    async def claim(self, run_id: str, *, gen: int = 0, now: float, lease_seconds: float) -> int | None:
        """Claim the fold of a generation: of a RUNNING run, or of a FOLDING run whose lease has expired.

        Returns:
            The fence; None if the fold cannot be claimed, the run does not exist, or it is in another generation.
        """
        ...

    async def release(self, run_id: str, *, fence: int) -> None:
        """End the lease of a claim immediately; no effect if another invocation has claimed the fold since."""
        ...

    async def finish(
        self, run_id: str, *, fence: int, state: RunState, output: str, ended_at: float, failed: int
    ) -> None:
        """Write the end state of a run.

        Raises:
            FenceLostError: If another invocation has claimed the fold since.
        """
        ...
