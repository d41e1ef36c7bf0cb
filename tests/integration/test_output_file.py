"""A file that a deployed fold returns, and how a user exports it."""

import json
from pathlib import Path

import pytest

from command import fanfold
from deployment import Deployment
from fanfold._jobs.report import watch
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import connect

pytestmark = pytest.mark.stack

JOB = Path(__file__).parent / "machine_job"


async def test_a_file_is_committed_next_to_the_output_and_exported(stack: LocalStack, tmp_path: Path):
    """It has its content type; the command exports the file itself, not the reference to it."""
    deployed = Deployment(stack, "file", JOB, {"HandlerModule": "file_app", "FunctionTimeout": "15"})
    deployed.scatter("r", count=5)
    async with connect(deployed.variables, **deployed.client_settings) as backend:
        seen = [progress async for progress in watch(backend, "r", within_seconds=600)]
        assert seen[-1].state == "SUCCEEDED"
        output = json.loads(await backend.get_result("runs/r/0/output.json"))
    rows = b"n\r\n0\r\n1\r\n2\r\n3\r\n4\r\n"
    assert output == {"file": "runs/r/0/numbers.csv", "bytes": len(rows), "rows": 5}
    head = deployed.clients["s3"].head_object(Bucket=deployed.outputs["ResultsBucket"], Key=output["file"])
    assert head["ContentType"] == "text/csv; charset=utf-8"
    variables = {**stack.environment, **deployed.variables}
    done = fanfold("results", "r", "--output", str(tmp_path / "numbers.csv"), **variables)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "numbers.csv").read_bytes() == rows
    assert fanfold("results", "r", **variables).stdout.encode().replace(b"\n", b"\r\n").replace(b"\r\r", b"\r") == rows
