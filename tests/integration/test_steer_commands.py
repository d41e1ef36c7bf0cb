"""``fanfold runs``, ``cancel``, and ``redrive`` of a cancelled run, as a user runs them."""

import json

import boto3
import pytest

from command import fanfold, only_line
from fanfold import Job, Ranges
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
    assert (done.returncode, done.stderr) == (0, "")
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
    assert (done.returncode, only_line(done.stderr)) == (1, "fanfold: run 'none' is not in the ledger")
