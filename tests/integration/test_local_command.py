"""``fanfold local``, as a user runs it."""

import json
import re
import signal
import sys
from pathlib import Path

import pytest

from command import FLIGHTS, fanfold, only_line, running

pytestmark = pytest.mark.stack
LONG = Path(__file__).parent / "long_job"
ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "tests" / "support"
TEMPLATE = ROOT / "template.yaml"


def test_a_command_runs_with_the_local_aws_in_its_environment():
    """Its exit code is passed on, and the deployed job is complete."""
    script = (
        "import os, boto3; print(boto3.client('sqs').get_queue_attributes(QueueUrl=os.environ['FANFOLD_QUEUE_URL']))"
    )
    done = fanfold("local", "--job", str(FLIGHTS), "--", sys.executable, "-c", script + "; raise SystemExit(7)")
    assert "ResponseMetadata" in done.stdout, done.stderr
    assert done.returncode == 7


def test_one_command_runs_a_job_on_the_local_aws():
    """This is the shortest way from a folder with a job to its output."""
    command = (sys.executable, "-m", "fanfold", "run", "app:job", "--params", '{"count": 3}', "--json")
    done = fanfold("local", "--job", ".", "--", *command, folder=LONG)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == {"parts": 1, "total": 3}


@pytest.mark.parametrize("options", [[], pytest.param(["--fifo"], marks=pytest.mark.deep)])
def test_a_consumer_is_tried_as_its_readme_shows(options: list[str], tmp_path: Path):
    """An order without lines becomes a dead letter, and the command of the README shows the reason."""
    assert fanfold("init", "shop", *options, folder=tmp_path).returncode == 0
    readme = (tmp_path / "shop" / "README.md").read_text()
    (block,) = [code for code in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) if "fanfold local" in code]
    local, send, show = [line.split(" #")[0].strip() for line in block.splitlines()]
    assert local == ".venv/bin/fanfold local --template template.yaml"
    attributes = {"MessageGroupId": "customer-1"} if "--message-group-id customer-1" in send else {}
    assert bool(attributes) == bool(options)
    (body,) = re.findall(r"--message-body '(.*)'", send)
    assert show.endswith('redrive --from "$FANFOLD_DEAD_LETTER_QUEUE_URL" --dry-run')
    script = f"""
import boto3, os, subprocess, sys, time

boto3.client("sqs").send_message(QueueUrl=os.environ["FANFOLD_QUEUE_URL"], MessageBody={body!r}, **{attributes!r})
show = [sys.executable, "-m", "fanfold", "redrive", "--from", os.environ["FANFOLD_DEAD_LETTER_QUEUE_URL"], "--dry-run"]
until, shown = time.monotonic() + 120, ""
while "an order without lines" not in shown and time.monotonic() < until:
    shown = subprocess.run(show, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
print(shown)
"""
    done = fanfold("local", "--template", "template.yaml", "--", sys.executable, "-c", script, folder=tmp_path / "shop")
    assert "an order without lines" in done.stdout, done.stderr


def test_the_commands_of_breakers_find_the_table_of_a_new_project(tmp_path: Path):
    """The variables of the local AWS name it, as docs/outages.md states."""
    assert fanfold("init", "shop", "--breaker", folder=tmp_path).returncode == 0
    status = (sys.executable, "-m", "fanfold", "breaker", "status", "booking", "--json")
    done = fanfold("local", "--template", "template.yaml", "--", *status, folder=tmp_path / "shop")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"].lower() == "closed"


def test_without_a_command_it_runs_until_it_is_stopped(tmp_path: Path):
    """It prints ``export`` lines for a shell, and its log contains each line as soon as it is written."""
    log = tmp_path / "local.log"
    with running("local", "--log", str(log)) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        assert all(line.startswith("export AWS_") for line in lines)
        assert "ministack" in log.read_text().lower()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "nothing is left running" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--", "no-such-program"), "no-such-program cannot be run"),
        (("--job", str(LONG), "--module", "none"), "none.py does not exist; use --module to name the module"),
        (("--job", str(SUPPORT), "--module", "worker_trial"), "cannot import name 'scatter_handler'"),
        (("--log", "none/it.log"), "--log none/it.log cannot be written: No such file or directory"),
        (("--port", "0"), "--port must be an integer from 1 to 65535, not 0"),
        (("--parameter", "Stage=dev"), "add --job FOLDER or --template FILE"),
        (("--job", str(LONG), "--template", str(TEMPLATE)), "leave out --job or --template"),
        (("--template", str(FLIGHTS / "app.py")), "app.py is not YAML or JSON"),
        (("--template", str(ROOT / "samconfig.toml")), "is not"),
        (("--template", str(TEMPLATE), "--parameter", "Stge=dev"), "no parameter 'Stge'; it has Stage"),
        (("--job", str(LONG), "--parameter", "Stage"), "is not of the form NAME=VALUE"),
        (("--job", str(LONG), "--parameter", "Stge=dev"), "no parameter 'Stge'; it has Stage"),
        (("--job", str(LONG), "--parameter", "BatchSize=100"), "A BatchSize of more than 10 needs a BatchingWindow"),
        (("--job", str(LONG), "--parameter", "StateMachine=inline"), "cannot import name 'plan_handler'"),
    ],
)
def test_invalid_arguments_are_one_clear_line(arguments, message):
    """No process is left running."""
    done = fanfold("local", *arguments)
    assert done.returncode in {1, 2}
    assert message in only_line(done.stderr)
