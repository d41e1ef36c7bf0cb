"""Runs in an in-memory ledger, with times, attempts and failures, to be drawn and shown."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanfold import inmemory
from fanfold._jobs.run_details import RunDetails, read_details
from fanfold._ports.backend import Backend
from fanfold._ports.run import Attempt, FailedBatch, Hop, Marker, Run, RunState

CREATED: float = 1_790_000_000.0
"""When each run was created; seconds since 1970."""
BATCH = 100
STREAM = "2026/11/29/[$LATEST]{:032x}"


@dataclass(slots=True)
class DrawnRun:
    """A run, described by what happened to its segments."""

    segments: int
    """Number of segments."""
    environments: int = 4
    """Execution environments that process batches of a hundred segments in turn."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Segments that fail permanently in five attempts, with the line of the error."""
    failing: Mapping[int, str] = field(default_factory=dict)
    """Segments of which one attempt failed, with the line of the error."""
    state: RunState = RunState.SUCCEEDED
    """State of the run."""
    params: Mapping[str, object] = field(default_factory=lambda: {"bucket": "b"})
    """Parameters of the run."""
    hops: Mapping[int, int] = field(default_factory=dict)
    """Hops by segment."""
    has_times: bool = True
    """False for a ledger without times."""

    async def backend(self) -> Backend:
        """Return a backend with this run, named r-1."""
        end = CREATED + 2 + self.segments / 10
        backend = inmemory.backend(clock=lambda: end)
        ledger = backend.ledger
        await ledger.open_run(Run("r-1", "delays", self.params, {"type": "range"}, CREATED, 2_000_000_000))
        for marker in self.markers():
            await ledger.put_marker("r-1", marker)
            await ledger.count("r-1", len(marker.ids) + len(marker.failed))
        for batch in self.attempts():
            await ledger.put_attempts("r-1", batch)
        for hop in self.stops():
            await ledger.put_hop("r-1", hop)
        await ledger.seal("r-1", self.segments)
        if self.state.is_final:
            fence = await ledger.claim("r-1", now=end, lease_seconds=60)
            assert fence is not None
            output = "runs/r-1/0/" + ("output.json" if self.state == RunState.SUCCEEDED else "failures.json")
            await ledger.finish(
                "r-1", fence=fence, state=self.state, output=output, ended_at=end, failed=len(self.failed)
            )
        return backend

    def markers(self) -> Iterable[Marker]:
        """Yield the markers of the segments that have ended."""
        rng = random.Random(0)
        clocks = [CREATED + 1 + number / 100 for number in range(self.environments)]
        for number, first in enumerate(range(0, self.segments, BATCH)):
            environment = number % self.environments
            numbers = range(first, min(first + BATCH, self.segments))
            ids = [segment for segment in numbers if segment not in self.failed and segment not in self.failing]
            began = [clocks[environment] + position / 100 for position in range(len(ids))]
            seconds = [rng.lognormvariate(0, 0.5) for _ in ids]
            clocks[environment] += sum(seconds) / 10
            yield Marker(
                id=f"m-{number}",
                gen=0,
                ids=ids,
                results=dict.fromkeys(ids, "1"),
                receive_counts={segment: 2 for segment in ids if segment % 50 == 0},
                messages={segment: (1, 0) for segment in ids if segment % 50 == 0},
                hops={segment: self.hops[segment] for segment in ids if segment in self.hops},
                items=[rng.randrange(900, 1_100) for _ in ids],
                **self._times(began, seconds, STREAM.format(environment)),
            )
        if self.failed:
            yield Marker(
                id="f",
                gen=0,
                failed=dict(self.failed),
                receive_counts=dict.fromkeys(self.failed, 5),
                ended_at=CREATED + 2,
            )

    def stops(self) -> Iterable[Hop]:
        """Yield the hops of the continued segments."""
        for segment, count in self.hops.items():
            for number in range(count):
                times: dict[str, Any] = {"began_at": CREATED + 0.2 * number, "seconds": 0.1}
                yield Hop(segment, number, 0, {}, "1", items=5, environment=STREAM.format(0), **times)

    def attempts(self) -> Iterable[FailedBatch]:
        """Yield the failed attempts: five of a segment that failed permanently."""
        for segment, line in {**self.failed, **self.failing}.items():
            count = 5 if segment in self.failed else 1
            attempts = [self._attempt(segment, number, line) for number in range(1, count + 1)]
            yield FailedBatch(f"a-{segment}", 0, attempts)

    def _times(self, began: Sequence[float], seconds: Sequence[float], environment: str) -> dict[str, Any]:
        if not self.has_times:
            return {}
        ended = max(map(sum, zip(began, seconds, strict=True)), default=CREATED)
        return {"began_at": began, "seconds": seconds, "ended_at": ended, "environment": environment}

    def _attempt(self, segment: int, number: int, line: str) -> Attempt:
        error, _, message = line.partition(": ")
        began = CREATED + 0.3 * number
        return Attempt(segment, 0, 0, number, began, 0.1, error, message, "app.py:12", "req-1", STREAM.format(0), 5)


async def details_of(drawn: DrawnRun) -> RunDetails:
    """Return the details of a run."""
    backend = await drawn.backend()
    run = await backend.ledger.run("r-1")
    assert run is not None
    return await read_details(run, backend)
