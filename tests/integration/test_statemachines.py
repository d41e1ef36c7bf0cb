"""The same job on Step Functions: both definitions, deployed by the template with the roles it gives."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command import fanfold, only_line
from deployment import Deployment, Topic
from fanfold._jobs.redrive import redrive
from fanfold._jobs.report import read_report, watch
from fanfold._stack.emulator import LocalStack, local_stack
from fanfold._stack.project import project_folder
from fanfold.aws.backend import connect
from policies import denials, over_http

pytestmark = pytest.mark.stack

JOB = Path(__file__).parent / "machine_job"
PAYLOAD_BYTES = 262_144
PLACES = ("QUEUE_URL", "FOLD_QUEUE_URL", "QUARANTINE_QUEUE_URL", "LEDGER_TABLE", "RESULTS_BUCKET")
NOWHERE = {f"FANFOLD_{place}": "none" for place in PLACES}


@pytest.fixture(scope="module")
def strict() -> Iterator[LocalStack]:
    """An emulated AWS on which the functions may do what their roles allow, and no more."""
    with local_stack(enforce_policies=True, wait_share=0.01) as stack:
        yield stack


@pytest.fixture(scope="module", params=["inline", "distributed"])
def machine(request, strict: LocalStack, tmp_path_factory) -> "Machine":
    folder = tmp_path_factory.mktemp(request.param)
    template = over_http(project_folder() / "template.yaml", folder / "template.yaml")
    return Machine(strict, request.param, template)


class Machine:
    """A deployed state machine."""

    def __init__(self, stack: LocalStack, kind: str, template: Path) -> None:
        self.kind = kind
        self.stack = stack
        topic = Topic(stack, f"told-{kind}")
        self.messages = topic.messages
        parameters = {"StateMachine": kind, "FunctionTimeout": "30", "NotificationTopicArn": topic.arn}
        self.deployed = Deployment(stack, f"machine-{kind}", JOB, parameters, template=template)
        self.run = self.deployed.execute


async def test_a_run_ends_with_one_output_and_an_exact_account(machine: Machine):
    """One segment fails at its first try, one always: the run bears one; the ledger has it all, with the reason."""
    assert machine.run("borne", count=8, flaky=[3], bad=[5]) == "SUCCEEDED"
    async with connect(machine.deployed.variables, **machine.deployed.client_settings) as backend:
        run = await backend.ledger.run("borne")
        assert (run.state, json.loads(await backend.get_result(run.output))) == ("SUCCEEDED", sum(range(8)) - 5)
        account = await read_report(backend, run)
        assert (account.segments, account.done, account.failed) == (8, 7, {5: "ValueError: this one never ends"})
    (told,) = machine.messages()
    assert json.loads(told)["failures"] == {"5": "ValueError: this one never ends"}
    assert denials(machine.stack, f"machine-{machine.kind}") == []


async def test_its_results_were_combined_three_at_a_time(machine: Machine):
    """By the step that collects them; and by the fold function's invocations, in a run over the queues."""
    assert machine.run("tree", count=10) == "SUCCEEDED"
    assert machine.deployed.scatter("queued-tree", count=10)["segments"] == 10
    async with connect(machine.deployed.variables, **machine.deployed.client_settings) as backend:
        seen = [progress.state async for progress in watch(backend, "queued-tree", within_seconds=120)]
        assert seen[-1] == "SUCCEEDED"
        for name in ("tree", "queued-tree"):
            run = await backend.ledger.run(name)
            assert json.loads(await backend.get_result(run.output)) == sum(range(10))
            groups = machine.deployed.objects(f"runs/{name}/0/combine/")
            assert [group.rpartition("combine/")[2] for group in groups if group.endswith(".json")] == [
                *(f"0/{number:08}.json" for number in range(4)),
                *(f"1/{number:08}.json" for number in range(2)),
                "tree.json",
            ]
    machine.messages()
    machine.messages()
    assert denials(machine.stack, f"machine-{machine.kind}") == []


async def test_a_run_that_fails_has_the_list_of_what_failed(machine: Machine):
    """More segments than it bears: the execution fails too."""
    assert machine.run("failed", count=3, bad=[0, 2]) == "FAILED"
    (told,) = machine.messages()
    assert json.loads(told)["state"] == "FAILED"
    async with connect(machine.deployed.variables, **machine.deployed.client_settings) as backend:
        run = await backend.ledger.run("failed")
        assert run.state == "FAILED"
        assert list(json.loads(await backend.get_result(run.output))["segments"]) == ["0", "2"]


