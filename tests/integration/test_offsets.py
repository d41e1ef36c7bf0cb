"""System 2: records divided into jobs by offset and count, with SQS and with a Map whose MaxConcurrency is 0."""

import json
import re

import pytest

from deployment import Deployment
from fanfold._jobs.report import read_report
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import connect
from systems.offsets import CASES, EXAMPLE, deployed, expected

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def deployment(stack: LocalStack, tmp_path_factory) -> Deployment:
    """Deploy the example with the template that its Makefile generates for AWS."""
    return deployed(stack, tmp_path_factory.mktemp("offsets"))


async def jobs_of(deployment: Deployment, run_id: str) -> list[str]:
    """Wait for the end of a run and return the lines of its output, one per job."""
    output = await deployment.output(run_id)
    lines = await deployment.lines(output)
    async with connect(deployment.variables, **deployment.client_settings) as backend:
        report = await read_report(backend, await backend.ledger.run(run_id))
    assert output["rows"] == report.segments == report.done == len(lines)
    return lines


# Slow: an unlimited map starts a process of the emulator for each of four segments.
@pytest.mark.parametrize(
    ("road", "case"), [*(("queue", case) for case in CASES), ("machine", "evenly"), ("machine", "none")]
)
async def test_every_record_is_in_exactly_one_job(deployment: Deployment, road: str, case: str):
    """In order: 105 records make eleven jobs of at most ten, the last of five, or four jobs of 26 or 27."""
    params, _ = CASES[case]
    run = f"{road}-{case}"
    if road == "queue":
        deployment.scatter(run, **params)
    else:
        assert deployment.execute(run, **params) == "SUCCEEDED"
    assert [json.loads(line) for line in await jobs_of(deployment, run)] == expected(case)


def test_the_map_of_its_state_machine_has_no_concurrency_limit(deployment: Deployment):
    """The Makefile sets this."""
    assert deployment.states()["Process segments"]["MaxConcurrency"] == 0


async def test_the_readme_shows_the_output_of_a_run(deployment: Deployment):
    """Byte for byte."""
    shown = re.findall(r"^```json\n(.*?)^```", (EXAMPLE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    deployment.scatter("queue-at-most", records=105, at_most=10)  # the run of that name, or a new one
    assert shown[0].splitlines() == await jobs_of(deployment, "queue-at-most")
