"""``fanfold capture``, on the emulated AWS."""

import json
import subprocess
import uuid
from pathlib import Path

import boto3
import pytest

from command import fanfold
from fanfold._replay.events import read_events
from fanfold._stack.emulator import LocalStack

pytestmark = pytest.mark.stack


@pytest.fixture
def sqs(aws: LocalStack):
    client = boto3.client("sqs")
    yield client
    client.close()


def capture(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return fanfold("capture", *arguments, folder=folder)


def test_the_messages_of_a_queue_are_saved_and_stay_in_the_queue(sqs, tmp_path):
    """Every message is saved once with its attributes, redacted as specified, and visible again at the end."""
    url = sqs.create_queue(QueueName=f"dead-{uuid.uuid4().hex}")["QueueUrl"]
    for number in range(23):
        body = json.dumps({"number": number, "card": "4711"})
        color = {"color": {"DataType": "String", "StringValue": "blue"}}
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=color)
    done = capture(tmp_path, "--queue-url", url, "--out", "events", "--redact", "card")
    assert done.returncode == 0, done.stderr
    assert "23 messages saved in events" in done.stderr
    records = [record for event in read_events([str(tmp_path / "events")]) for record in event.records]
    assert sorted(json.loads(record["body"])["number"] for record in records) == list(range(23))
    assert {json.loads(record["body"])["card"] for record in records} == {"redacted"}
    assert records[0]["messageAttributes"]["color"]["stringValue"] == "blue"
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (attributes["ApproximateNumberOfMessages"], attributes["ApproximateNumberOfMessagesNotVisible"]) == (
        "23",
        "0",
    )


def test_an_empty_queue_and_one_that_does_not_exist_are_distinguished(sqs, tmp_path):
    """An empty queue is not an error; a missing queue is one clear line."""
    url = sqs.create_queue(QueueName=f"empty-{uuid.uuid4().hex}")["QueueUrl"]
    empty = capture(tmp_path, "--queue-url", url)
    assert empty.returncode == 0
    assert empty.stderr == "no message saved: the queue is empty, or its messages are in flight\n"
    missing = capture(tmp_path, "--queue-url", f"{url}-not")
    assert missing.returncode == 2
    assert missing.stderr.startswith("fanfold: queue ")
    assert missing.stderr.count("\n") == 1
