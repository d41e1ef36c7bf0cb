"""What fanfold asks of a ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from fanfold._ports.run import Counter, Hop, Marker, Run, RunState


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

    async def finish(
        self, run_id: str, *, fence: int, state: RunState, output: str, ended_at: float, failed: int
    ) -> None:
        """Write the end state of a run.

        Raises:
            FenceLostError: If another has claimed the fold since.
        """
        ...
