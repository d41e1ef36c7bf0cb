"""``fanfold run``, ``status``, ``redrive``, and ``results`` on a deployed job, as a user runs them."""

import json
import subprocess
from pathlib import Path

import boto3
import pytest

from command import fanfold, only_line
from deployment import Deployment, until
from fanfold._stack.emulator import LocalStack

BROKEN = Path(__file__).parent / "broken_job"

pytestmark = [pytest.mark.stack, pytest.mark.slow]  # three generations of a run, and a process for each command


@pytest.fixture(scope="module")
def topic(stack: LocalStack) -> str:
    """Create the topic for notifications; return its ARN."""
    arn: str = boto3.client("sns", **stack.client_settings).create_topic(Name="ends")["TopicArn"]
    return arn


@pytest.fixture(scope="module")
def deployment(stack: LocalStack, topic: str) -> Deployment:
    """Deploy the broken job with a topic for notifications."""
    parameters = {"HandlerModule": "app", "NotificationTopicArn": topic}
    return Deployment(stack, "broken", BROKEN, parameters, visibility_timeout=5)


@pytest.fixture
def variables(deployment: Deployment) -> dict[str, str]:
    """Return the variables that a user sets to use the deployed job."""
    return {**deployment.stack.environment, **deployment.variables, "COLUMNS": "120"}


@pytest.fixture
def received(deployment: Deployment, topic: str) -> list[str]:
    """Return the URL of a queue that subscribes to the topic."""
    sqs, sns = deployment.client("sqs"), deployment.client("sns")
    url = sqs.create_queue(QueueName="received")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return [url]


def assert_bad_rows_are_exported(deployment: Deployment, variables: dict[str, str]) -> None:
    """Export the bad rows of generation 2 of a run, without and with such an object."""
    done = fanfold("results", "r-1", "--bad-rows", **variables)
    assert only_line(done.stderr).endswith("run r-1 is SUCCEEDED and has no object of bad rows")
    bucket, row = variables["FANFOLD_RESULTS_BUCKET"], b'{"object": "s3://b/k", "byte": 0}\n'
    deployment.client("s3").put_object(Bucket=bucket, Key="runs/r-1/2/bad-rows.jsonl", Body=row)
    assert fanfold("results", "r-1", "--bad-rows", **variables).stdout == row.decode()
    done = fanfold("results", "r-1", "--bad-rows", "--failures", **variables)
    assert "specify either --failures or --bad-rows" in only_line(done.stderr)


def assert_failures_are_logged(variables: dict[str, str]) -> None:
    """Show the log lines of the invocations in which segments have failed."""
    done = fanfold("logs", "r-1", "--failed", **variables)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert " START RequestId: " in lines[0]
    assert any("(it is broken)" in line for line in lines)


def assert_status_and_report_name_what_failed(variables: dict[str, str], page: Path) -> None:
    """Both name the segments, the reason, and the command that retries them."""
    done = fanfold("status", "r-1", "--json", **variables)
    assert done.returncode == 1
    assert "fanfold redrive r-1" in only_line(done.stderr)
    document = json.loads(done.stdout)
    assert (document["state"], document["failed"], document["generation"]) == ("FAILED", 2, 0)
    assert [segment["segment"] for segment in document["segments"] if segment["state"] == "failed"] == [3, 7]
    shown = fanfold("status", "r-1", "--watch", **variables)
    assert "segments 3, 7" in shown.stdout
    assert "it is broken" in shown.stdout
    assert "fanfold redrive r-1 --only 3,7" in shown.stdout
    assert "10/10 segments ended, 2 failed" in shown.stderr
    assert fanfold("report", "r-1", "-o", str(page), **variables).stdout == f"page: {page}\n"
    assert "fanfold redrive r-1 --only 3,7" in page.read_text()


