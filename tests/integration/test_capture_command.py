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


def test_what_lies_in_a_queue_is_saved_and_stays_there(sqs, tmp_path):
    """Every message once, with its attributes, redacted as asked, and visible again at the end."""
    url = sqs.create_queue(QueueName=f"dead-{uuid.uuid4().hex}")["QueueUrl"]
    for number in range(23):
        body = json.dumps({"number": number, "card": "4711"})
        colour = {"colour": {"DataType": "String", "StringValue": "blue"}}
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=colour)
    done = capture(tmp_path, "--queue-url", url, "--out", "events", "--redact", "card")
    assert done.returncode == 0, done.stderr
    assert "23 messages saved in events" in done.stderr
    records = [record for event in read_events([str(tmp_path / "events")]) for record in event.records]
    assert sorted(json.loads(record["body"])["number"] for record in records) == list(range(23))
    assert {json.loads(record["body"])["card"] for record in records} == {"redacted"}
    assert records[0]["messageAttributes"]["colour"]["stringValue"] == "blue"
    told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (told["ApproximateNumberOfMessages"], told["ApproximateNumberOfMessagesNotVisible"]) == ("23", "0")


def test_an_empty_queue_and_one_that_is_not_there_are_told_apart(sqs, tmp_path):
    """The one is no error, the other one clear line."""
    url = sqs.create_queue(QueueName=f"empty-{uuid.uuid4().hex}")["QueueUrl"]
    empty = capture(tmp_path, "--queue-url", url)
    assert (empty.returncode, empty.stderr) == (0, "there is no message in the queue to be saved\n")
    missing = capture(tmp_path, "--queue-url", f"{url}-not")
    assert missing.returncode == 2
    assert missing.stderr.startswith("fanfold: queue ")
    assert missing.stderr.count("\n") == 1
