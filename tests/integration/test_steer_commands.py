"""``fanfold runs``, ``cancel``, and ``redrive`` of a cancelled run, as a user runs them."""

import json

import boto3
import pytest

from command import fanfold, only_line
from fanfold import Job, Ranges
from fanfold._ports.run import Attempt, FailedBatch
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import connect
from numbers_job import all_of
from queues_and_ledger import variables_of_new_job

pytestmark = pytest.mark.stack


def job_of(name: str) -> Job:
    job = Job(name)
    job.source(lambda params: Ranges(20, size=2))
    job.segment(all_of)
    job.fold(list)
    return job


async def test_runs_are_listed_cancelled_and_continued(stack: LocalStack):
    """Each command suggests the next; a repeated cancel changes nothing, and no function is deployed."""
    variables = variables_of_new_job(stack)
    async with connect(variables, **stack.client_settings) as backend:
        for number in range(3):
            await job_of("orders").start(backend, {}, f"r-{number}")

    listed = fanfold("runs", "--limit", "2", **variables)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [line.split()[:3] for line in listed.stdout.splitlines()[1:3]] == [
        ["r-2", "orders", "RUNNING"],
        ["r-1", "orders", "RUNNING"],
    ]
    assert listed.stdout.splitlines()[-1] == "More runs: add --after r-1"

    done = fanfold("cancel", "r-1", **variables)
    assert (done.returncode, done.stderr.count("\n")) == (0, 2)
    assert "Queued segments will be acknowledged without work" in done.stderr
    assert done.stdout == "run r-1 is cancelled; 0 of 10 segments ended. Run `fanfold redrive r-1` to continue it\n"
    done = fanfold("cancel", "r-1", "--json", **variables)
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "CANCELLED")
    cancelled = json.loads(fanfold("runs", "--state", "cancelled", "--json", **variables).stdout)
    assert ([run["id"] for run in cancelled["runs"]], cancelled["after"]) == (["r-1"], None)
    done = fanfold("redrive", "r-1", "--no-watch", "--yes", "--json", **variables)
    document = json.loads(done.stdout)
    assert (document["state"], document["generation"], document["redriven"]) == ("RUNNING", 1, 10)
    rest = json.loads(fanfold("runs", "--after", "r-1", "--json", **variables).stdout)
    assert [run["id"] for run in rest["runs"]] == ["r-0"]

    sqs = boto3.client("sqs", **stack.client_settings)
    names = ["ApproximateNumberOfMessages"]
    counts = sqs.get_queue_attributes(QueueUrl=variables["FANFOLD_QUEUE_URL"], AttributeNames=names)["Attributes"]
    sqs.close()
    assert counts == {"ApproximateNumberOfMessages": "40"}

    done = fanfold("cancel", "none", **variables)
    assert (done.returncode, only_line(done.stderr)) == (
        1,
        "fanfold: run 'none' is not in the ledger: check its name with `fanfold runs`",
    )


async def test_the_log_lines_of_failed_segments_are_shown(stack: LocalStack):
    """Those of the invocation in which an attempt failed; without log groups or lines, one line states the reason."""
    variables, logs = variables_of_new_job(stack), boto3.client("logs", **stack.client_settings)
    group, stream = variables["FANFOLD_LEDGER_TABLE"], "2026/11/29/[$LATEST]abcdef"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    async with connect(variables, **stack.client_settings) as backend:
        await job_of("orders").start(backend, {}, "r-1")
        now = backend.now()
        lines = [
            "START RequestId: q-1 Version: 1",
            "KeyError: \x1b[2Jcarrier",
            '{"segment": 4}',
            "REPORT RequestId: q-1 x",
        ]
        events = [{"timestamp": int(now * 1000) + number, "message": line} for number, line in enumerate(lines)]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
        failed = Attempt(3, 0, 0, 1, now, 1.0, "KeyError", "'carrier'", request_id="q-1", log_stream=stream)
        await backend.ledger.put_attempts("r-1", FailedBatch("b", 0, [failed]))
    logs.close()

    done = fanfold("logs", "r-1", "--failed", **variables, FANFOLD_LOG_GROUPS=group)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line[24:] for line in done.stdout.splitlines()] == [
        f"abcdef {text}" for text in (lines[0], r"KeyError: \x1b[2Jcarrier", lines[3])
    ]
    for arguments, message in [
        (("--log-group", group, "--segment", "7"), f"no log lines of run r-1 in {group}: they may not have arrived"),
        (("--log-group", "none", "--segment", "3"), "log group none: does not exist; check the name and the region"),
        ((), "FANFOLD_LOG_GROUPS is not set: `fanfold env STACK` prints it, or specify --log-group NAME"),
    ]:
        assert message in only_line(fanfold("logs", "r-1", *arguments, **variables).stderr)
