"""``fanfold local``, as a user has it."""

import json
import signal
import sys
from pathlib import Path

import pytest

from command import FLIGHTS, fanfold, only_line, running

pytestmark = pytest.mark.stack
LONG = Path(__file__).parent / "long_job"
SUPPORT = Path(__file__).parents[1] / "support"


def test_a_command_runs_with_the_local_aws_in_its_environment():
    """And its exit code is ours; what it deployed is a whole job."""
    script = (
        "import os, boto3; print(boto3.client('sqs').get_queue_attributes(QueueUrl=os.environ['FANFOLD_QUEUE_URL']))"
    )
    done = fanfold("local", "--job", str(FLIGHTS), "--", sys.executable, "-c", script + "; raise SystemExit(7)")
    assert "ResponseMetadata" in done.stdout, done.stderr
    assert done.returncode == 7


def test_a_job_is_run_on_it_in_one_line():
    """The shortest way from a folder with a job to its output."""
    command = (sys.executable, "-m", "fanfold", "run", "app:job", "--params", '{"count": 3}', "--json")
    done = fanfold("local", "--job", ".", "--", *command, folder=LONG)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == {"parts": 1, "total": 3}


def test_without_a_command_it_runs_until_it_is_told_to_stop():
    """What it prints is for a shell."""
    with running("local") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        assert all(line.startswith("export AWS_") for line in lines)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing is left running" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--", "no-such-program"), "no-such-program cannot be run"),
        (("--job", str(LONG), "--module", "none"), "there is no none.py"),
        (("--job", str(SUPPORT), "--module", "worker_trial"), "cannot import name 'scatter_handler'"),
        (("--log", "none/it.log"), "--log none/it.log cannot be written: No such file or directory"),
        (("--port", "0"), "port 0: a port is a number from 1 to 65535"),
        (("--parameter", "Stage=dev"), "name its folder with --job"),
        (("--job", str(LONG), "--parameter", "Stage"), "is not of the form NAME=VALUE"),
        (("--job", str(LONG), "--parameter", "Stge=dev"), "no parameter 'Stge'; it has Stage"),
        (("--job", str(LONG), "--parameter", "BatchSize=100"), "A BatchSize of more than 10 needs a BatchingWindow"),
        (("--job", str(LONG), "--parameter", "StateMachine=inline"), "cannot import name 'plan_handler'"),
    ],
)
def test_what_cannot_be_run_is_one_clear_line(arguments, told):
    """Nothing is left running."""
    done = fanfold("local", *arguments)
    assert done.returncode in {1, 2}
    assert told in only_line(done.stderr)
