"""``template.yaml`` with the real SAM CLI: linted, built, deployed, run, updated, and deleted."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from command import succeeds
from fanfold._jobs.report import RunReport, read_report, watch
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import connect
from fanfold.aws.outputs import variables_of
from sam import OUR_ARCHITECTURE, OUR_VERSION, ROOT, build, environment, program, sam
from worker_trial import in_queue

pytestmark = [pytest.mark.stack, pytest.mark.slow]

HEADER = b"carrier,dep_time,dep_delay,arr_delay\n"
SOUND, POISON = b"AA,5,2,4\n", b'"AA,5,22\n'
DEV = ("--config-file", str(ROOT / "samconfig.toml"), "--config-env", "dev")
STACK = "fanfold-dev"


@pytest.fixture(scope="module")
def built(tmp_path_factory, wheels: dict[str, str]) -> Path:
    """Run ``sam build`` for the Python version and processor of the tests; return its output folder.

    Slow: pip unpacks 60 MB.
    """
    return build(tmp_path_factory.mktemp("sam"), **wheels)


@pytest.mark.deep
def test_the_linter_of_sam_reports_nothing():
    """Not even a warning. ``make lint`` runs cfn-lint."""
    assert "is a valid SAM Template" in sam("validate", "--lint")


def test_the_build_is_complete(built: Path):
    """Every handler can be imported from the layer and the function's folder, without any other package."""
    program = "import app, faulty_app, fanfold.aws.backend, fanfold.aws.sqs; print(app.segment_handler)"
    for function in ("ScatterFunction", "SegmentFunction", "DeadLetterFunction", "FoldFunction"):
        run_built(built, function, program)


def run_built(built: Path, function: str, program: str) -> None:
    """Run a program with only the build output of a function."""
    folders = [str(built / function), str(built / "DependenciesLayer" / "python")]
    code = f"import sys; sys.path[:0] = sys.argv[1:]; {program}; import fanfold; print(fanfold.__file__)"
    assert str(built) in succeeds(sys.executable, "-I", "-S", "-c", code, *folders)


# Slow: a build by the SAM CLI.
@pytest.mark.deep
def test_an_example_is_built_by_its_makefile(tmp_path: Path, wheels: dict[str, str]):
    """It uses the project's template with the code and requirements of the example."""
    chosen = {"PYTHON_VERSION": OUR_VERSION, "ARCHITECTURE": OUR_ARCHITECTURE}
    variables = environment({**chosen, **wheels})
    variables["PATH"] += f":{program().parent}"
    parameters = f"StateMachine=inline Runtime=python{OUR_VERSION} Architecture={OUR_ARCHITECTURE}"
    settings = [f"BUILD={tmp_path}", f"PARAMETERS={parameters}"]
    succeeds("make", "-C", ROOT / "examples" / "member_points", "build", *settings, env=variables, timeout=None)
    for function in ("FoldFunction", "CollectFunction"):
        run_built(
            tmp_path / ".aws-sam" / "build", function, "import app, members, xlsxwriter; print(app.collect_handler)"
        )


def test_the_built_modules_are_compiled(built: Path):
    """Lambda cannot store compiled modules, so every module has a compiled file that ignores timestamps."""
    for folder in (built / "SegmentFunction", built / "DependenciesLayer" / "python" / "fanfold"):
        for module in folder.glob("*.py"):
            compiled = (folder / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}.pyc").read_bytes()
            assert int.from_bytes(compiled[4:8], "little") == 0b01  # by a hash that is not checked


# Slow: each is a build by the SAM CLI.
@pytest.mark.deep
@pytest.mark.parametrize(("version", "architecture"), [("3.11", "x86_64"), ("3.12", "arm64"), ("3.13", "x86_64")])
def test_every_python_and_every_processor_is_built_on_this_machine(version: str, architecture: str, tmp_path: Path):
    """Without a container and without that Python version, compiled packages match the requested version.

    Of the project's dependencies, only those with compiled packages are installed.
    """
    flights = tmp_path / "examples" / "flights"
    shutil.copytree(ROOT / "examples" / "flights", flights)
    shutil.copytree(ROOT / "statemachine", tmp_path / "statemachine")
    shutil.copy(ROOT / "template.yaml", tmp_path)
    (flights / "requirements.txt").write_text("aiohttp\n")
    folder = build(tmp_path / "out", version, architecture, tmp_path)
    compiled = [file.name for file in (folder / "DependenciesLayer" / "python").rglob("*.so")]
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[architecture]
    assert compiled
    suffix = f"cpython-{version.replace('.', '')}-{machine}-linux-gnu.so"
    assert [name for name in compiled if not name.endswith(suffix)] == []