def test_a_run_with_failures_is_inspected_redriven_and_exported(deployment, variables, received, tmp_path: Path):
    """Each command suggests the next one."""
    params = json.dumps({"broken": [3, 7], "fixed": str(tmp_path / "fixed")})
    done = fanfold("run", "app:job", "--params", params, "--run", "r-1", folder=BROKEN, **variables)
    assert done.returncode == 1
    assert "ended as FAILED" in only_line(done.stderr)

    assert_status_and_report_name_what_failed(variables, tmp_path / "run.html")

    assert_failures_are_logged(variables)
    done = fanfold("results", "r-1", **variables)
    assert "Use --failures to export the failures" in only_line(done.stderr)
    done = fanfold("results", "r-1", "--failures", **variables)
    assert list(json.loads(done.stdout)["segments"]) == ["3", "7"]

    done = fanfold("redrive", "r-1", "--dry-run", "--json", **variables)
    assert done.returncode == 0
    assert list(json.loads(done.stdout)["would_redrive"]) == ["3", "7"]
    done = fanfold("redrive", "r-1", "--dry-run", **variables)
    assert done.stdout == "would retry 2 segments; nothing was sent\n"
    assert "it is broken" in done.stderr

    (tmp_path / "fixed").touch()
    done = fanfold("redrive", "r-1", "--only", "7", **variables)
    assert done.returncode == 1
    assert "it is broken" in done.stderr
    assert "ended as FAILED again" in only_line(done.stderr)
    done = fanfold("redrive", "r-1", "--json", **variables)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["state"], document["generation"], document["redriven"], document["failed"]) == (
        "SUCCEEDED",
        2,
        1,
        0,
    )

    done = fanfold("results", "r-1", "--output", str(tmp_path / "out.json"), **variables)
    assert done.returncode == 0
    assert json.loads((tmp_path / "out.json").read_text()) == list(range(20))
    assert_bad_rows_are_exported(deployment, variables)
    shown = fanfold("status", "r-1", **variables)
    assert (shown.returncode, shown.stderr) == (0, "")
    done = fanfold("run", "app:job", "--run", "r-1", "--params", '{"broken": []}', folder=BROKEN, **variables)
    assert "run r-1 was started with other params; these differ: " in only_line(done.stderr)
    done = fanfold("run", "app:job", "--run", "r-1", "--json", folder=BROKEN, **variables)
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "SUCCEEDED")

    sqs, ends = deployment.client("sqs"), []

    def three() -> bool:
        response = sqs.receive_message(QueueUrl=received[0], MaxNumberOfMessages=10)
        ends.extend(json.loads(json.loads(message["Body"])["Message"]) for message in response.get("Messages", []))
        return len(ends) >= 3

    until(three)
    assert sorted((end["generation"], end["state"], end["failed"]) for end in ends) == [
        (0, "FAILED", 2),
        (1, "FAILED", 1),
        (2, "SUCCEEDED", 0),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("status", "none"), "run 'none' is not in the ledger"),
        (("report", "none", "-o", "none.html"), "run 'none' is not in the ledger: check its name"),
        (("report", "none", "--serve"), "run 'none' is not in the ledger: check its name"),
        (("report", "none", "-o", "no-folder/run.html"), "folder no-folder does not exist; create it first"),
        (("report", "none", "--port", "80"), "--port requires --serve"),
        (("redrive", "none"), "run 'none' is not in the ledger"),
        (("results", "none"), "run 'none' is not in the ledger"),
        (("redrive", "none", "--only", "a"), "--only 'a' is not a list of segments such as 3,17,20-25"),
    ],
)
def test_an_unknown_run_or_segment_is_one_clear_line(arguments, message, variables):
    """Without a traceback."""
    done = fanfold(*arguments, **variables)
    assert done.returncode in {1, 2}
    assert message in only_line(done.stderr)


def test_the_variables_of_a_deployed_job_are_printed_for_a_shell(deployment: Deployment):
    """Those that the other commands need; without a state machine, its variable is missing."""
    variables = deployment.stack.environment
    printed = fanfold("env", "broken", **variables)
    assert printed.returncode == 0, printed.stderr
    shell = f"{printed.stdout}\nenv -0"
    seen = subprocess.run(["bash", "-euc", shell], env={}, capture_output=True, text=True, check=True).stdout  # noqa: S603, S607 - a shell, with fanfold's output
    exported = dict(line.split("=", 1) for line in seen.split("\0") if line.startswith("FANFOLD_"))
    assert exported == deployment.variables == json.loads(fanfold("env", "broken", "--json", **variables).stdout)
    assert "FANFOLD_STATE_MACHINE_ARN" not in exported


def test_an_unknown_stack_or_one_without_a_job_is_one_clear_line(deployment: Deployment, tmp_path: Path):
    """The line contains the name of the stack or of the missing output."""
    done = fanfold("env", "no-such-stack", **deployment.stack.environment)
    assert done.returncode == 2
    assert "no-such-stack" in only_line(done.stderr)
    assert "check the name, the account and the region" in done.stderr
    topic = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    deployment.client("cloudformation").create_stack(StackName="other", TemplateBody=json.dumps(topic))
    done = fanfold("env", "other", **deployment.stack.environment)
    assert done.returncode == 2
    assert "the stack has no output QueueUrl" in only_line(done.stderr)


def test_without_a_deployed_job_the_variable_is_named():
    """The line names the first missing variable."""
    done = fanfold("status", "r-1")
    assert done.returncode == 2
    assert "FANFOLD_QUEUE_URL is not set" in only_line(done.stderr)
