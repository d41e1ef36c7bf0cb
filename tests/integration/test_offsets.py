"""System 2: records counted out to jobs by offset and count, by SQS and by a Map with MaxConcurrency 0."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from deployment import Deployment

from fanfold.account import account_of, watch
from fanfold.aws.backend import connect
from fanfold.local.stack import LocalStack

EXAMPLE = Path(__file__).parents[2] / "examples" / "offsets"

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def deployment(stack: LocalStack, tmp_path_factory) -> Deployment:
    """The example, by the template that its Makefile makes for AWS."""
    build = tmp_path_factory.mktemp("offsets")
    subprocess.run(["make", "-C", str(EXAMPLE), "template", f"BUILD={build}"], check=True)  # noqa: S603, S607 - ours
    parameters = {"StateMachine": "inline", "FunctionTimeout": "120"}  # eleven workers start at once
    return Deployment(stack, "offsets", EXAMPLE, parameters, template=build / "template.yaml")


async def jobs_of(deployment: Deployment, run_id: str) -> list[str]:
    """Wait for the end of a run and return the lines of its output, one a job."""
    async with connect(deployment.variables, **deployment.client_settings) as backend:
        seen = [progress async for progress in watch(backend, run_id, within_seconds=240)]
        assert seen[-1].state == "SUCCEEDED"
        run = await backend.ledger.run(run_id)
        output = json.loads(await backend.get_result(run.output))
        lines = (await backend.get_result(output["file"])).decode().splitlines()
        account = await account_of(backend, run)
        assert output["rows"] == account.segments == account.done == len(lines)
        return lines


CASES = {
    "at-most": ({"records": 105, "at_most": 10}, [10] * 10 + [5]),
    "multiple": ({"records": 100, "at_most": 10}, [10] * 10),
    "evenly": ({"records": 105, "jobs": 4}, [27, 26, 26, 26]),
    "none": ({"records": 0, "at_most": 10}, []),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("road", ["queue", "machine"])
async def test_every_record_is_in_exactly_one_job(deployment: Deployment, road: str, case: str):
    """Job by job in order: 105 records are eleven jobs of ten at most, the last of five, or four of 26 or 27."""
    params, counts = CASES[case]
    run = f"{road}-{case}"
    if road == "queue":
        deployment.scatter(run, **params)
    else:
        assert deployment.execute(run, **params) == "SUCCEEDED"
    jobs = [json.loads(line) for line in await jobs_of(deployment, run)]
    assert [job["count"] for job in jobs] == counts
    assert [job["offset"] for job in jobs] == [sum(counts[:number]) for number in range(len(counts))]
    assert [number for job in jobs for number in job["processed"]] == list(range(params["records"]))


def test_the_map_of_its_state_machine_has_no_bound(deployment: Deployment):
    """As the Makefile says."""
    machine = deployment.outputs["StateMachine"]
    described = deployment.client("stepfunctions").describe_state_machine(stateMachineArn=machine)
    assert json.loads(described["definition"])["States"]["Work on segments"]["MaxConcurrency"] == 0


async def test_the_readme_shows_what_a_run_gives(deployment: Deployment):
    """Byte by byte."""
    shown = re.findall(r"^```json\n(.*?)^```", (EXAMPLE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    deployment.scatter("queue-at-most", records=105, at_most=10)  # the run of that name, or a new one
    assert shown[0].splitlines() == await jobs_of(deployment, "queue-at-most")
