"""Read and draw the page of a run: time, memory, and the size of the page.

::

    python benchmarks/run_page.py [--segments 1000 100000 1000000] [--json FILE]

Each run is simulated in a separate process: a thousand execution environments process batches of a hundred segments,
one segment in a thousand fails in five attempts, and one in ten thousand is continued. Markers and attempts are
generated while they are read, so that a ledger does not affect the measurement. The peak is the resident memory of the
whole process, including interpreter and libraries. A page of more than 300 KB is an error. The pages are written to
``build/run-pages``, to look at.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Annotated, Any

from measure import HERE, Rows, isolated, main, status_bytes, table
from drawn_runs import CREATED, DrawnRun
from fanfold import inmemory
from fanfold.inmemory import InMemoryLedger
from fanfold.protocols import Backend, Marker, Run

ENVIRONMENTS = 1_000
MOST_KB = 300.0
FOLDER = HERE.parent / "build" / "run-pages"


class Made(InMemoryLedger):
    """A ledger whose markers and attempts are generated while they are read."""

    def __init__(self, drawn: DrawnRun) -> None:
        super().__init__()
        self.drawn = drawn

    async def markers(self, run_id: str, gen: int) -> AsyncGenerator[Marker, None]:  # noqa: ARG002 - there is one run
        """Yield the markers."""
        for marker in self.drawn.markers():
            yield marker

    async def attempts(self, run_id: str, gen: int) -> AsyncGenerator[Any, None]:  # noqa: ARG002 - there is one run
        """Yield the failed attempts."""
        for batch in self.drawn.attempts():
            yield batch


def simulated(segments: int) -> DrawnRun:
    """Return a run with failures, retries and continuations."""
    return DrawnRun(
        segments,
        environments=ENVIRONMENTS,
        failed={segment: f"KeyError: 'carrier {segment}'" for segment in range(3, segments, 1_000)},
        hops={segment: 1 + segment % 3 for segment in range(7, segments, 10_000)},
    )


async def opened(drawn: DrawnRun) -> Backend:
    """Return a backend with a run whose segments are generated."""
    ledger = Made(drawn)
    end = CREATED + 60 + drawn.segments / ENVIRONMENTS
    await ledger.open_run(Run("r-1", "delays", {}, {"type": "range"}, CREATED, 2_000_000_000))
    await ledger.seal("r-1", drawn.segments)
    return replace(inmemory.backend(clock=lambda: end), ledger=ledger)


@isolated
def drawn(segments: int) -> dict[str, float]:
    """Read and draw a run."""
    from fanfold._report.page import page
    from fanfold._report.read_page import read_page

    backend = asyncio.run(opened(simulated(segments)))
    began = time.perf_counter()
    source = asyncio.run(read_page("r-1", backend))
    read = time.perf_counter()
    text = page(source)
    ended = time.perf_counter()
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{segments}.html").write_text(text, encoding="utf-8")
    return {
        "page KB": len(text.encode()) / 1e3,
        "seconds to read": read - began,
        "seconds to draw": ended - read,
        "peak MB": (status_bytes("VmHWM") or 0) / 1e6,
    }


@table(holds=lambda rows: all(row["page KB"] <= MOST_KB for row in rows))
def run_page(*, segments: Annotated[tuple[int, ...], "segments of the runs"] = (1_000, 100_000, 1_000_000)) -> Rows:
    """Read and draw runs of different sizes."""
    return [{"segments": count, **drawn(count)} for count in segments]


if __name__ == "__main__":
    main(run_page)
