"""System 2: ``examples/offsets`` on the local AWS, and what it has to count out."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from deployment import Deployment
from fanfold._stack.emulator import LocalStack
from systems.rows import EMULATED, Row, row

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "offsets"
CASES: Final[dict[str, tuple[dict[str, int], list[int]]]] = {
    "at-most": ({"records": 105, "at_most": 10}, [10] * 10 + [5]),
    "multiple": ({"records": 100, "at_most": 10}, [10] * 10),
    "evenly": ({"records": 105, "jobs": 4}, [27, 26, 26, 26]),
    "none": ({"records": 0, "at_most": 10}, []),
}
"""What a run is started with, and how many records each of its jobs has."""


def deployed(stack: LocalStack, build: Path) -> Deployment:
    """Deploy the example by the template that its Makefile makes for AWS; the folder is where it makes it."""
    subprocess.run(["make", "-C", str(EXAMPLE), "template", f"BUILD={build}"], check=True, capture_output=True)  # noqa: S603, S607 - ours
    parameters = {"StateMachine": "inline", "FunctionTimeout": "120"}  # eleven workers start at once
    return Deployment(stack, "offsets", EXAMPLE, parameters, template=build / "template.yaml")


def expected(case: str) -> list[dict[str, Any]]:
    """Return the jobs of a case: every record in exactly one, in order."""
    counts = CASES[case][1]
    offsets = [sum(counts[:number]) for number in range(len(counts))]
    return [
        {"offset": offset, "count": count, "processed": list(range(offset, offset + count))}
        for offset, count in zip(offsets, counts, strict=True)
    ]


async def rows(stack: LocalStack, folder: Path, *, by_each_road: bool) -> list[Row]:
    """Count records out, so many at most to a job or to so many jobs, by SQS and by a Map without a bound."""
    job = deployed(stack, folder)
    roads = {"SQS": job.scatter, "Map": job.execute} if by_each_road else {"SQS": job.scatter}
    return [
        *[await counted_out(job, road, start, case) for road, start in roads.items() for case in CASES],
        row(2, "Map: MaxConcurrency, as deployed", 0, job.states()["Process segments"]["MaxConcurrency"], EMULATED),
    ]


async def counted_out(job: Deployment, road: str, start: Callable[..., object], case: str) -> Row:
    """Run one case by one road."""
    (params, counts), run = CASES[case], f"{road}-{case}"
    start(run, **params)
    jobs = [json.loads(line) for line in await job.lines(await job.output(run))]
    figure, wanted = f"{road}: {asked_in_words(**params)}", jobs_in_words(counts)
    came = jobs_in_words([each["count"] for each in jobs])
    return row(2, figure, wanted, came, EMULATED, holds=jobs == expected(case))


def asked_in_words(*, records: int, at_most: int = 0, jobs: int = 0) -> str:
    """Say what a run was started with."""
    return f"{records} records, " + (f"at most {at_most} a job" if at_most else f"over {jobs} jobs")


def jobs_in_words(counts: list[int]) -> str:
    """Say how many jobs there are, and of how many records."""
    if len(set(counts)) > 1 and len(counts) <= 4:
        return f"{len(counts)} jobs: {'/'.join(map(str, counts))}"
    return f"{len(counts)} jobs, first {counts[0]}, last {counts[-1]}" if counts else "none"
