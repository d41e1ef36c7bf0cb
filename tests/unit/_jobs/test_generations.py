"""What the generations of a run have written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from fanfold import inmemory
from fanfold._jobs.generations import put_redo, tally_of
from fanfold._ports.run import Marker, Run
from fanfold.inmemory import InMemoryLedger


class NotingLedger(InMemoryLedger):
    """Notes which generations it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker]:
        """Note the generation."""
        self.asked.append(gen)
        return super().markers(run_id, gen)


async def test_the_markers_of_every_generation_are_read_and_no_others():
    """A generation that nobody started costs no request."""
    ledger = NotingLedger()
    for gen in range(3):
        await ledger.put_marker("run", Marker(f"marker-{gen}", gen, ids=[gen]))
    run = Run("run", "job", {}, {}, created_at=0.0, expires_at=1, gen=1, redos=["redo"])
    backend = replace(inmemory.backend(), ledger=ledger)
    await put_redo("redo", [1], backend)
    seen: list[Marker] = []
    tally = await tally_of(run, 3, backend, also=seen.append)
    assert [marker.ids for marker in seen] == [[0], [1]]
    assert tally.missing_segments() == [2]
    assert ledger.asked == [0, 1]
