"""A complete run on the local AWS: its duration, and the time from the end of the last segment to the fold.

::

    python benchmarks/end_to_end.py [--segments 100] [--runs 9] [--json FILE]

fanfold's template is deployed to the emulated AWS with a job whose segments do nothing. Runs are started one after
another by invoking the scatter function. The duration of a run is from its creation to its end in the ledger. The wait
for the fold is from the return of the last segment's handler to the call of the user's fold: in between, the batch is
entered in the ledger, the check is sent and received, and the markers are read. The first run is not counted, because
it starts the workers.
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
            output = await job.output(name, within_seconds=120)
            run = await backend.ledger.run(name)
            if run is None or run.ended_at is None:
                fail("a run did not succeed")
            seen.append((run.ended_at - run.created_at, output["fold"] - output["last_segment"]))
    return seen[1:]


@table("ministack")
def end_to_end(
    *, segments: Annotated[int, "segments of a run"] = 100, runs: Annotated[int, "runs that are counted"] = 9
) -> Rows:
    """Measure complete runs on the local AWS."""
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
