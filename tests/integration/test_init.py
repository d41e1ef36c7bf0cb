"""``fanfold init``, the generated projects, and the steps that the README shows."""

import json
import os
import re
import sys
from pathlib import Path

import boto3
import pytest

from command import fanfold, run, succeeds
from deployment import CODE_BUCKET, Deployment, until
from depth import by_depth
from fanfold._stack.deploy import deploy
from fanfold._stack.emulator import LocalStack
from sam import OUR_ARCHITECTURE, OUR_VERSION, ROOT, environment, program
from worker_trial import in_queue

BIN = Path(sys.executable).parent
ORDER = {"order": "o-1", "lines": [{"price": 2.5, "count": 4}]}


VARIANTS = [[], ["--job"], ["--fifo"], ["--powertools"], ["--fifo", "--powertools"], ["--breaker"]]


DEEP = [["--fifo"], ["--powertools"], ["--fifo", "--powertools"], ["--breaker"]]
"""Variants whose own tests run every night."""


@pytest.fixture(
    params=[pytest.param(options, marks=[pytest.mark.deep] * (options in DEEP)) for options in VARIANTS],
    ids=lambda options: " ".join(options) or "consumer",
)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the folder of a new project, one of each kind."""
    created = fanfold("init", "shop", *request.param, folder=tmp_path)
    assert created.returncode == 0, created.stderr
    assert f"shop: created a {'job' if '--job' in request.param else 'consumer'} with " in created.stdout
    return tmp_path / "shop"


# Slow: make, pytest and a replay, each in a new process.
@pytest.mark.slow
def test_a_new_project_passes_its_own_tests_and_replays_its_events(project: Path):
    """With its Makefile, in this environment instead of a new one."""
    installed = [argument for stamp in (".tests", ".tools") for argument in ("-o", f"{sys.prefix}/{stamp}")]
    targets = [f"VENV={sys.prefix}", *installed, "test", "replay"]
    printed = succeeds("make", *targets, folder=project, env=environment({}))
    assert " passed" in printed
    assert "0 lost" in printed


def test_fanfold_check_has_no_findings_in_a_new_project(project: Path):
    """The generated template has no setting that loses or duplicates messages."""
    pytest.importorskip("fanfold.check")
    done = fanfold("check", "template.yaml", folder=project)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("parameters", [[], ["--parameter", "BreakerPausesMapping=true"], ["-p", "BreakerTick=false"]])
def test_a_new_project_with_a_breaker_survives_an_outage_of_twelve_hours(tmp_path: Path, parameters: list[str]):
    """The check has no findings for any of its parameters."""
    pytest.importorskip("fanfold.check")
    assert fanfold("init", "shop", "--breaker", folder=tmp_path).returncode == 0
    done = fanfold("check", "shop/template.yaml", "--outage", "43200", *parameters, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_linter_reports_nothing_for_new_templates(tmp_path: Path):
    """Not even warnings, for a project of each kind."""
    tried = [*VARIANTS] if by_depth(0, 1) else [["--job"], ["--fifo", "--powertools"], ["--breaker"]]
    for number, options in enumerate(tried):
        assert fanfold("init", f"shop-{number}", *options, folder=tmp_path).returncode == 0
    templates = [f"shop-{number}/template.yaml" for number in range(len(tried))]
    done = run(BIN / "cfn-lint", *templates, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_second_project_of_the_same_name_is_one_clear_line(tmp_path: Path):
    """On stderr, with exit code 2. ``--json`` prints one document and nothing else."""
    made = fanfold("init", "shop", "--json", folder=tmp_path)
    assert made.returncode == 0
    document = json.loads(made.stdout)
    assert document["folder"] == "shop"
    assert "src/app.py" in document["files"]
    second = fanfold("init", "shop", "--job", folder=tmp_path)
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == "fanfold: shop already exists: choose another name, or another folder\n"


class Orders:
    """The queues of a deployed consumer."""

    def __init__(self, stack: LocalStack, outputs: dict[str, str]) -> None:
        self.sqs = boto3.client("sqs", **stack.client_settings)
        self.outputs = outputs

    def send(self, *orders: object) -> None:
        for order in orders:
            self.sqs.send_message(QueueUrl=self.outputs["QueueUrl"], MessageBody=json.dumps(order))

    def waiting(self, queue: str) -> int:
        return in_queue(self.sqs, self.outputs[queue])

    def work_through(self) -> None:
        """Send a valid order, which is processed, and one without a price, which goes to the dead-letter queue."""
        self.send(ORDER, {"order": "o-2", "lines": []})
        until(lambda: self.waiting("QueueUrl") == 0 and self.waiting("DeadLetterQueueUrl") == 1)
        received = self.sqs.receive_message(
            QueueUrl=self.outputs["DeadLetterQueueUrl"], MessageAttributeNames=["All"], WaitTimeSeconds=5
        )
        (letter,) = received["Messages"]
        assert json.loads(letter["Body"])["order"] == "o-2"
        reason = json.loads(letter["MessageAttributes"]["fanfold"]["StringValue"])["reason"]
        assert "an order without lines" in reason


@pytest.mark.stack
def test_a_new_consumer_is_deployed_and_works(stack: LocalStack, tmp_path: Path):
    """A valid message is processed; one without a price is in the dead-letter queue with its reason."""
    assert fanfold("init", "shop", folder=tmp_path).returncode == 0
    clients = {name: boto3.client(name, **stack.client_settings) for name in ("s3", "cloudformation")}
    clients["s3"].create_bucket(Bucket=f"{CODE_BUCKET}-init")
    template = tmp_path / "shop" / "template.yaml"
    outputs = deploy(clients, template, name="shop", parameters={}, code_bucket=f"{CODE_BUCKET}-init")
    Orders(stack, outputs).work_through()


@pytest.mark.stack
def test_a_new_consumer_with_a_breaker_is_deployed_with_all_its_parts(stack: LocalStack, tmp_path: Path):
    """Its messages are processed; table, tick, rule, and the environment of the function are those of the template."""
    assert fanfold("init", "booked", "--breaker", folder=tmp_path).returncode == 0
    names = ("s3", "cloudformation", "dynamodb", "lambda", "events")
    clients = {name: boto3.client(name, **stack.client_settings) for name in names}
    clients["s3"].create_bucket(Bucket=f"{CODE_BUCKET}-booked")
    template, parameters = tmp_path / "booked" / "template.yaml", {"BreakerPausesMapping": "true"}
    outputs = deploy(clients, template, name="booked", parameters=parameters, code_bucket=f"{CODE_BUCKET}-booked")
    Orders(stack, outputs).work_through()
    function = clients["lambda"].get_function_configuration(FunctionName=outputs["FunctionName"])
    variables = function["Environment"]["Variables"]
    assert variables["FANFOLD_BREAKER_TABLE"] == outputs["BreakerTable"]
    assert variables["FANFOLD_BREAKER_PAUSES_MAPPING"] == "true"
    table = clients["dynamodb"].describe_table(TableName=outputs["BreakerTable"])["Table"]
    assert table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    mappings = clients["lambda"].list_event_source_mappings(FunctionName=outputs["FunctionName"])["EventSourceMappings"]
    assert sorted(mapping["BatchSize"] for mapping in mappings) == [1, 100]
    rules = clients["events"].list_rule_names_by_target(TargetArn=function["FunctionArn"])["RuleNames"]
    targets = clients["events"].list_targets_by_rule(Rule=rules[0])["Targets"]
    assert json.loads(targets[0]["Input"]) == {"fanfold": "breaker-watch"}


@pytest.mark.stack
def test_a_new_job_is_deployed_and_its_run_ends_with_the_sums(stack: LocalStack, tmp_path: Path):
    """With its sample input and the commands of its README; the test uploads the input itself."""
    assert fanfold("init", "tally", "--job", folder=tmp_path).returncode == 0
    folder = tmp_path / "tally"
    parameters, template = {"FunctionTimeout": "15"}, folder / "template.yaml"
    deployed = Deployment(stack, "tally-dev", folder / "src", parameters, template=template)
    deployed.upload("input/orders.csv", (folder / "events" / "orders.csv").read_bytes())
    blocks = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "fanfold env" in block]
    (copied,) = re.findall(r"^aws s3 cp .*\n", block, re.MULTILINE)
    assert "input/orders.csv" in copied
    variables = environment(stack.environment) | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    output = succeeds("bash", "-euc", block.replace(copied, ""), folder=folder, env=variables)
    printed, _ = json.JSONDecoder().raw_decode(output)
    assert printed == {"ada": 1349, "bob": 375, "eve": 4001}
    assert "SUCCEEDED" in output


def commands(heading: str) -> list[str]:
    """Return the lines of the first shell block under a heading of the README."""
    section = (ROOT / "README.md").read_text().partition(f"\n## {heading}\n")[2]
    block = re.search(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert block is not None
    return [line for line in block[1].splitlines() if not line.startswith(("pip ", "pipx "))]


# Builds and deploys a project with the SAM CLI; the tests before do each of the steps without it.
@pytest.mark.deep
@pytest.mark.stack
@pytest.mark.slow
def test_from_nothing_to_a_deployed_consumer_as_the_readme_says(
    stack: LocalStack, tmp_path: Path, wheels: dict[str, str]
):
    """Its commands run in one shell, except for the installation, which exists here."""
    sam_bin = program().parent
    lines = commands("From nothing to a deployed consumer")
    assert [line.split()[0] for line in lines][-2:] == ["sam", "sam"]
    variables = {
        **stack.environment,
        "PATH": f"{BIN}:{sam_bin}:{os.environ['PATH']}",
        **wheels,
        "ARCHITECTURE": OUR_ARCHITECTURE,
        "PYTHON_VERSION": OUR_VERSION,
    }
    succeeds("bash", "-euxc", "\n".join(lines), folder=tmp_path, env=environment(variables), timeout=None)
    described = boto3.client("cloudformation", **stack.client_settings).describe_stacks(StackName="shop-orders-dev")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Stacks"][0]["Outputs"]}
    Orders(stack, outputs).work_through()
