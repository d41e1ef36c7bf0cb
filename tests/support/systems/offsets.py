"""System 2: ``examples/offsets`` on the local AWS, and the expected jobs."""

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
"""Parameters of a run, and the number of records of each of its jobs."""


def deployed(stack: LocalStack, build: Path) -> Deployment:
    """Deploy the example from the template that its Makefile generates in the folder ``build``."""
    subprocess.run(["make", "-C", str(EXAMPLE), "template", f"BUILD={build}"], check=True, capture_output=True)  # noqa: S603, S607 - our own Makefile
    parameters = {"StateMachine": "inline", "FunctionTimeout": "120"}  # eleven workers start concurrently
    return Deployment(stack, "offsets", EXAMPLE, parameters, template=build / "template.yaml")


def expected(case: str) -> list[dict[str, Any]]:
    """Return the jobs of a case: every record is in exactly one job, in order."""
    counts = CASES[case][1]
    offsets = [sum(counts[:number]) for number in range(len(counts))]
    return [
        {"offset": offset, "count": count, "processed": list(range(offset, offset + count))}
        for offset, count in zip(offsets, counts, strict=True)
    ]


async def rows(stack: LocalStack, folder: Path, *, by_each_road: bool) -> list[Row]:
    """Divide records into jobs with SQS and with a Map state without a limit, or with SQS only."""
    job = deployed(stack, folder)
    paths = {"SQS": job.scatter, "Map": job.execute} if by_each_road else {"SQS": job.scatter}
    return [
        *[await divided(job, path, start, case) for path, start in paths.items() for case in CASES],
        row(2, "Map: MaxConcurrency, as deployed", 0, job.states()["Process segments"]["MaxConcurrency"], EMULATED),
    ]


async def divided(job: Deployment, path: str, start: Callable[..., object], case: str) -> Row:
    """Run one case by one path."""
    (params, counts), run = CASES[case], f"{path}-{case}"
    start(run, **params)
    jobs = [json.loads(line) for line in await job.lines(await job.output(run))]
    figure, expected_jobs = f"{path}: {describe_params(**params)}", describe_jobs(counts)
    actual_jobs = describe_jobs([job["count"] for job in jobs])
    return row(2, figure, expected_jobs, actual_jobs, EMULATED, holds=jobs == expected(case))


def describe_params(*, records: int, at_most: int = 0, jobs: int = 0) -> str:
    """Describe the parameters of a run."""
    return f"{records} records, " + (f"at most {at_most} a job" if at_most else f"over {jobs} jobs")


def describe_jobs(counts: list[int]) -> str:
    """Describe the number of jobs and of their records."""
    if len(set(counts)) > 1 and len(counts) <= 4:
        return f"{len(counts)} jobs: {'/'.join(map(str, counts))}"
    return f"{len(counts)} jobs, first {counts[0]}, last {counts[-1]}" if counts else "none"
