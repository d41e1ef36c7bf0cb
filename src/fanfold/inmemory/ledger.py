"""An in-memory ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fanfold._ports.run import MAX_LEASE_SECONDS, Counter, FailedBatch, Hop, Marker, Run, RunState, Unreadable
from fanfold._ports.run_list import Place, RunListPage, RunSummary, page_of
from fanfold.errors import FenceLostError, LedgerError


class InMemoryLedger:
    """Runs, counters and markers in dicts."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._counters: dict[str, Counter] = {}
        self._markers: dict[str, dict[str, Marker]] = {}
        self._hops: dict[str, dict[tuple[int, int, int], Hop]] = {}
        self._attempts: dict[str, dict[str, FailedBatch]] = {}

    async def open_run(self, run: Run) -> Run:
        """Create a run unless it exists; return the stored run."""
        return self._runs.setdefault(run.id, run)

    async def run(self, run_id: str) -> Run | None:
        """Return a run, or None if it does not exist."""
        return self._runs.get(run_id)

    async def runs(self, *, state: RunState | None = None, limit: int, after: Place | None = None) -> RunListPage:
        """Return the newest runs, in order."""
        return page_of(map(_summary_of, self._runs.values()), state=state, limit=limit, after=after)

    async def replan(self, run_id: str, plan: Mapping[str, Any], *, step: int) -> bool:
        """Replace the plan of a run."""
        run = self._existing_run(run_id)
        if run.plan_step != step - 1 or run.state != RunState.RUNNING:
            return False
        self._runs[run_id] = replace(run, plan=plan, plan_step=step)
        return True

    async def checkpoint(self, run_id: str, position: int, *, gen: int = 0) -> bool:
        """Record how many segments have been enqueued; return whether the scatter may continue."""
        run = self._existing_run(run_id)
        if run.gen != gen or run.state == RunState.CANCELLED:
            return False
        self._runs[run_id] = replace(run, position=max(run.position, position))
        return True

    async def cancel(self, run_id: str, *, gen: int, ended_at: float) -> bool:
        """Cancel a generation of a run that has not ended."""
        run = self._existing_run(run_id)
        if run.gen != gen or run.ended:
            return run.gen == gen and run.state == RunState.CANCELLED
        self._runs[run_id] = replace(run, state=RunState.CANCELLED, ended_at=ended_at)
        return True

    async def redrive(self, run_id: str, *, gen: int, redos: Sequence[str], redo: int) -> bool:
        """Begin a generation."""
        run = self._existing_run(run_id)
        if run.gen != gen - 1 or not run.ended:
            return False
        reset = replace(run, gen=gen, redos=tuple(redos), redo=redo, position=0, failed=0, notified=False)
        self._runs[run_id] = replace(reset, state=RunState.RUNNING, ended_at=None, output=None)
        return True

    async def notified(self, run_id: str, *, gen: int) -> None:
        """Record that the notification for the end of a generation was sent."""
        run = self._existing_run(run_id)
        if run.gen == gen:
            self._runs[run_id] = replace(run, notified=True)

    async def put_marker(self, run_id: str, marker: Marker) -> None:
        """Append a marker."""
        self._markers.setdefault(run_id, {})[marker.id] = marker

    async def count(self, run_id: str, ended: int) -> Counter:
        """Add to the number of segments that ended."""
        counter = await self.counter(run_id)
        return self._set_counter(run_id, replace(counter, ended=counter.ended + ended))

    async def seal(self, run_id: str, total: int) -> Counter:
        """Fix the number of segments."""
        counter = await self.counter(run_id)
        return self._set_counter(
            run_id, replace(counter, total=total, next=total if counter.next is None else counter.next)
        )

    async def raise_next(self, run_id: str, threshold: int) -> Counter:
        """Raise ``next`` to a threshold; a higher value stays."""
        counter = await self.counter(run_id)
        if counter.next is not None and counter.next >= threshold:
            return counter
        return self._set_counter(run_id, replace(counter, next=threshold))

    async def counter(self, run_id: str) -> Counter:
        """Return the counter."""
        return self._counters.get(run_id, Counter(0))

    async def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker | Unreadable]:
        """Yield every marker of a generation."""
        for marker in list(self._markers.get(run_id, {}).values()):
            if marker.gen == gen:
                yield marker

    async def put_hop(self, run_id: str, hop: Hop) -> Hop:
        """Record where a segment stopped, unless the hop exists already; return the stored hop."""
        return self._hops.setdefault(run_id, {}).setdefault((hop.gen, hop.segment, hop.number), hop)

    async def hop(self, run_id: str, gen: int, segment: int, number: int) -> Hop | None:
        """Return a hop; None if it does not exist."""
        return self._hops.get(run_id, {}).get((gen, segment, number))

    async def hops(self, run_id: str, gen: int) -> AsyncIterator[Hop | Unreadable]:
        """Yield every hop of a generation."""
        for hop in list(self._hops.get(run_id, {}).values()):
            if hop.gen == gen:
                yield hop

    async def put_attempts(self, run_id: str, batch: FailedBatch) -> None:
        """Append the failed attempts of a batch."""
        self._attempts.setdefault(run_id, {})[batch.id] = batch

    async def attempts(self, run_id: str, gen: int) -> AsyncIterator[FailedBatch | Unreadable]:
        """Yield the failed attempts of a generation."""
        for batch in list(self._attempts.get(run_id, {}).values()):
            if batch.gen == gen:
                yield batch

    async def claim(self, run_id: str, *, gen: int = 0, now: float, lease_seconds: float) -> int | None:
        """Claim the fold of a generation; return the fence, or None if another claim holds it."""
        run = self._runs.get(run_id)
        if (
            run is None
            or run.gen != gen
            or (
                run.state != RunState.RUNNING
                and not (run.state == RunState.FOLDING and not now < run.lease_until <= now + MAX_LEASE_SECONDS)
            )
        ):
            return None
        self._runs[run_id] = replace(run, state=RunState.FOLDING, fence=run.fence + 1, lease_until=now + lease_seconds)
        return run.fence + 1

    async def release(self, run_id: str, *, fence: int) -> None:
        """End the lease of a claim immediately."""
        run = self._runs.get(run_id)
        if run is not None and run.fence == fence and run.state == RunState.FOLDING:
            self._runs[run_id] = replace(run, lease_until=0.0)

    async def finish(
        self, run_id: str, *, fence: int, state: RunState, output: str, ended_at: float, failed: int
    ) -> None:
        """Write the final state of a run."""
        run = self._existing_run(run_id)
        if run.fence != fence or run.state != RunState.FOLDING:
            raise FenceLostError(f"run {run_id}: another invocation has taken over the fold")
        self._runs[run_id] = replace(run, state=state, output=output, ended_at=ended_at, failed=failed)

    def _existing_run(self, run_id: str) -> Run:
        if run_id not in self._runs:
            raise LedgerError(f"run {run_id!r} is not in the ledger")
        return self._runs[run_id]

    def _set_counter(self, run_id: str, counter: Counter) -> Counter:
        self._counters[run_id] = counter
        return counter


def _summary_of(run: Run) -> RunSummary:
    return RunSummary(run.id, run.job, run.state, run.created_at, run.gen, run.ended_at, run.failed)
