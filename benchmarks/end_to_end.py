"""A whole run on the local AWS: how long it takes, and how soon the fold begins once the last segment has ended.

::

    python benchmarks/end_to_end.py [--segments 100] [--runs 9] [--json FILE]

The project's template is deployed to the emulated AWS with a job whose segments do nothing, and runs are started one
after another by invoking the scatter function. A run's time is from its creation to its end, as the ledger says. The
wait for the fold is from the moment when the last segment's handler returned to that when the user's fold is called:
the batch is entered in the ledger, the check is sent, received, and the markers are read in between. The first run,
whose workers are started, is not counted.
"""

import asyncio
from pathlib import Path
from statistics import median
from typing import Annotated

from measure import Rows, fail, main, table
from deployment import Deployment
from fanfold._stack.emulator import local_stack
from fanfold.aws.backend import connect


async def measure(job: Deployment, segments: int, runs: int) -> list[tuple[float, float]]:
    """Start the runs; return seconds of each, and of its wait for the fold."""
    seen = []
    async with connect(job.variables, **job.client_settings) as backend:
        for number in range(runs + 1):
            name = f"run-{number}"
            await asyncio.to_thread(job.scatter, name, segments=segments)
            told = await job.output(name, within_seconds=120)
            run = await backend.ledger.run(name)
            if run is None or run.ended_at is None:
                fail("a run did not succeed")
            seen.append((run.ended_at - run.created_at, told["fold"] - told["last_segment"]))
    return seen[1:]


@table("ministack")
def end_to_end(
    *, segments: Annotated[int, "segments of a run"] = 100, runs: Annotated[int, "runs that are counted"] = 9
) -> Rows:
    """Measure whole runs on the local AWS."""
    with local_stack() as stack:
        job = Deployment(stack, "end-to-end", Path(__file__).parent / "end_to_end_job", {"HandlerModule": "app"})
        seen = asyncio.run(measure(job, segments, runs))
    return [
        {
            "what": what,
            "runs": runs,
            "segments": segments,
            "median s": median(values),
            "least s": min(values),
            "most s": max(values),
        }
        for what, values in zip(("the run", "the wait for the fold"), zip(*seen, strict=True), strict=True)
    ]


if __name__ == "__main__":
    main(end_to_end)