def deploy(stack: LocalStack, built: Path, **parameters: str) -> dict[str, str]:
    """Deploy to the dev environment of ``samconfig.toml`` and return the outputs.

    The emulator unpacks the layer for each concurrent function: two are enough here.
    """
    parameters = {"Stage": "dev", "MaximumConcurrency": "2", **parameters}
    overrides = [f"{name}={value}" for name, value in parameters.items()]
    flags = ("--template-file", str(built / "template.yaml"), *DEV, "--parameter-overrides")
    sam("deploy", *flags, *overrides, **stack.environment)
    described = client(stack, "cloudformation").describe_stacks(StackName=STACK)
    return {output["OutputKey"]: output["OutputValue"] for output in described["Stacks"][0]["Outputs"]}


def without_other_services(built: Path) -> Path:
    """Delete what the SDK knows of services that no function calls: 45 MB, packed and unpacked many times."""
    for package in ("botocore", "boto3"):
        for folder in (built / "DependenciesLayer" / "python" / package / "data").glob("*/"):
            if folder.name not in {"dynamodb", "lambda", "s3", "sns", "sqs", "stepfunctions", "sts"}:
                shutil.rmtree(folder)
    return built


def client(stack: LocalStack, service: str) -> Any:
    return boto3.client(service, **stack.client_settings)


async def run(stack: LocalStack, outputs: Mapping[str, str], name: str, rows: bytes, strays: int) -> RunReport:
    """Run the deployed job over rows, one per segment, after sending messages that are not segments."""
    client(stack, "s3").put_object(Bucket=outputs["ResultsBucket"], Key=f"input/{name}.csv", Body=HEADER + rows)
    params = {"bucket": outputs["ResultsBucket"], "key": f"input/{name}.csv", "chunk_bytes": len(SOUND)}
    for number in range(strays):
        client(stack, "sqs").send_message(QueueUrl=outputs["QueueUrl"], MessageBody=f"stray {number}")
    request = json.dumps({"run": name, "params": params}).encode()
    response = client(stack, "lambda").invoke(FunctionName=outputs["ScatterFunction"], Payload=request)
    assert json.loads(response["Payload"].read())["segments"] == len(rows) // len(SOUND)
    async with connect(variables_of(outputs), **stack.client_settings) as backend:
        async for _ in watch(backend, name, within_seconds=600):
            pass
        return await read_report(backend, await backend.ledger.run(name))


def settings(stack: LocalStack, outputs: Mapping[str, str]) -> tuple[int, int, int]:
    """Return the segment function's memory and timeout, and the work queue's visibility timeout."""
    function = client(stack, "lambda").get_function_configuration(FunctionName=outputs["SegmentFunction"])
    queue = client(stack, "sqs").get_queue_attributes(QueueUrl=outputs["QueueUrl"], AttributeNames=["All"])
    return function["MemorySize"], function["Timeout"], int(queue["Attributes"]["VisibilityTimeout"])


# Slow: two deployments by the SAM CLI, and a cold start for each function.
@pytest.mark.deep
async def test_a_job_is_deployed_run_updated_and_deleted(own_stack: LocalStack, built: Path):
    """Of 150 messages, 140 are done; 5 unreadable segments and 5 stray messages are reported with their reasons."""
    without_other_services(built)
    outputs = deploy(own_stack, built, FunctionTimeout="15")
    assert settings(own_stack, outputs) == (1769, 15, 90)
    report = await run(own_stack, outputs, "first", (SOUND * 28 + POISON) * 5, strays=5)
    assert (report.segments, report.done, report.missing) == (145, 140, 0)
    assert sorted(report.failed) == [28, 57, 86, 115, 144]
    assert all("quote" in reason for reason in report.failed.values())
    assert [in_queue(client(own_stack, "sqs"), outputs[queue]) for queue in ("QueueUrl", "DeadLetterQueueUrl")] == [
        0,
        0,
    ]
    assert in_queue(client(own_stack, "sqs"), outputs["QuarantineQueueUrl"]) == 5

    assert deploy(own_stack, built, FunctionTimeout="30", MemorySize="512") == outputs
    assert settings(own_stack, outputs) == (512, 30, 180)
    second = await run(own_stack, outputs, "second", SOUND * 20, strays=0)
    assert (second.segments, second.done) == (20, 20)

    sam("delete", *DEV, "--no-prompts", "--region", "us-east-1", **own_stack.environment)
    with pytest.raises(client(own_stack, "cloudformation").exceptions.ClientError, match="does not exist"):
        client(own_stack, "cloudformation").describe_stacks(StackName=STACK)
    assert client(own_stack, "lambda").list_functions()["Functions"] == []
    objects = client(own_stack, "s3").list_objects_v2(Bucket=outputs["ResultsBucket"], Prefix="runs/first/")
    assert objects["KeyCount"] > 0  # results are retained when the stack is deleted