async def test_what_failed_in_it_is_done_again_over_the_queues(machine: Machine):
    """By ``fanfold redrive``, as of any run: those segments and no others, and a second output."""
    assert machine.run("redriven", count=5, bad=[1, 3], mended=True) == "FAILED"
    async with connect(machine.deployed.variables, **machine.deployed.client_settings) as backend:
        assert (await redrive("redriven", backend)).segments == 2
        seen = [progress.state async for progress in watch(backend, "redriven", within_seconds=120)]
        assert seen[-1] == "SUCCEEDED"
        run = await backend.ledger.run("redriven")
        assert json.loads(await backend.get_result(run.output)) == sum(range(5))
        account = await read_report(backend, run)
        assert (account.segments, account.done, account.failed) == (5, 5, {})
    machine.messages()
    machine.messages()


async def test_a_plan_larger_than_a_state_goes_by_s3(machine: Machine):
    """The distributed machine runs it; the inline one says what to do."""
    rows = [f"n,{'x' * 10_000}\n", *(f"{number},{'y' * 990}\n" for number in range(30))]
    machine.deployed.upload("input/large.csv", "".join(rows).encode())
    status = machine.run("large", key="input/large.csv")
    if machine.kind == "inline":
        assert status == "FAILED"
        (told,) = machine.messages()
        assert "use the distributed state machine" in told
        return
    assert status == "SUCCEEDED"
    async with connect(machine.deployed.variables, **machine.deployed.client_settings) as backend:
        info = await backend.store.head(backend.results_bucket, "runs/large/0/source/items.json")
        assert info.size_bytes > PAYLOAD_BYTES
        run = await backend.ledger.run("large")
        assert json.loads(await backend.get_result(run.output)) == sum(range(30))


def by_command(machine: Machine, *arguments: str, **params: Any) -> subprocess.CompletedProcess[str]:
    """Run ``fanfold run --state-machine``, as a user does, where the machine is deployed."""
    variables = {**machine.stack.environment, **machine.deployed.variables}
    flags = ("--state-machine", "--params", json.dumps(params), *arguments)
    return fanfold("run", "app:job", *flags, folder=JOB, **variables)


def test_a_command_starts_an_execution_and_watches_the_run_to_its_end(machine: Machine):
    """It prints what a run over the queues prints; the name cannot be used again."""
    done = by_command(machine, "--run", "by-command", "--json", count=6)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["run"], told["state"], told["output"]) == ("by-command", "SUCCEEDED", sum(range(6)))
    assert (told["account"]["segments"], told["account"]["done"]) == (6, 6)
    again = only_line(by_command(machine, "--run", "by-command", count=7).stderr)
    assert "already has an execution named by-command: choose another name" in again
    machine.messages()


def test_a_command_says_how_its_run_or_its_execution_failed(machine: Machine):
    """A run that bears no more has its failures; an execution that planned nothing has its own words."""
    failed = by_command(machine, "--run", "command-failed", count=3, bad=[0, 2])
    assert failed.returncode == 1
    assert "run command-failed ended as FAILED" in only_line(failed.stderr)
    unplanned = by_command(machine, "--run", "unplanned", bucket="no-such-bucket", key="none.csv")
    assert unplanned.returncode == 1
    assert "the execution unplanned ended as FAILED, the run has not: " in only_line(unplanned.stderr)
    late = by_command(machine, "--within", "1", count=20)
    assert "has not ended in 1 s; it goes on by itself" in only_line(late.stderr)
    machine.messages()


@pytest.mark.parametrize(
    ("arn", "arguments", "said"),
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
def test_what_cannot_be_started_is_said_in_one_line(strict: LocalStack, arn: str, arguments: list[str], said: str):
    """Nothing has run."""
    variables = NOWHERE | {"FANFOLD_STATE_MACHINE_ARN": arn}
    flags = ("run", "app:job", "--state-machine", "--params", '{"count": 3}', *arguments)
    done = fanfold(*flags, folder=JOB, **strict.environment, **variables)
    assert done.returncode == 2
    assert said in only_line(done.stderr)


def test_a_job_that_continues_segments_cannot_run_on_a_state_machine(strict: LocalStack):
    """It says so before anything is started."""
    variables = NOWHERE | {"FANFOLD_STATE_MACHINE_ARN": "arn"}
    done = fanfold(
        "run", "app:job", "--state-machine", folder=JOB.parent / "long_job", **strict.environment, **variables
    )
    assert "continuation=True goes on by a queue, and not on Step Functions" in only_line(done.stderr)


def test_without_the_parameter_there_is_no_state_machine(strict: LocalStack):
    """Nor any function or role of one."""
    deployed = Deployment(strict, "no-machine", JOB, {})
    assert "StateMachine" not in deployed.outputs
    resources = deployed.clients["cloudformation"].list_stack_resources(StackName="no-machine")
    names = {each["LogicalResourceId"] for each in resources["StackResourceSummaries"]}
    assert not names & {"PlanFunction", "TaskRole", "InlineStateMachine", "DistributedStateMachine"}
