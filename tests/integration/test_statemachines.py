"""The same job on Step Functions: both definitions, deployed by the template with its roles."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from command import fanfold, only_line
from deployment import Deployment, Topic
from fanfold._jobs.redrive import redrive
from fanfold._jobs.report import read_report, watch
from fanfold._stack.emulator import LocalStack
from fanfold._stack.project import project_folder
from fanfold.aws.backend import connect
from policies import denials, over_http

pytestmark = pytest.mark.stack  # a map starts a process of the emulator for concurrent segments, and after each failure

JOB = Path(__file__).parent / "machine_job"
PAYLOAD_BYTES = 262_144
PLACES = ("QUEUE_URL", "FOLD_QUEUE_URL", "QUARANTINE_QUEUE_URL", "LEDGER_TABLE", "RESULTS_BUCKET")
NOWHERE = {f"FANFOLD_{place}": "none" for place in PLACES}


@pytest.fixture(scope="module", params=["inline", pytest.param("distributed", marks=pytest.mark.deep)])
def machine(request, strict: LocalStack, tmp_path_factory) -> "Machine":
    folder = tmp_path_factory.mktemp(request.param)
    template = over_http(project_folder() / "template.yaml", folder / "template.yaml")
    return Machine(strict, request.param, template)


ONE_OF_THEM = pytest.mark.parametrize("machine", ["inline"], indirect=True)
"""For what does not depend on the definition."""


class Machine:
    """A deployed state machine."""

    def __init__(self, stack: LocalStack, kind: str, template: Path) -> None:
        self.kind = kind
        self.stack = stack
        topic = Topic(stack, f"notified-{kind}")
        self.messages = topic.messages
        parameters = {"StateMachine": kind, "FunctionTimeout": "30", "NotificationTopicArn": topic.arn}
        self.deployed = Deployment(stack, f"machine-{kind}", JOB, parameters, template=template)
        self.run = self.deployed.execute


async def test_a_run_ends_with_one_output_and_an_exact_report(machine: Machine):
    """One segment fails in its first attempt and one always, which is tolerated; the ledger has the reason."""
    assert machine.run("tolerated", count=5, flaky=[3], bad=[1]) == "SUCCEEDED"
    async with connect(machine.deployed.variables, **machine.deployed.client_settings) as backend:
        run = await backend.ledger.run("tolerated")
        assert (run.state, json.loads(await backend.get_result(run.output))) == ("SUCCEEDED", sum(range(5)) - 1)
        report = await read_report(backend, run)
        assert (report.segments, report.done, report.failed) == (5, 4, {1: "ValueError: this one never ends"})
    (notification,) = machine.messages()
    assert json.loads(notification)["failures"] == {"1": "ValueError: this one never ends"}
    assert denials(machine.stack, f"machine-{machine.kind}") == []


async def assert_combined_three_at_a_time(machine: Machine, name: str) -> None:
    """Check the output of a run of ten segments, and its objects of combined results."""
    async with connect(machine.deployed.variables, **machine.deployed.client_settings) as backend:
        seen = [progress.state async for progress in watch(backend, name, within_seconds=600)]
        assert seen[-1] == "SUCCEEDED"
        run = await backend.ledger.run(name)
        assert json.loads(await backend.get_result(run.output)) == sum(range(10))
    groups = machine.deployed.objects(f"runs/{name}/0/combine/")
    assert [group.rpartition("combine/")[2] for group in groups if group.endswith(".json")] == [
        *(f"0/{number:08}.json" for number in range(4)),
        *(f"1/{number:08}.json" for number in range(2)),
        "tree.json",
    ]
    machine.messages()
    assert denials(machine.stack, f"machine-{machine.kind}") == []


async def test_its_results_were_combined_three_at_a_time(machine: Machine):
    """By the collect step."""
    assert machine.run("tree", count=10) == "SUCCEEDED"
    await assert_combined_three_at_a_time(machine, "tree")


@ONE_OF_THEM
async def test_in_a_run_with_queues_the_fold_function_combines_three_results_at_a_time(machine: Machine):
    """In several invocations."""
    assert machine.deployed.scatter("queued-tree", count=10)["segments"] == 10
    await assert_combined_three_at_a_time(machine, "queued-tree")


async def test_failed_segments_are_listed_and_redriven_with_the_queues(machine: Machine):
    """If more segments fail than the job tolerates, the execution fails too. A redrive processes only these."""
    assert machine.run("failed", count=4, bad=[0, 2], fixed=True) == "FAILED"
    (notification,) = machine.messages()
    assert json.loads(notification)["state"] == "FAILED"
    async with connect(machine.deployed.variables, **machine.deployed.client_settings) as backend:
        run = await backend.ledger.run("failed")
        assert run.state == "FAILED"
        assert list(json.loads(await backend.get_result(run.output))["segments"]) == ["0", "2"]
        assert (await redrive("failed", backend)).segments == 2
        seen = [progress.state async for progress in watch(backend, "failed", within_seconds=600)]
        assert seen[-1] == "SUCCEEDED"
        run = await backend.ledger.run("failed")
        assert json.loads(await backend.get_result(run.output)) == sum(range(4))
        report = await read_report(backend, run)
        assert (report.segments, report.done, report.failed) == (4, 4, {})
    machine.messages()


async def test_a_plan_larger_than_a_state_is_stored_in_s3(machine: Machine):
    """The distributed state machine runs it; the error of the inline one suggests the distributed one."""
    rows = [f"n,{'x' * 10_000}\n", *(f"{number},{'y' * 990}\n" for number in range(30))]
    machine.deployed.upload("input/large.csv", "".join(rows).encode())
    status = machine.run("large", key="input/large.csv")
    if machine.kind == "inline":
        assert status == "FAILED"
        (notification,) = machine.messages()
        assert "use the distributed state machine" in notification
        return
    assert status == "SUCCEEDED"
    async with connect(machine.deployed.variables, **machine.deployed.client_settings) as backend:
        info = await backend.store.head(backend.results_bucket, "runs/large/0/source/items.json")
        assert info.size_bytes > PAYLOAD_BYTES
        run = await backend.ledger.run("large")
        assert json.loads(await backend.get_result(run.output)) == sum(range(30))


def by_command(machine: Machine, *arguments: str, **params: Any) -> subprocess.CompletedProcess[str]:
    """Run ``fanfold run --state-machine`` with the deployed state machine, like a user."""
    variables = {**machine.stack.environment, **machine.deployed.variables}
    flags = ("--state-machine", "--params", json.dumps(params), *arguments)
    return fanfold("run", "app:job", *flags, folder=JOB, **variables)


@ONE_OF_THEM
def test_a_command_starts_an_execution_and_watches_the_run_to_its_end(machine: Machine):
    """It prints the same as a run with queues; the name cannot be used again."""
    done = by_command(machine, "--run", "by-command", "--json", count=3)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["run"], document["state"], document["output"]) == ("by-command", "SUCCEEDED", sum(range(3)))
    assert (document["report"]["segments"], document["report"]["done"]) == (3, 3)
    error = only_line(by_command(machine, "--run", "by-command", count=7).stderr)
    assert "already has an execution named by-command: choose another name" in error
    machine.messages()


@ONE_OF_THEM
def test_a_command_reports_how_its_run_or_its_execution_failed(machine: Machine):
    """A run with too many failures lists them; an execution whose plan step failed shows its own error."""
    failed = by_command(machine, "--run", "command-failed", count=3, bad=[0, 2])
    assert failed.returncode == 1
    assert "run command-failed ended as FAILED" in only_line(failed.stderr)
    unplanned = by_command(machine, "--run", "unplanned", bucket="no-such-bucket", key="none.csv")
    assert unplanned.returncode == 1
    assert "execution unplanned ended as FAILED, but the run has not ended: " in only_line(unplanned.stderr)
    late = by_command(machine, "--within", "1", count=20)
    assert "has not ended within 1 s and is still running" in only_line(late.stderr)
    machine.messages()


@pytest.mark.parametrize(
    ("arn", "arguments", "message"),
    [
        ("", [], "FANFOLD_STATE_MACHINE_ARN is not set: deploy with StateMachine=inline or distributed"),
        (
            "arn:aws:states:us-east-1:000000000000:stateMachine:none",
            [],
            "does not exist; check the name and the region",
        ),
        ("arn", ["--run", "x" * 81], "the name of an execution must have at most 80 characters, not 81"),
        ("arn", ["--run", "not/a/name"], "starting with a letter or digit"),
        ("arn", ["--inline"], "--state-machine and --inline do not go together"),
        ("arn", ["--dry-run"], "--state-machine and --dry-run do not go together"),
    ],
)
def test_a_run_that_cannot_be_started_is_one_clear_line(
    strict: LocalStack, arn: str, arguments: list[str], message: str
):
    """Nothing is started."""
    variables = NOWHERE | {"FANFOLD_STATE_MACHINE_ARN": arn}
    flags = ("run", "app:job", "--state-machine", "--params", '{"count": 3}', *arguments)
    done = fanfold(*flags, folder=JOB, **strict.environment, **variables)
    assert done.returncode == 2
    assert message in only_line(done.stderr)


def test_a_job_that_continues_segments_cannot_run_on_a_state_machine(strict: LocalStack):
    """The error is raised before anything is started."""
    variables = NOWHERE | {"FANFOLD_STATE_MACHINE_ARN": "arn"}
    done = fanfold(
        "run", "app:job", "--state-machine", folder=JOB.parent / "long_job", **strict.environment, **variables
    )
    assert "continuation=True needs a work queue and does not work on Step Functions" in only_line(done.stderr)


def test_without_the_parameter_there_is_no_state_machine(strict: LocalStack):
    """Its functions and roles do not exist either."""
    deployed = Deployment(strict, "no-machine", JOB, {})
    assert "StateMachine" not in deployed.outputs
    resources = deployed.clients["cloudformation"].list_stack_resources(StackName="no-machine")
    names = {resource["LogicalResourceId"] for resource in resources["StackResourceSummaries"]}
    assert not names & {"PlanFunction", "TaskRole", "InlineStateMachine", "DistributedStateMachine"}
