"""System 2: ``examples/offsets`` on the local AWS, and what it has to count out."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

from deployment import Deployment
from fanfold.local.stack import LocalStack

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "offsets"
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
